"""Pitfalls of the batch system, as far as it tells of itself."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.core.facts import Site
from jobpool.core.finding import Finding, Level, ok
from jobpool.model import Partition

__all__ = ["examine_site"]


def examine_site(site: Site) -> list[Finding]:
    """Look at what the batch system says of itself."""
    if site.system == "local":
        return [ok("batch system", "none: calls run on this machine, all sharing it")]
    return [
        *_unknown(site),
        *_chosen(site),
        *_defaults(site),
        *_accounting(site),
        *_enforcement(site),
        *_own_jobs(site),
    ]


def _unknown(site: Site) -> Iterator[Finding]:
    for words in site.limits.unknown:
        text = f"the batch system does not tell its {words}"
        yield Finding("limits", Level.NOTE, text, "what is over them is refused, or waits for ever")


def _chosen(site: Site) -> Iterator[Finding]:
    if not site.chosen:
        return
    if site.request.partition is None:
        text = "partition='auto' finds no partition where the request fits"
        yield Finding("partition", Level.PROBLEM, text, "jobpool check says which limits are in the way")
    else:
        yield ok("partition", f"'auto' takes {site.request.partition!r} now")


def _defaults(site: Site) -> Iterator[Finding]:
    partition = _partition(site)
    if partition is None:
        return
    name, request = f"partition {partition.name!r}", site.request
    if request.walltime is None:
        told = partition.default_time or partition.max_time
        text = f"no walltime is configured: jobs in {name} end after {told if told else 'a time that it does not tell'}"
        yield Finding("walltime", Level.WARNING, text, "give walltime=; jobpool measure proposes one")
    else:
        yield ok("walltime", f"{request.walltime}, and {name} allows {partition.max_time or 'any'}")
    if request.memory is None:
        each = partition.default_memory_per_cpu
        text = f"no memory is configured: {name} gives " + (f"{each} for each CPU" if each else "what it likes")
        yield Finding("default memory", Level.WARNING, text, "give memory=; jobpool measure proposes it")


def _accounting(site: Site) -> Iterator[Finding]:
    if site.accounting:
        text = f"no accounting ({site.accounting}): why a job ended is known only while the queue shows it"
        age = site.config.get("MinJobAge")
        yield Finding("accounting", Level.NOTE, text + (f", {age}" if age else ""))
    elif site.accounting is not None:
        yield ok("accounting", "tells how jobs ended")


def _enforcement(site: Site) -> Iterator[Finding]:
    loose = [
        what
        for key, what in (("ConstrainCores", "cores"), ("ConstrainRAMSpace", "memory"))
        if site.config.get(key, "yes").lower() != "yes"
    ]
    tasks = site.config.get("TaskPlugin", "")
    if tasks and "cgroup" not in tasks:
        loose = ["cores", "memory"]
    if loose:
        text = f"the batch system does not hold jobs to their {' and '.join(loose)} (TaskPlugin={tasks or 'not told'})"
        yield Finding("enforcement", Level.NOTE, text, "what one job takes too much, its neighbours miss")
    elif tasks:
        yield ok("enforcement", f"jobs are held to their cores and memory (TaskPlugin={tasks})")


def _own_jobs(site: Site) -> Iterator[Finding]:
    if site.own_jobs is None:
        return
    if not site.own_jobs:
        yield ok("own jobs", "none in the queue")
        return
    counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(site.own_jobs.items()))
    text = f"{counts} in the queue: they share your limits and priority with new ones"
    yield Finding("own jobs", Level.NOTE, text, "jobpool list names the pools that they belong to")


def _partition(site: Site) -> Partition | None:
    wanted = (site.request.partition or "").split(",")[0]
    return next((each for each in site.limits.partitions if each.name == wanted or (not wanted and each.default)), None)
