"""Pitfalls of the batch system, as far as it tells of itself."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.diagnose.facts import Site
from jobpool.diagnose.finding import Finding, Level, ok
from jobpool.model.site import Partition
from jobpool.site.nodes import whole_node_notes

__all__ = ["examine_site"]

NEARLY = 0.9
"""Part of a limit from which on it is worth a warning."""

MOST_WORKERS = 1000
"""Workers in a job that are advised at most: more than the cores of any node."""

MANY_LIMITS = 6
"""Limits that are told in one finding, the fullest first."""


def examine_site(site: Site) -> list[Finding]:
    """Look at what the batch system says of itself."""
    if site.capabilities.shares_machine:
        return [ok("batch system", "none: calls run on this machine, all sharing it")]
    checks = (_unknown, _chosen, _defaults, _whole_nodes, _accounting, _enforcement, _mapped_files, _own_jobs, _left)
    return [finding for check in checks for finding in check(site)]


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
    if "walltime" in site.auto:
        yield ok("walltime", f"the first calls tell it, and {name} allows {partition.max_time or 'any'}")
    elif request.walltime is None:
        told = partition.default_time or partition.max_time
        text = f"no walltime is configured: jobs in {name} end after {told if told else 'a time that it does not tell'}"
        yield Finding("walltime", Level.WARNING, text, "give walltime=; jobpool measure proposes one")
    else:
        yield ok("walltime", f"{request.walltime}, and {name} allows {partition.max_time or 'any'}")
    if "memory" in site.auto:
        yield ok("default memory", "not used: the first calls tell how much is asked for")
    elif request.memory is None:
        each = partition.default_memory_per_cpu
        text = f"no memory is configured: {name} gives " + (f"{each} for each CPU" if each else "what it likes")
        yield Finding("default memory", Level.WARNING, text, "give memory=; jobpool measure proposes it")
    else:
        yield ok("default memory", f"not used: {request.memory} are asked for each worker")


def _accounting(site: Site) -> Iterator[Finding]:
    if site.facts.accounting:
        age = f", {site.facts.forgets_after}" if site.facts.forgets_after else ""
        known = f"why a job ended is known only while the queue shows it{age}"
        if site.capabilities.exit_files:
            known = "how a job ended, its own script writes down, unless it is killed at once"
        yield Finding("accounting", Level.NOTE, f"no accounting ({site.facts.accounting}): {known}")
    elif site.facts.accounting is not None:
        yield ok("accounting", "tells how jobs ended")


def _enforcement(site: Site) -> Iterator[Finding]:
    told = site.facts.enforcement
    if told is None:
        text = "the batch system does not tell whether it holds jobs to what they asked"
        yield Finding("enforcement", Level.NOTE, text)
    elif told.loose:
        text = f"the batch system does not hold jobs to their {' and '.join(told.loose)} ({told.words})"
        yield Finding("enforcement", Level.NOTE, text, "what one job takes too much, its neighbours miss")
    else:
        yield ok("enforcement", f"jobs are held to their cores and memory ({told.words})")


def _whole_nodes(site: Site) -> Iterator[Finding]:
    partition = _partition(site)
    told: list[str] = []
    if partition is not None:
        told += whole_node_notes(site.request, partition, site.limits.rules, max_workers=MOST_WORKERS)
    for text in told:
        cure = "workers_per_job= shares a node among workers, or take a partition whose jobs share nodes"
        yield Finding("whole nodes", Level.WARNING, text, cure)
    if not told:
        yield ok("whole nodes", "a job is charged for what it asks for, as far as is known")


def _mapped_files(site: Site) -> Iterator[Finding]:
    if setting := site.limits.mapped_files_counted_by:
        text = f"a job whose processes hold more than its memory is killed ({setting}), and mapped files count"
        yield Finding("mapped files", Level.NOTE, text, "ask for what calls map, too (numpy.memmap), for each worker")
    else:
        yield ok("mapped files", "do not count as memory of a job, as far as is known")


def _own_jobs(site: Site) -> Iterator[Finding]:
    if site.facts.own_jobs is None:
        yield Finding("own jobs", Level.NOTE, "not known: the batch system does not show its queue")
        return
    if not site.facts.own_jobs:
        yield ok("own jobs", "none in the queue")
        return
    counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(site.facts.own_jobs.items()))
    text = f"{counts} in the queue: they share your limits and priority with new ones"
    yield Finding("own jobs", Level.NOTE, text, "jobpool list names the pools that they belong to")


def _left(site: Site) -> Iterator[Finding]:
    """Compare what account and QoS allow with what is used of it, by all who share it."""
    accounting = site.limits.accounting
    if site.left is None:
        text = "how much of your account's limits is used is not known: the batch system does not tell"
        yield Finding("limits left", Level.NOTE, text)
    elif not site.left:
        yield ok("limits left", "no limit of an account or a QoS is known to hold here")
    elif accounting is not None and not accounting.enforces_limits:
        yield ok("limits left", "accounts and QoS have limits, and the site does not enforce them")
    else:
        fullest = sorted(site.left, key=lambda each: -each[2] / each[1] if each[1] else -1)
        text = "; ".join(f"{used:.0f} of {limit:.0f} {what}" for what, limit, used in fullest[:MANY_LIMITS])
        if any(used + _needed(site, what) > limit * NEARLY for what, limit, used in site.left):
            cure = "new jobs wait until some is free or raised: use another account or QoS, or ask who manages it"
            yield Finding("limits left", Level.WARNING, f"in use are {text}", cure)
        else:
            yield ok("limits left", f"in use are {text}")


def _needed(site: Site, what: str) -> float:
    """Return how much of it one job takes, where that can be told."""
    request = site.request
    if what.startswith("CPU minutes (") and request.walltime is not None:
        return request.job_cores * request.walltime / 60
    return 1.0 if what.startswith("jobs ") else 0.0


def _partition(site: Site) -> Partition | None:
    wanted = (site.request.partition or "").split(",")[0]
    return next((each for each in site.limits.partitions if each.name == wanted or (not wanted and each.default)), None)
