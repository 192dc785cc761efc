"""Pitfalls of the side where calls come from."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.batch.explainer import Remark, Surroundings
from jobpool.diagnose.facts import Side, Site
from jobpool.diagnose.finding import GIB, Finding, Level, ok
from jobpool.diagnose.folders import examine_quotas, room
from jobpool.model.units import Duration, Memory

__all__ = ["examine_here"]

FEW_OPEN = 512
"""Open files; a pool may well have hundreds of jobs."""

_COUNTS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables in which the launchers of any batch system tell how many processes they started."""

OLD_JOBQUEUE = (0, 9, 0)
"""The last release of dask-jobqueue whose import has side effects."""


def examine_here(here: Side, site: Site) -> list[Finding]:
    """Look at this side alone."""
    return [
        *_login_limits(here, site.surroundings),
        *_ranks(here, site.surroundings),
        *_environment(here, site.remarks),
        *_old_jobqueue(here),
        *room(here.home, "home"),
        *room(here.project, "project directory"),
        *examine_quotas(here),
    ]


def _login_limits(here: Side, around: Surroundings) -> Iterator[Finding]:
    low = []
    if (seconds := here.limits.get("CPU")) is not None:
        low.append(f"processes are killed after {Duration(seconds)} of CPU time")
    if (address_space := here.limits.get("AS")) is not None:
        low.append(f"they may have {Memory(address_space)} of address space")
    if here.memory_limit is not None and here.memory_limit < 4 * GIB:
        low.append(f"they share {here.memory_limit} of memory")
    if (count := here.limits.get("NPROC")) is not None and count < 256:
        low.append(f"you may have {count} processes and threads")
    if (count := here.limits.get("NOFILE")) is not None and count < FEW_OPEN:
        low.append(f"a process may have {count} files open, and the pool's server has one for each job")
    if here.allowed < here.cpus:
        low.append(f"they may run on {here.allowed} of {here.cpus} CPUs")
    if low:
        how = f" ({' or '.join(around.starters)})" if around.starters else ""
        cure = f"start long runs inside of a job{how}, where these limits do not hold"
        yield Finding("this host", Level.WARNING, f"on {here.node} " + "; ".join(low), cure)
    else:
        yield ok("this host", f"{here.node} limits neither CPU time nor memory of a process")


def _ranks(here: Side, around: Surroundings) -> Iterator[Finding]:
    """Look whether a launcher has started this several times."""
    names = (*_COUNTS, *around.counts)
    size = next((here.environment[name] for name in names if here.environment.get(name, "1") != "1"), None)
    if size is not None:
        launchers = " or ".join((*around.launchers, "mpirun"))
        text = f"this is one of {size} processes of an {launchers}: each would make a pool of its own"
        yield Finding("environment", Level.WARNING, text, "start the script once, without them")


def _environment(here: Side, remarks: tuple[Remark, ...]) -> Iterator[Finding]:
    for remark in remarks:
        yield Finding("environment", Level.NOTE, remark.text, remark.advice)
    odd = sorted(name for name in ("LD_PRELOAD", "PYTHONHOME", "PYTHONSTARTUP") if name in here.environment)
    if odd:
        text = f"{', '.join(odd)} change every Python that is started from here"
        yield Finding("environment", Level.WARNING, text, "unset them, or be sure that jobs can do with them")
    if not (remarks or odd):
        yield ok("environment", "no variable here changes jobs")


def _old_jobqueue(here: Side) -> Iterator[Finding]:
    version = here.packages.get("dask-jobqueue", "")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if version and numbers <= OLD_JOBQUEUE:
        text = f"dask-jobqueue {version} replaces the handler of Ctrl-C when it is imported, and writes into ~/.config"
        yield Finding("dask-jobqueue", Level.NOTE, text, "do not import it beside jobpool, or use a newer one")
    else:
        yield ok("dask-jobqueue", f"{version or 'not installed'}: nothing changes when it is imported")
