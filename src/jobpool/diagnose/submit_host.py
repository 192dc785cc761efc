"""Pitfalls of the side where calls come from."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.diagnose.facts import Side
from jobpool.diagnose.finding import GIB, Finding, Level, ok
from jobpool.diagnose.folders import examine_quotas, room
from jobpool.model.units import Duration, Memory

__all__ = ["examine_here"]

FEW_OPEN = 512
"""Open files; a pool may well have hundreds of jobs."""

_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""Variables in which launchers tell how many processes they started."""

OLD_JOBQUEUE = (0, 9, 0)
"""The last release of dask-jobqueue whose import has side effects."""


def examine_here(here: Side) -> list[Finding]:
    """Look at this side alone."""
    return [
        *_login_limits(here),
        *_ranks(here),
        *_environment(here),
        *_old_jobqueue(here),
        *room(here.home, "home"),
        *room(here.project, "project directory"),
        *examine_quotas(here),
    ]


def _login_limits(here: Side) -> Iterator[Finding]:
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
        cure = "start long runs inside of a job (sbatch or salloc), where these limits do not hold"
        yield Finding("this host", Level.WARNING, f"on {here.node} " + "; ".join(low), cure)
    else:
        yield ok("this host", f"{here.node} limits neither CPU time nor memory of a process")


def _ranks(here: Side) -> Iterator[Finding]:
    """Look whether a launcher has started this several times."""
    size = next((here.environment[name] for name in _SIZES if here.environment.get(name, "1") != "1"), None)
    if size is not None:
        text = f"this is one of {size} processes of an srun or mpirun: each would make a pool of its own"
        yield Finding("environment", Level.WARNING, text, "start the script once, without them")


def _environment(here: Side) -> Iterator[Finding]:
    if job := here.environment.get("SLURM_JOB_ID"):
        text = f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones"
        yield Finding("environment", Level.NOTE, text)
    defaults = sorted(name for name in here.environment if name.startswith("SBATCH_"))
    if defaults:
        text = f"{', '.join(defaults)} change what sbatch asks for; of them jobpool heeds account, partition, QoS, "
        text += "reservation, constraint and wckey, where no setting says otherwise"
        yield Finding("environment", Level.NOTE, text, "say what jobs need in jobpool.toml")
    if clusters := here.environment.get("SLURM_CLUSTERS"):
        text = f"SLURM_CLUSTERS={clusters} leads SLURM's commands to other clusters than this host's"
        yield Finding("environment", Level.NOTE, text, "unset it, unless you mean it")
    odd = sorted(name for name in ("LD_PRELOAD", "PYTHONHOME", "PYTHONSTARTUP") if name in here.environment)
    if odd:
        text = f"{', '.join(odd)} change every Python that is started from here"
        yield Finding("environment", Level.WARNING, text, "unset them, or be sure that jobs can do with them")
    if not (job or defaults or clusters or odd):
        yield ok("environment", "no variable here changes jobs")


def _old_jobqueue(here: Side) -> Iterator[Finding]:
    version = here.packages.get("dask-jobqueue", "")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if version and numbers <= OLD_JOBQUEUE:
        text = f"dask-jobqueue {version} replaces the handler of Ctrl-C when it is imported, and writes into ~/.config"
        yield Finding("dask-jobqueue", Level.NOTE, text, "do not import it beside jobpool, or use a newer one")
    else:
        yield ok("dask-jobqueue", f"{version or 'not installed'}: nothing changes when it is imported")
