"""What the check predicts is what a real SLURM does: it refuses, lets wait for ever, or starts the job."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_steps import job_script, look, prepare, run

from jobpool.batch.base import Refused, Submitted
from jobpool.batch.slurm.system import Slurm
from jobpool.host.user import user_name
from jobpool.model.job import JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check
from jobpool.testing import SlurmLab
from jobpool.tools.explain_script import explain_script

slurm = Slurm()
MIB = 2**20
PATIENCE = 60.0
"""Seconds for all jobs to show what becomes of them: far more than it takes."""


@dataclass(frozen=True)
class Case:
    """A request, and what SLURM does with it: a part of its refusal, a reason to wait for ever, or nothing: it runs."""

    keywords: dict[str, Any]
    setting: str = ""
    refusal: str = ""
    reason: str = ""


FITS = [
    Case({}),
    Case({"cores": 16}),
    Case({"cores": 4, "threads_per_core": 2}),
    Case({"walltime": Duration(3600)}),
    Case({"partition": "check-cpu", "memory": Memory(31744 * MIB)}),
    Case({"partition": "check-cpu", "cores": 4, "threads_per_core": 2, "memory": Memory(63000 * MIB)}),
    Case({"partition": "check-small", "cores": 8}),
    Case({"partition": "check-account", "account": "second"}),
    Case({"partition": "check-qos", "qos": "maxwall"}),
    Case({"partition": "check-reserved", "reservation": "check-mine"}),
    Case({"partition": "gpu", "gpus": 4}),
    Case({"partition": "check-grp", "cores": 4}),
    Case({"partition": "long,short", "walltime": Duration(7200)}),
    Case({"qos": "maxwall", "walltime": Duration(1800)}),
    Case({"qos": "maxwall", "walltime": None, "partition": "preempt"}),
    Case({"qos": "grpcpus", "cores": 4}),
    Case({"licenses": ("matlab:4",)}),
    Case({"account": "second", "reservation": "check-second"}),
]

_CONFIGURATION = "Requested node configuration is not available"
_RESERVATION = "Requested reservation is invalid"

DOES_NOT = [
    Case({"partition": "nosuch"}, "partition", "Invalid partition name"),
    Case({"cores": 17}, "cores", _CONFIGURATION),
    Case({"threads_per_core": 4}, "threads_per_core", _CONFIGURATION),
    Case({"memory": Memory(70000 * MIB)}, "memory", _CONFIGURATION),
    Case({"gpus": 1}, "gpus", _CONFIGURATION),
    Case({"partition": "gpu", "gpus": 5}, "gpus", _CONFIGURATION),
    Case({"partition": "check-cpu", "memory": Memory(32000 * MIB)}, "memory", _CONFIGURATION),
    Case({"partition": "check-small", "cores": 9}, "cores", _CONFIGURATION),
    Case({"constraint": "fast"}, "constraint", "Invalid feature specification"),
    Case({"licenses": ("matlab:5",)}, "licenses", "Invalid license specification"),
    Case({"licenses": ("nosuch",)}, "licenses", "Invalid license specification"),
    Case({"reservation": "nosuch"}, "reservation", _RESERVATION),
    Case({"account": "lab", "reservation": "check-second"}, "reservation", "Access denied"),
    Case({"partition": "gpu", "reservation": "check-mine"}, "reservation", _CONFIGURATION),
    Case({"partition": "check-reserved"}, "reservation", "Access/permission denied"),
    Case({"account": "nosuch"}, "account", "Invalid account"),
    Case({"qos": "nosuch"}, "qos", "Invalid qos"),
    Case({"qos": "maxwall", "walltime": Duration(1860)}, "walltime", "QOSMaxWallDurationPerJobLimit"),
    Case({"qos": "maxwall", "walltime": None}, "walltime", "QOSMaxWallDurationPerJobLimit"),
    Case({"walltime": Duration(3660)}, "walltime", reason="PartitionTimeLimit"),
    Case({"cores": 200}, "cores", reason="PartitionConfig"),
    Case({"partition": "check-nodes"}, "partition", reason="PartitionNodeLimit"),
    Case({"partition": "check-down"}, "partition", reason="PartitionDown"),
    Case({"partition": "check-account", "account": "lab"}, "account", reason="account not permitted"),
    Case({"partition": "check-qos"}, "qos", reason="QOS not permitted"),
    Case({"partition": "check-grp", "cores": 5}, "cores", reason="QOSGrpCpuLimit"),
    Case({"qos": "grpcpus", "cores": 5}, "cores", reason="QOSGrpCpuLimit"),
    Case({"account": "second", "cores": 9}, "cores", reason="AssocMaxCpuPerJobLimit"),
    Case({"account": "second", "walltime": Duration(2460)}, "walltime", reason="AssocMaxWallDurationPerJobLimit"),
]

PARTITIONS = {
    "check-cpu": "MaxMemPerCPU=2000",
    "check-small": "MaxCPUsPerNode=8",
    "check-account": "AllowAccounts=second",
    "check-qos": "AllowQos=maxwall",
    "check-reserved": "ReqResv=YES",
    "check-grp": "QoS=grpcpus",
    "check-nodes": "MinNodes=2",
    "check-down": "",
}


@pytest.fixture(scope="module")
def limited_lab(slurm_lab_accounting: SlurmLab) -> Iterator[SlurmLab]:
    """The lab with a partition, a reservation or a limit of each kind that is checked."""
    lab = slurm_lab_accounting
    second = ("where", "account=second", "set")
    for name, limit in PARTITIONS.items():
        lab.run(
            "scontrol", "create", f"PartitionName={name}", f"Nodes={','.join(lab.nodes)}", "State=UP", *limit.split()
        )
    lab.run("scontrol", "update", "PartitionName=check-down", "State=DOWN")
    for name, whose, node in (("mine", f"Users={user_name()}", 0), ("second", "Accounts=second", 1)):
        given = (f"ReservationName=check-{name}", "StartTime=now", "Duration=60", whose, f"Nodes={lab.nodes[node]}")
        lab.run("scontrol", "create", "reservation", *given)
    lab.run("sacctmgr", "-i", "modify", "user", user_name(), *second, "MaxTRES=cpu=16", "MaxWall=40")
    yield lab
    lab.run("sacctmgr", "-i", "modify", "user", user_name(), *second, "MaxTRES=cpu=-1", "MaxWall=-1")
    lab.cancel_jobs()
    for name in ("mine", "second"):
        lab.run("scontrol", "delete", f"ReservationName=check-{name}")
    for name in PARTITIONS:
        lab.run("scontrol", "delete", f"PartitionName={name}")


@pytest.fixture
def limits(limited_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab]) -> Limits:
    enter_lab(limited_lab)
    read = slurm.parse_limits([run(command) for command in slurm.limits(user_name())])
    assert read.unknown == ()
    return read


def request(case: Case) -> Request:
    return Request(**{"memory": Memory(64 * MIB), "walltime": Duration(300), **case.keywords})


def submit(directory: Path, case: Case) -> tuple[str, str]:
    """Submit a job; return its name, and what sbatch said when it refused."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    made = prepare(slurm, job_script(directory, ["true"], name=name, request=request(case)))
    answer = slurm.parse_submit(run(made.command), count=1)
    assert isinstance(answer, Submitted | Refused), answer
    return name, answer.words if isinstance(answer, Refused) else ""


def test_what_the_check_accepts_is_accepted_and_starts(limits: Limits, tmp_path: Path) -> None:
    assert {str(case.keywords): check(request(case), limits) for case in FITS if check(request(case), limits)} == {}
    names = {}
    for case in FITS:
        name, words = submit(tmp_path, case)
        assert words == "", case.keywords
        names[name] = case
    deadline = time.monotonic() + PATIENCE
    while waiting := [name for name in names if look(slurm, name)[0].state is JobState.PENDING]:
        assert time.monotonic() < deadline, [(names[name].keywords, look(slurm, name)) for name in waiting]
        time.sleep(0.2)


def test_what_the_check_refuses_is_refused_or_waits_for_ever(limits: Limits, tmp_path: Path) -> None:
    waiting = {}
    for case in DOES_NOT:
        problems = check(request(case), limits)
        assert [problem.setting for problem in problems][:1] == [case.setting], (case.keywords, problems)
        name, words = submit(tmp_path, case)
        assert case.refusal in words, case.keywords
        assert bool(words) == bool(case.refusal), (case.keywords, words)
        if not words:
            waiting[name] = case
    deadline = time.monotonic() + PATIENCE
    for name, case in waiting.items():
        while case.reason not in (seen := look(slurm, name)[0]).words:
            assert seen.state is JobState.PENDING, (case.keywords, seen)
            assert time.monotonic() < deadline, (case.keywords, seen)
            time.sleep(0.2)


def test_the_nearest_that_is_proposed_is_accepted(limits: Limits, tmp_path: Path) -> None:
    for case in DOES_NOT:
        problems = check(request(case), limits)
        changes = {problem.setting: problem.nearest for problem in problems if problem.nearest}
        if not changes:
            continue
        nearer = Case({**case.keywords, **changes})
        assert check(request(nearer), limits) == [], nearer.keywords
        assert submit(tmp_path, nearer)[1] == "", nearer.keywords


@pytest.mark.parametrize(
    "directives",
    [
        "-c 3",
        "-n 3",
        "-n 2 -c 3",
        "-N 1 -n 5 -c 3",
        "-c 4 --hint=nomultithread",
        "-c 3 --mem-per-cpu=500",
        "--exclusive",
        "-p check-cpu --mem=9G",
        "-p check-cpu --threads-per-core=1 --mem-per-cpu=9000",
    ],
)
def test_a_script_gets_what_was_explained(limits: Limits, limited_lab: SlurmLab, directives: str) -> None:
    text = f"#!/bin/sh\n#SBATCH {directives}\n#SBATCH -o /dev/null -t 5\ntrue\n"
    (node,) = explain_script(text, limits=limits).nodes
    id = limited_lab.run("sbatch", "--parsable", input=text).stdout.strip()
    deadline = time.monotonic() + PATIENCE
    while "JobState=PENDING" in (told := limited_lab.run("scontrol", "-o", "show", "job", id).stdout):
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    given = re.search(r"TRES=cpu=(\d+),mem=([\d.]+)([MG])", told)
    assert given is not None, told
    assert int(given[1]) == node.job.cpus
    assert node.job.memory is not None
    mebibytes = float(given[2]) * {"M": 1, "G": 1024}[given[3]]
    assert mebibytes == pytest.approx(node.job.memory / MIB, rel=0.01)  # it prints two digits
