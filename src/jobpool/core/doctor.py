"""The known pitfalls, looked for in what is known of both sides. Facts in, findings out; each check is a function.

Every check says something, also when all is well, so that a reader knows what was looked at.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobpool.core.facts import Folder, Meeting, Side, Site
from jobpool.model import Partition
from jobpool.units import Duration, Memory

__all__ = ["Finding", "Level", "examine", "examine_here", "examine_site", "worst"]

GIB = 2**30

NETWORK = (
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "cifs",
    "smb3",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "9p",
)
"""File systems behind a network, by the kernel's names."""

IN_MEMORY = ("tmpfs", "ramfs")

SLOW_READ = 0.005
"""Seconds for one file. An import of numpy reads some 200: a second, on each node, at each start."""

CLOCK_OFF = 5.0
"""Seconds. ``make`` and caches that compare times go wrong; TLS allows minutes."""

MANY_NAMES = 8
"""Packages that are named in one finding."""

OLD_JOBQUEUE = (0, 9, 0)
"""The last release of dask-jobqueue whose import has side effects."""


class Level(enum.IntEnum):
    """How bad a finding is."""

    OK = 0
    """Looked at, and well."""
    NOTE = 1
    """To be known."""
    WARNING = 2
    """It may go wrong, or wastes time."""
    PROBLEM = 3
    """Calls fail, or give wrong results."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: Level
    text: str
    """What is so, with the evidence."""
    cure: str = ""


Check = Callable[[Side, Side, Site, Meeting], Iterator[Finding]]


def examine(here: Side, there: Side, site: Site, meeting: Meeting) -> list[Finding]:
    """Compare where calls come from with where one of them ran, and look at both."""
    return [finding for check in _BOTH for finding in check(here, there, site, meeting)]


def examine_here(here: Side) -> list[Finding]:
    """Look at this side alone."""
    return [*_login_limits(here), *_environment(here), *_old_jobqueue(here), *_room(here.home, "home")]


def examine_site(site: Site) -> list[Finding]:
    """Look at what the batch system says of itself."""
    if site.system == "local":
        return [_ok("batch system", "none: calls run on this machine, all sharing it")]
    return [*_unknown(site), *_defaults(site), *_accounting(site), *_enforcement(site), *_own_jobs(site)]


def worst(findings: list[Finding]) -> Level:
    """Return the highest level."""
    return max((finding.level for finding in findings), default=Level.OK)


def _ok(subject: str, text: str) -> Finding:
    return Finding(subject, Level.OK, text)


# ---------------------------------------------------------------------------------------------------------- both sides


def _python(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if _minor(here.python) != _minor(there.python):
        text = f"Python is {here.python} here and {there.python} in jobs ({there.executable})"
        yield Finding("python", Level.PROBLEM, text, "give the pool python=, an interpreter of the same version")
    elif here.executable != there.executable:
        text = f"Python {there.python} in jobs is {there.executable}, and {here.executable} here"
        yield Finding("python", Level.NOTE, text)
    else:
        yield _ok("python", f"{here.python} on both sides, {here.executable}")


def _packages(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    other = [
        f"{name} {version} here, {there.packages.get(name, 'missing')} there"
        for name, version in sorted(here.packages.items())
        if there.packages.get(name) != version
    ]
    if not other:
        yield _ok("packages", f"the same {len(here.packages)} on both sides")
        return
    more = f"; and {len(other) - MANY_NAMES} more" if len(other) > MANY_NAMES else ""
    yield Finding(
        "packages",
        Level.WARNING,
        "; ".join(other[:MANY_NAMES]) + more,
        "use one environment on a shared file system; setup= activates it in jobs, python= names its interpreter",
    )


def _folders(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    for subject, ours, theirs in (
        ("home", here.home, there.home),
        ("project directory", here.project, there.project),
    ):
        if not theirs.there:
            text = f"{ours.path} does not exist on {there.node}"
        elif theirs.marked is False or (theirs.marked is None and ours.inode != theirs.inode):
            text = f"{ours.path} on {there.node} is another folder than here"
        else:
            yield _ok(subject, f"{ours.path} is shared ({theirs.kind or 'unknown file system'})")
            continue
        cure = "start from a folder on a file system that the nodes share; paths that calls open must be there, too"
        yield Finding(subject, Level.PROBLEM, text, cure)


def _user(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if here.user != there.user:
        text = f"the user is number {here.user} here and {there.user} on {there.node}: files belong to somebody else"
        yield Finding("user", Level.PROBLEM, text, "tell an administrator")


def _network(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if meeting.address:
        yield _ok("network", f"{there.node} reached this host as {meeting.address}")


def _start(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    yield _ok("start", f"the call ran {Duration(round(meeting.waited, 1))} after it was submitted, in {meeting.job}")


def _clock(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    off, sure = abs(meeting.offset), meeting.uncertain
    if off - sure > CLOCK_OFF:
        text = f"the clock of {there.node} is {off:.0f} s {'ahead' if meeting.offset > 0 else 'behind'}"
        yield Finding("clock", Level.WARNING, text, "tell an administrator; do not compare times of files across hosts")
    else:
        yield _ok("clock", f"within {max(sure, off):.1f} s of this host's")


def _temp(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    temp = there.temp
    if temp.kind in IN_MEMORY:
        text = f"{temp.path} on {there.node} is in memory ({temp.kind}): files there count as the job's memory"
        yield Finding("temporary files", Level.WARNING, text, "set TMPDIR to a disk: environment={'TMPDIR': ...}")
    elif temp.kind in NETWORK:
        text = f"{temp.path} on {there.node} is behind a network ({temp.kind})"
        yield Finding("temporary files", Level.WARNING, text, "set TMPDIR to a local disk: environment={'TMPDIR': ...}")
    yield from _room(temp, "temporary files", also_ok=temp.kind not in (*IN_MEMORY, *NETWORK))


def _room(folder: Folder, subject: str, *, also_ok: bool = False) -> Iterator[Finding]:
    if folder.free is not None and folder.free < GIB:
        text = f"{folder.path} has {folder.free} left"
        yield Finding(subject, Level.WARNING, text, "remove what is not needed, or write elsewhere")
    elif also_ok:
        yield _ok(subject, f"{folder.path} ({folder.kind}), {folder.free} free")


def _imports(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    where = f"{there.installed.path} ({there.installed.kind})"
    if there.read > SLOW_READ:
        text = f"a file of {where} takes {there.read * 1e3:.0f} ms to read on {there.node}: imports are slow"
        cure = "put the environment on a faster file system (a container, a local disk), or use fewer, larger jobs"
        yield Finding("imports", Level.WARNING, text, cure)
    else:
        yield _ok("imports", f"{there.read * 1e3:.2g} ms for a file of {where}")


def _cpus(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    asked, request = site.request.job_cores, site.request
    if there.threads_per_core > 1:
        text = (
            f"a core of {there.node} has {there.threads_per_core} hardware threads, which the batch system calls CPUs; "
            f"cores={request.cores} are whole cores, with {request.threads} thread(s) for the call"
        )
        yield Finding("hyper-threads", Level.NOTE, text, "threads_per_core=2 lets a call run on both threads of a core")
    if site.system == "local":
        return
    if there.cores < asked:
        text = f"{asked} core(s) were asked for, and the job may run on {there.cores} ({there.allowed} CPUs)"
        yield Finding("cores", Level.PROBLEM, text, "look at job_extra and job_skip, and ask an administrator")
    elif there.allowed == there.cpus and there.cores > asked:
        text = f"the job may run on all {there.cores} cores of {there.node}, and asked for {asked}: nobody confines it"
        yield Finding("cores", Level.WARNING, text, "other jobs may slow yours down; workers are not bound to cores")
    else:
        yield _ok("cores", f"{there.cores} for the job, {asked} asked for")


def _threads(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    told = there.environment.get("OMP_NUM_THREADS", "")
    if told != str(site.request.threads):
        text = f"a call may run {site.request.threads} thread(s), and OMP_NUM_THREADS is {told or 'not set'}"
        yield Finding("threads", Level.WARNING, text, "take it out of environment=, unless you mean it")
    else:
        yield _ok("threads", f"libraries are told to start {told}")


def _memory(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    asked, limit = site.request.job_memory, there.memory_limit
    if site.system == "local":
        return
    if limit is None:
        text = f"no cgroup limits the memory of jobs on {there.node}: one that takes too much harms the others"
        yield Finding("memory", Level.NOTE, text, "ask for what the calls need: jobpool measure")
    elif asked is not None and limit < asked:
        text = f"{asked} were asked for, and the job's limit is {limit}"
        yield Finding("memory", Level.PROBLEM, text, "look at job_extra and job_skip, and ask an administrator")
    else:
        yield _ok("memory", f"the kernel holds the job to {limit}" + (f", {asked} asked for" if asked else ""))


def _job_limits(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    low = [
        f"{name} {value}"
        for name, least in (("NOFILE", 1024), ("NPROC", 512))
        if (value := there.limits.get(name)) is not None and value < least
    ]
    if (address_space := there.limits.get("AS")) is not None:
        low.append(f"AS {Memory(address_space)}")
    if low:
        cure = "raise them in setup= (ulimit -n 4096; ulimit -v unlimited) where the hard limit allows it"
        yield Finding("ulimits", Level.WARNING, f"low on {there.node}: {', '.join(low)}", cure)
    else:
        yield _ok("ulimits", f"{there.limits.get('NOFILE') or 'any number of'} open files on {there.node}")


def _proxies(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    ours, theirs = _proxy_names(here), _proxy_names(there)
    if ours and not theirs:
        text = f"{', '.join(ours)} are set here and not in jobs: downloads that work here may fail there"
        yield Finding("proxies", Level.NOTE, text, "environment={'https_proxy': ...}, or download before")
    elif theirs:
        yield Finding("proxies", Level.NOTE, f"{', '.join(theirs)} are set in jobs; jobpool itself uses none")


def _foreign_variables(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    names = [name for name in there.environment if name.startswith(("PMI_", "PMIX_", "OMPI_", "SLURM_STEP"))]
    if names:
        text = f"calls see {', '.join(sorted(names))}: an MPI library would take a call for a rank of a program"
        yield Finding("MPI", Level.WARNING, text, "unset them in setup=")


_BOTH: tuple[Check, ...] = (
    _start,
    _network,
    _python,
    _packages,
    _user,
    _folders,
    _clock,
    _temp,
    _imports,
    _cpus,
    _threads,
    _memory,
    _job_limits,
    _proxies,
    _foreign_variables,
)


# ----------------------------------------------------------------------------------------------------------- this side


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
    if low:
        cure = "start long runs inside of a job (sbatch or salloc), where these limits do not hold"
        yield Finding("this host", Level.WARNING, f"on {here.node} " + "; ".join(low), cure)
    else:
        yield _ok("this host", f"{here.node} limits neither CPU time nor memory of a process")


def _environment(here: Side) -> Iterator[Finding]:
    if job := here.environment.get("SLURM_JOB_ID"):
        text = f"this runs inside of job {job}: the pool ends with it, and its jobs are new ones"
        yield Finding("environment", Level.NOTE, text)
    defaults = sorted(name for name in here.environment if name.startswith("SBATCH_"))
    if defaults:
        text = f"{', '.join(defaults)} change what sbatch asks for; of them jobpool heeds account, partition, QoS, "
        text += "reservation, constraint and wckey, where no setting says otherwise"
        yield Finding("environment", Level.NOTE, text, "say what jobs need in jobpool.toml")
    odd = sorted(name for name in ("LD_PRELOAD", "PYTHONHOME", "PYTHONSTARTUP") if name in here.environment)
    if odd:
        text = f"{', '.join(odd)} change every Python that is started from here"
        yield Finding("environment", Level.WARNING, text, "unset them, or be sure that jobs can do with them")
    if not (job or defaults or odd):
        yield _ok("environment", "no variable here changes jobs")


def _old_jobqueue(here: Side) -> Iterator[Finding]:
    version = here.packages.get("dask-jobqueue", "")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if version and numbers <= OLD_JOBQUEUE:
        text = f"dask-jobqueue {version} replaces the handler of Ctrl-C when it is imported, and writes into ~/.config"
        yield Finding("dask-jobqueue", Level.NOTE, text, "do not import it beside jobpool, or use a newer one")


# ------------------------------------------------------------------------------------------------------------ the site


def _unknown(site: Site) -> Iterator[Finding]:
    for words in site.limits.unknown:
        text = f"the batch system does not tell its {words}"
        yield Finding("limits", Level.NOTE, text, "what is over them is refused, or waits for ever")


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
        yield _ok("walltime", f"{request.walltime}, and {name} allows {partition.max_time or 'any'}")
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
        yield _ok("accounting", "tells how jobs ended")


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
        yield _ok("enforcement", f"jobs are held to their cores and memory (TaskPlugin={tasks})")


def _own_jobs(site: Site) -> Iterator[Finding]:
    if site.own_jobs is None:
        return
    if not site.own_jobs:
        yield _ok("own jobs", "none in the queue")
        return
    counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(site.own_jobs.items()))
    text = f"{counts} in the queue: they share your limits and priority with new ones"
    yield Finding("own jobs", Level.NOTE, text, "jobpool list names the pools that they belong to")


def _partition(site: Site) -> Partition | None:
    wanted = (site.request.partition or "").split(",")[0]
    return next((each for each in site.limits.partitions if each.name == wanted or (not wanted and each.default)), None)


def _proxy_names(side: Side) -> list[str]:
    return sorted(name for name in side.environment if name.lower().endswith("_proxy") and name.lower() != "no_proxy")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
