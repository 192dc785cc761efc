"""What SLURM says of itself beside its limits, and around a process."""

from __future__ import annotations

import pytest

from jobpool.batch.explainer import Enforcement, SiteFacts
from jobpool.batch.slurm.explainer import SlurmExplainer
from jobpool.model.command import Command, Completed

SLURM = SlurmExplainer()
COMMAND = Command(("true",))
DONE = Completed(COMMAND, 0)
FAILED = Completed(COMMAND, 1, "", "Slurm accounting storage is disabled\nand more\n")


def facts(config: str = "", *, accounting: Completed = DONE, queue: str = "") -> SiteFacts:
    return SLURM.parse_site((Completed(COMMAND, 0, config), accounting, Completed(COMMAND, 0, queue)))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", None),
        ("TaskPlugin = task/none\n", Enforcement(("cores", "memory"), "TaskPlugin=task/none")),
        ("TaskPlugin = task/affinity\n", Enforcement(("cores", "memory"), "TaskPlugin=task/affinity")),
        ("TaskPlugin = task/affinity,task/cgroup\n", Enforcement((), "TaskPlugin=task/affinity,task/cgroup")),
        (
            "ConstrainCores          = yes\nConstrainRAMSpace       = no\nTaskPlugin = task/cgroup\n",
            Enforcement(("memory",), "TaskPlugin=task/cgroup"),
        ),
        ("ConstrainCores = no\n", Enforcement(("cores",), "TaskPlugin=not told")),
    ],
)
def test_what_jobs_are_not_held_to(config: str, expected: Enforcement | None) -> None:
    assert facts(config).enforcement == expected


def test_no_accounting_is_told_with_the_first_of_its_words_and_how_long_the_queue_remembers() -> None:
    found = facts("MinJobAge               = 300 sec\n", accounting=FAILED, queue="PENDING\nRUNNING\nPENDING\n")
    assert (found.accounting, found.forgets_after) == ("Slurm accounting storage is disabled", "300 sec")
    assert found.own_jobs == {"PENDING": 2, "RUNNING": 1}
    assert facts().accounting == ""


def test_a_queue_that_does_not_answer_is_not_an_empty_one() -> None:
    assert SLURM.parse_site((FAILED, FAILED, FAILED)).own_jobs is None
    assert SLURM.parse_site((FAILED, FAILED, FAILED)).enforcement is None


def test_variables_of_an_allocation_are_remarked_on() -> None:
    told = SLURM.remarks({"SLURM_JOB_ID": "12", "SBATCH_EXPORT": "NONE", "PATH": "/bin"})
    assert [remark.text.split(" ")[0] for remark in told] == ["this", "SBATCH_EXPORT"]
    assert SLURM.remarks({"PATH": "/bin"}) == ()
