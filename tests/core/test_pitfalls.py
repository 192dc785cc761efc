"""Each known pitfall, as facts, is found, with its evidence and a cure; where all is well nothing is complained of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobpool.batch.explainer import Enforcement, SiteFacts
from jobpool.batch.registry import capabilities
from jobpool.batch.slurm.explainer import SlurmExplainer
from jobpool.diagnose.checks import Finding, Level, examine, examine_here, examine_site, worst
from jobpool.diagnose.facts import DiskQuota, Folder, Meeting, Side, Site
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory

GIB = 2**30

HERE = Side(
    node="login1",
    user=1000,
    python="3.11.2",
    executable="/env/bin/python",
    packages={"numpy": "2.0.0", "jobpool": "0.1.0"},
    main="/home/me/run.py",
    start_method="fork",
    time=1e9,
    cpus=16,
    allowed=16,
    cores=16,
    threads_per_core=1,
    memory=Memory(64 * GIB),
    memory_limit=None,
    limits={"NOFILE": 4096, "NPROC": None, "AS": None, "CPU": None},
    environment={},
    home=Folder(path="/home/me", kind="nfs4", mount="/home", inode=7, free=Memory(50 * GIB), files=10**6),
    project=Folder(path="/home/me/project", kind="nfs4", mount="/home", inode=8, free=Memory(50 * GIB), files=10**6),
    temp=Folder(path="/tmp", kind="ext4", inode=2, free=Memory(50 * GIB)),
    installed=Folder(path="/env/lib", kind="nfs4", inode=9, free=Memory(50 * GIB)),
    read=0.0005,
)
THERE = replace(
    HERE,
    node="n7",
    main="",
    allowed=2,
    cores=2,
    memory_limit=Memory(int(8.25 * GIB)),
    environment={"OMP_NUM_THREADS": "2"},
    home=replace(HERE.home, marked=True),
    project=replace(HERE.project, marked=True),
)
REQUEST = Request(cores=2, memory=Memory(8 * GIB), walltime=Duration.parse("1 h"))
SHORT = Partition(
    name="short",
    default=True,
    max_time=Duration.parse("4 h"),
    default_time=Duration.parse("1 h"),
    default_memory_per_cpu=Memory(GIB),
)
SLURM = SlurmExplainer()
NODE = NodeShape(count=2, cores=16, threads_per_core=2, memory=Memory(64 * GIB))
SITE = Site(
    limits=Limits(partitions=(SHORT, Partition(name="long"))),
    request=REQUEST,
    facts=SiteFacts(accounting="", enforcement=Enforcement(words="by cgroups"), own_jobs={}),
    left=(),
    surroundings=SLURM.surroundings,
)


def beside(**changes: Any) -> Site:
    return replace(SITE, facts=replace(SITE.facts, **changes))


MEETING = Meeting(waited=3.0, offset=0.1, uncertain=1.0, address="10.0.0.1", job="job 7 on n7")


PITFALLS = {
    "Python versions that differ": "python",
    "package versions that differ": "packages",
    "project directory not shared": "project directory",
    "home not shared": "home",
    "address or firewall between compute and submit node": "network",
    "clock": "clock",
    "/tmp small or memory-backed": "temporary files",
    "scratch on a network file system": "scratch",
    "hyper-threading, and what a CPU is": "hyper-threads",
    "default memory of the partition": "default memory",
    "default walltime of the partition": "walltime",
    "limits of the login node": "this host",
    "ulimits": "ulimits",
    "proxies": "proxies",
    "slow imports": "imports",
    "MPI variables": "MPI",
    "SLURM variables": "environment",
    "__main__ guard": "__main__ guard",
    "old dask-jobqueue": "dask-jobqueue",
    "no accounting": "accounting",
    "cgroup enforcement": "enforcement",
    "cores that a job really has": "cores",
    "memory that a job really has": "memory",
    "threads that libraries start": "threads",
    "other own jobs": "own jobs",
    "quota of file systems": "quota of /home/me",
    "limits of account and QoS": "limits left",
    "whole nodes": "whole nodes",
    "mapped files that count": "mapped files",
}
"""What the doctor is for, and the subject under which it tells of each, also when all is well."""


def complaints(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def one(findings: list[Finding], subject: str, level: Level, *words: str) -> None:
    [found] = complaints(findings)
    assert (found.subject, found.level) == (subject, level)
    for word in words:
        assert word in found.text
    assert found.cure or level is Level.NOTE


def test_where_all_is_well_nothing_is_complained_of_and_all_is_named() -> None:
    findings = [
        *examine(HERE, THERE, SITE, MEETING),
        *examine_here(replace(HERE, quotas=()), SITE),
        *examine_site(SITE),
    ]
    assert complaints(findings) == []
    assert worst(findings) is Level.OK
    told = {finding.subject for finding in findings}
    assert {pitfall for pitfall, subject in PITFALLS.items() if subject not in told} == set()


def folder(side: Side, name: str, **changes: Any) -> Side:
    return replace(side, **{name: replace(getattr(side, name), **changes)})


@pytest.mark.parametrize(
    ("there", "subject", "level", "words"),
    [
        (replace(THERE, python="3.12.1"), "python", Level.PROBLEM, ["3.11.2 here and 3.12.1"]),
        (replace(THERE, executable="/usr/bin/python3"), "python", Level.NOTE, ["/usr/bin/python3"]),
        (
            replace(THERE, packages={"numpy": "1.26.4"}),
            "packages",
            Level.WARNING,
            ["numpy 2.0.0 here, 1.26.4 there", "jobpool 0.1.0 here, missing there"],
        ),
        (replace(THERE, user=2000), "user", Level.PROBLEM, ["1000 here and 2000 on n7"]),
        (folder(THERE, "home", there=False), "home", Level.PROBLEM, ["/home/me does not exist on n7"]),
        (folder(THERE, "project", marked=False), "project directory", Level.PROBLEM, ["another folder"]),
        # A folder that cannot be written bears no mark.
        (folder(THERE, "project", marked=None, inode=9), "project directory", Level.PROBLEM, ["another folder"]),
        (folder(THERE, "temp", kind="tmpfs"), "temporary files", Level.WARNING, ["in memory (tmpfs)"]),
        (folder(THERE, "temp", kind="lustre"), "temporary files", Level.WARNING, ["behind a network (lustre)"]),
        (folder(THERE, "temp", free=Memory(10 * 2**20)), "temporary files", Level.WARNING, ["10 MiB left"]),
        (folder(THERE, "temp", files=500), "temporary files", Level.WARNING, ["room for 500 files left"]),
        (
            replace(THERE, scratch={"SCRATCH": Folder(path="/s", kind="lustre")}),
            "scratch",
            Level.NOTE,
            ["$SCRATCH (/s) is behind a network (lustre)"],
        ),
        (
            replace(THERE, scratch={"WORK": Folder(path="/w", kind="tmpfs")}),
            "scratch",
            Level.WARNING,
            ["in memory (tmpfs)"],
        ),
        (
            replace(THERE, scratch={"SCRATCH": Folder(path="/s", there=False)}),
            "scratch",
            Level.WARNING,
            ["does not exist on n7"],
        ),
        (replace(THERE, read=0.02), "imports", Level.WARNING, ["20 ms to read on n7", "nfs4"]),
        (replace(THERE, threads_per_core=2, allowed=4), "hyper-threads", Level.NOTE, ["2 hardware threads"]),
        (replace(THERE, cores=1, allowed=2), "cores", Level.PROBLEM, ["2 core(s) were asked for", "1 (2 CPUs)"]),
        (replace(THERE, cores=16, allowed=16), "cores", Level.WARNING, ["all 16 cores of n7", "nobody confines"]),
        (replace(THERE, environment={"OMP_NUM_THREADS": "16"}), "threads", Level.WARNING, ["2 thread(s)", "is 16"]),
        (replace(THERE, environment={}), "threads", Level.WARNING, ["not set"]),
        (replace(THERE, memory_limit=None), "memory", Level.NOTE, ["no cgroup"]),
        (replace(THERE, memory_limit=Memory(4 * GIB)), "memory", Level.PROBLEM, ["8.25 GiB", "4 GiB"]),
        (replace(THERE, limits={"NOFILE": 256, "AS": 4 * GIB}), "ulimits", Level.WARNING, ["NOFILE 256, AS 4 GiB"]),
        (replace(THERE, start_method="forkserver"), "__main__ guard", Level.NOTE, ["'forkserver' here imports it"]),
        (replace(THERE, main="/x/run.py"), "__main__ guard", Level.NOTE, ["/x/run.py, which jobs import"]),
        (
            replace(THERE, environment={"OMP_NUM_THREADS": "2", "PMIX_RANK": "0"}),
            "MPI",
            Level.WARNING,
            ["PMIX_RANK"],
        ),
    ],
)
def test_pitfalls_in_jobs(there: Side, subject: str, level: Level, words: list[str]) -> None:
    one(examine(HERE, there, SITE, MEETING), subject, level, *words)


def test_many_packages_that_differ_are_named_in_part() -> None:
    here = replace(HERE, packages={f"package{number:02}": "1" for number in range(20)})
    one(examine(here, replace(THERE, packages={}), SITE, MEETING), "packages", Level.WARNING, "and 12 more")


@pytest.mark.parametrize(("offset", "word"), [(120.0, "120 s ahead"), (-60.0, "60 s behind")])
def test_a_clock_that_is_off(offset: float, word: str) -> None:
    one(examine(HERE, THERE, SITE, replace(MEETING, offset=offset)), "clock", Level.WARNING, word)


def test_a_clock_that_may_be_right_is_not_blamed() -> None:
    assert complaints(examine(HERE, THERE, SITE, replace(MEETING, offset=-20.0, uncertain=30.0))) == []


def test_proxies_on_one_side() -> None:
    here = replace(HERE, environment={"https_proxy": "set", "no_proxy": "set"})
    one(examine(here, THERE, SITE, MEETING), "proxies", Level.NOTE, "https_proxy are set here and not in jobs")


@pytest.mark.parametrize(
    ("here", "subject", "level", "words"),
    [
        (replace(HERE, limits={"CPU": 1800}), "this host", Level.WARNING, ["after 30 min of CPU time"]),
        (replace(HERE, limits={"AS": 4 * GIB}), "this host", Level.WARNING, ["4 GiB of address space"]),
        (replace(HERE, memory_limit=Memory(GIB)), "this host", Level.WARNING, ["share 1 GiB of memory"]),
        (replace(HERE, limits={"NPROC": 100}), "this host", Level.WARNING, ["100 processes"]),
        (replace(HERE, limits={"NOFILE": 256}), "this host", Level.WARNING, ["256 files open"]),
        (replace(HERE, allowed=2), "this host", Level.WARNING, ["2 of 16 CPUs"]),
        (
            replace(HERE, environment={"OMPI_COMM_WORLD_SIZE": "8"}),
            "environment",
            Level.WARNING,
            ["one of 8 processes"],
        ),
        (replace(HERE, environment={"SLURM_STEP_NUM_TASKS": "3"}), "environment", Level.WARNING, ["an srun or mpirun"]),
        (replace(HERE, environment={"SLURM_CLUSTERS": "other"}), "environment", Level.NOTE, ["leads SLURM's commands"]),
        (replace(HERE, environment={"SLURM_JOB_ID": "12"}), "environment", Level.NOTE, ["inside of job 12"]),
        (replace(HERE, environment={"SBATCH_EXPORT": "NONE"}), "environment", Level.NOTE, ["SBATCH_EXPORT"]),
        (replace(HERE, environment={"LD_PRELOAD": "x.so"}), "environment", Level.WARNING, ["LD_PRELOAD"]),
        (replace(HERE, packages={"dask-jobqueue": "0.9.0"}), "dask-jobqueue", Level.NOTE, ["Ctrl-C"]),
        (folder(HERE, "home", free=Memory(0)), "home", Level.WARNING, ["0 B left"]),
        (folder(HERE, "project", files=20), "project directory", Level.WARNING, ["room for 20 files left"]),
        (
            replace(HERE, quotas=(DiskQuota(mount="/home", whose="user", used=Memory(GIB), limit=Memory(GIB)),)),
            "quota of /home/me",
            Level.PROBLEM,
            ["1 GiB of 1 GiB are used (user)", "fail"],
        ),
        (
            replace(HERE, quotas=(DiskQuota(mount="/home", whose="group bio", files=95, files_limit=100),)),
            "quota of /home/me",
            Level.WARNING,
            ["95 of 100 files are used (group bio)"],
        ),
        (
            replace(HERE, quotas=(DiskQuota(mount="/home", unknown="no command 'quota' here"),)),
            "quota of /home/me",
            Level.NOTE,
            ["not known, no command 'quota' here", "(nfs4) has 50 GiB and 1000000 files free"],
        ),
    ],
)
def test_pitfalls_of_this_host(here: Side, subject: str, level: Level, words: list[str]) -> None:
    one(examine_here(here, replace(SITE, remarks=SLURM.remarks(here.environment))), subject, level, *words)


def test_what_is_left_of_a_quota_is_told_once_for_each_file_system() -> None:
    assert [finding.text for finding in examine_here(replace(HERE, quotas=()), SITE) if "quota" in finding.subject] == [
        "none; its file system (nfs4) has 50 GiB and 1000000 files free"
    ]
    quota = DiskQuota(mount="/home", whose="user", used=Memory(GIB), limit=Memory(10 * GIB), files=5, files_limit=100)
    told = [finding for finding in examine_here(replace(HERE, quotas=(quota,)), SITE) if "quota" in finding.subject]
    text = "1 GiB of 10 GiB and 5 of 100 files are used (user)"
    assert told == [Finding("quota of /home/me", Level.OK, text)]


def test_a_newer_jobqueue_has_no_side_effects() -> None:
    assert complaints(examine_here(replace(HERE, packages={"dask-jobqueue": "0.10.0"}), SITE)) == []


@pytest.mark.parametrize(
    ("site", "subject", "level", "words"),
    [
        (replace(SITE, request=replace(REQUEST, walltime=None)), "walltime", Level.WARNING, ["'short' end after 1 h"]),
        (replace(SITE, request=replace(REQUEST, memory=None)), "default memory", Level.WARNING, ["1 GiB for each CPU"]),
        (beside(accounting="accounting storage is disabled"), "accounting", Level.NOTE, ["is disabled"]),
        (beside(enforcement=None), "enforcement", Level.NOTE, ["does not tell"]),
        (beside(own_jobs=None), "own jobs", Level.NOTE, ["not known"]),
        (
            beside(enforcement=Enforcement(("cores", "memory"), "none")),
            "enforcement",
            Level.NOTE,
            ["cores and memory"],
        ),
        (
            beside(enforcement=Enforcement(("memory",), "by nothing")),
            "enforcement",
            Level.NOTE,
            ["their memory (by nothing)"],
        ),
        (replace(SITE, left=None), "limits left", Level.NOTE, ["is not known"]),
        (
            replace(SITE, left=(("jobs at once (you, QoS 'x')", 4, 1), ("CPU minutes (account 'bio')", 1000, 950))),
            "limits left",
            Level.WARNING,
            ["in use are 950 of 1000 CPU minutes (account 'bio'); 1 of 4 jobs at once (you, QoS 'x')"],
        ),
        # One job of two cores for an hour takes more than is left.
        (
            replace(SITE, left=(("CPU minutes (account 'bio')", 200, 100),)),
            "limits left",
            Level.WARNING,
            ["100 of 200"],
        ),
        (replace(SITE, left=(("jobs at once (you)", 2, 2),)), "limits left", Level.WARNING, ["2 of 2 jobs"]),
        (
            replace(
                SITE, limits=Limits(partitions=(replace(SHORT, whole_nodes="OverSubscribe=EXCLUSIVE", nodes=(NODE,)),))
            ),
            "whole nodes",
            Level.WARNING,
            ["16 cores are taken and charged, 2 of them used", "workers_per_job=7 shares"],
        ),
        (
            replace(SITE, limits=replace(SITE.limits, mapped_files_counted_by="OverKill")),
            "mapped files",
            Level.NOTE,
            ["Kill"],
        ),
        (beside(own_jobs={"PENDING": 3, "RUNNING": 1}), "own jobs", Level.NOTE, ["3 pending, 1 running"]),
        (replace(SITE, limits=Limits(unknown=("nodes: no permission",))), "limits", Level.NOTE, ["no permission"]),
    ],
)
def test_pitfalls_of_the_site(site: Site, subject: str, level: Level, words: list[str]) -> None:
    one(examine_site(site), subject, level, *words)


def test_a_job_that_has_its_node_for_itself_needs_no_confinement() -> None:
    whole = Limits(partitions=(replace(SHORT, whole_nodes="SelectType=select/linear"),))
    there = replace(THERE, cores=16, allowed=16)
    assert complaints(examine(HERE, there, replace(SITE, limits=whole), MEETING)) == []


def test_a_partition_that_is_left_to_auto() -> None:
    taken = replace(SITE, chosen=True, request=replace(REQUEST, partition="long"))
    found = {finding.subject: finding for finding in examine_site(taken)}
    assert found["partition"] == Finding("partition", Level.OK, "'auto' takes 'long' now")
    assert "'long' allows any" in found["walltime"].text
    one(examine_site(replace(SITE, chosen=True)), "partition", Level.PROBLEM, "no partition where the request fits")


def test_sizes_that_the_first_calls_tell_are_no_defaults_of_the_partition() -> None:
    site = replace(SITE, request=replace(REQUEST, walltime=None, memory=None), auto=("walltime", "memory"))
    assert complaints(examine_site(site)) == []


def test_a_partition_without_defaults_is_said_to_tell_none() -> None:
    request = Request(partition="long,short")
    found = {finding.subject: finding.text for finding in examine_site(replace(SITE, request=request))}
    assert "'long' end after a time that it does not tell" in found["walltime"]
    assert "gives what it likes" in found["default memory"]


def test_on_this_machine_nothing_is_said_of_a_site() -> None:
    site = Site(capabilities=capabilities("local"), request=Request())
    assert [finding.subject for finding in examine_site(site)] == ["batch system"]
    there = replace(THERE, cores=16, allowed=16, memory_limit=None, environment={"OMP_NUM_THREADS": "1"})
    assert complaints(examine(HERE, there, site, MEETING)) == []
