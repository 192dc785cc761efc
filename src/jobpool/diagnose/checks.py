"""The known pitfalls, looked for in what is known of both sides. Facts in, findings out; each check is a function.

Every check says something, also when all is well, so that a reader knows what was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jobpool.diagnose.batch_system import examine_site
from jobpool.diagnose.facts import Meeting, Side, Site
from jobpool.diagnose.finding import Finding, Level, ok, worst
from jobpool.diagnose.folders import IN_MEMORY, NETWORK, room, scratch
from jobpool.diagnose.submit_host import examine_here
from jobpool.model.units import Duration, Memory
from jobpool.site.allocation import whole_nodes
from jobpool.site.check import partitions_of

__all__ = ["Finding", "Level", "examine", "examine_here", "examine_site", "worst"]

SLOW_READ = 0.005
"""Seconds for one file. An import of numpy reads some 200: a second, on each node, at each start."""

CLOCK_OFF = 5.0
"""Seconds. ``make`` and caches that compare times go wrong; TLS allows minutes."""

MANY_NAMES = 8
"""Packages that are named in one finding."""


Check = Callable[[Side, Side, Site, Meeting], Iterator[Finding]]


def examine(here: Side, there: Side, site: Site, meeting: Meeting) -> list[Finding]:
    """Compare where calls come from with where one of them ran, and look at both."""
    return [finding for check in _BOTH for finding in check(here, there, site, meeting)]


# ---------------------------------------------------------------------------------------------------------- both sides


def _python(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if _minor(here.python) != _minor(there.python):
        text = f"Python is {here.python} here and {there.python} in jobs ({there.executable})"
        yield Finding("python", Level.PROBLEM, text, "give the pool python=, an interpreter of the same version")
    elif here.executable != there.executable:
        text = f"Python {there.python} in jobs is {there.executable}, and {here.executable} here"
        yield Finding("python", Level.NOTE, text)
    else:
        yield ok("python", f"{here.python} on both sides, {here.executable}")


def _packages(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    other = [
        f"{name} {version} here, {there.packages.get(name, 'missing')} there"
        for name, version in sorted(here.packages.items())
        if there.packages.get(name) != version
    ]
    if not other:
        yield ok("packages", f"the same {len(here.packages)} on both sides")
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
            yield ok(subject, f"{ours.path} is shared ({theirs.kind or 'unknown file system'})")
            continue
        cure = "start from a folder on a file system that the nodes share; paths that calls open must be there, too"
        yield Finding(subject, Level.PROBLEM, text, cure)


def _user(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if here.user != there.user:
        text = f"the user is number {here.user} here and {there.user} on {there.node}: files belong to somebody else"
        yield Finding("user", Level.PROBLEM, text, "tell an administrator")
    else:
        yield ok("user", f"number {here.user} on both sides")


def _network(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if meeting.address:
        yield ok("network", f"{there.node} reached this host as {meeting.address}")


def _start(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    yield ok("start", f"the call ran {Duration(round(meeting.waited, 1))} after it was submitted, in {meeting.job}")


def _clock(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    off, sure = abs(meeting.offset), meeting.uncertain
    if off - sure > CLOCK_OFF:
        text = f"the clock of {there.node} is {off:.0f} s {'ahead' if meeting.offset > 0 else 'behind'}"
        yield Finding("clock", Level.WARNING, text, "tell an administrator; do not compare times of files across hosts")
    else:
        yield ok("clock", f"within {max(sure, off):.1f} s of this host's")


def _temp(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    temp = there.temp
    if temp.kind in IN_MEMORY:
        text = f"{temp.path} on {there.node} is in memory ({temp.kind}): files there count as the job's memory"
        yield Finding("temporary files", Level.WARNING, text, "set TMPDIR to a disk: environment={'TMPDIR': ...}")
    elif temp.kind in NETWORK:
        text = f"{temp.path} on {there.node} is behind a network ({temp.kind})"
        yield Finding("temporary files", Level.WARNING, text, "set TMPDIR to a local disk: environment={'TMPDIR': ...}")
    yield from room(temp, "temporary files", also_ok=temp.kind not in (*IN_MEMORY, *NETWORK))


def _scratch(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    yield from scratch(there)


def _imports(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    where = f"{there.installed.path} ({there.installed.kind})"
    if there.read > SLOW_READ:
        text = f"a file of {where} takes {there.read * 1e3:.0f} ms to read on {there.node}: imports are slow"
        cure = "put the environment on a faster file system (a container, a local disk), or use fewer, larger jobs"
        yield Finding("imports", Level.WARNING, text, cure)
    else:
        yield ok("imports", f"{there.read * 1e3:.2g} ms for a file of {where}")


def _cpus(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    asked, request = site.request.job_cores, site.request
    if there.threads_per_core > 1:
        text = (
            f"a core of {there.node} has {there.threads_per_core} hardware threads, which the batch system calls CPUs; "
            f"cores={request.cores} are whole cores, with {request.threads} thread(s) for the call"
        )
        yield Finding("hyper-threads", Level.NOTE, text, "threads_per_core=2 lets a call run on both threads of a core")
    else:
        yield ok("hyper-threads", f"a core of {there.node} has one hardware thread: a CPU is a core")
    if not site.capabilities.confines_cores:
        return
    if there.cores < asked:
        text = f"{asked} core(s) were asked for, and the job may run on {there.cores} ({there.allowed} CPUs)"
        yield Finding("cores", Level.PROBLEM, text, "look at job_extra and job_skip, and ask an administrator")
    elif there.allowed == there.cpus and there.cores > asked and not _alone(site):
        text = f"the job may run on all {there.cores} cores of {there.node}, and asked for {asked}: nobody confines it"
        yield Finding("cores", Level.WARNING, text, "other jobs may slow yours down; workers are not bound to cores")
    else:
        yield ok("cores", f"{there.cores} for the job, {asked} asked for")


def _alone(site: Site) -> bool:
    """Say whether jobs have their nodes for themselves, as far as the batch system tells."""
    places = partitions_of(site.request, site.limits)
    return bool(places) and all(whole_nodes(site.request, place, site.limits.rules) for place in places)


def _threads(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    told = there.environment.get("OMP_NUM_THREADS", "")
    if told != str(site.request.threads):
        text = f"a call may run {site.request.threads} thread(s), and OMP_NUM_THREADS is {told or 'not set'}"
        yield Finding("threads", Level.WARNING, text, "take it out of environment=, unless you mean it")
    else:
        yield ok("threads", f"libraries are told to start {told}")


def _memory(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    asked, limit = site.request.job_memory, there.memory_limit
    if site.capabilities.shares_machine:
        return
    if limit is None:
        text = f"no cgroup limits the memory of jobs on {there.node}: one that takes too much harms the others"
        yield Finding("memory", Level.NOTE, text, "ask for what the calls need: jobpool measure")
    elif asked is not None and limit < asked:
        text = f"{asked} were asked for, and the job's limit is {limit}"
        yield Finding("memory", Level.PROBLEM, text, "look at job_extra and job_skip, and ask an administrator")
    else:
        yield ok("memory", f"the kernel holds the job to {limit}" + (f", {asked} asked for" if asked else ""))


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
        yield ok("ulimits", f"{there.limits.get('NOFILE') or 'any number of'} open files on {there.node}")


def _proxies(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    ours, theirs = _proxy_names(here), _proxy_names(there)
    if ours and not theirs:
        text = f"{', '.join(ours)} are set here and not in jobs: downloads that work here may fail there"
        yield Finding("proxies", Level.NOTE, text, "environment={'https_proxy': ...}, or download before")
    elif theirs:
        yield Finding("proxies", Level.NOTE, f"{', '.join(theirs)} are set in jobs; jobpool itself uses none")
    else:
        yield ok("proxies", "none are set, here and in jobs")


def _foreign_variables(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    beginnings = ("PMI_", "PMIX_", "OMPI_", *site.surroundings.step_variables)
    names = [name for name in there.environment if name.startswith(beginnings)]
    if names:
        text = f"calls see {', '.join(sorted(names))}: an MPI library would take a call for a rank of a program"
        yield Finding("MPI", Level.WARNING, text, "unset them in setup=")
    else:
        yield ok("MPI", "calls see no variables of an MPI's ranks, nor of the job's own step")


def _main(here: Side, there: Side, site: Site, meeting: Meeting) -> Iterator[Finding]:
    if there.main:
        yield Finding("__main__ guard", Level.NOTE, f"a call's __main__ is {there.main}, which jobs import")
        return
    text = "jobs do not import your script: it needs no guard for them"
    if there.start_method != "fork":
        text += f"; it does for multiprocessing, whose {there.start_method!r} here imports it in each process"
        yield Finding("__main__ guard", Level.NOTE, text, "jobpool doctor --script FILE looks for a missing one")
    else:
        yield ok("__main__ guard", f"{text} (--script FILE looks into one)")


_BOTH: tuple[Check, ...] = (
    _start,
    _network,
    _python,
    _packages,
    _user,
    _folders,
    _clock,
    _temp,
    _scratch,
    _imports,
    _cpus,
    _threads,
    _memory,
    _job_limits,
    _proxies,
    _foreign_variables,
    _main,
)


def _proxy_names(side: Side) -> list[str]:
    return sorted(name for name in side.environment if name.lower().endswith("_proxy") and name.lower() != "no_proxy")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
