"""Jobs that are held: what SLURM says of them, and what is made of it."""

from __future__ import annotations

import pytest

from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobState, Seen


def read(row: str) -> Seen:
    answer = Slurm().parse_poll([Completed(Command(("squeue",)), 0, f"{row}\n")], ())
    assert isinstance(answer, tuple)
    (seen,) = answer
    return seen


@pytest.mark.parametrize(
    ("state", "reason", "told", "hopeless"),
    [
        ("PENDING", "JobHeldUser", "'scontrol release 7_3' lets it go on", False),
        ("PENDING", "JobHeldAdmin", "an administrator holds it", False),
        ("PENDING", "job requeued in held state", "scontrol release 7_3", False),
        ("PENDING", "job_requeued_in_held_state", "scontrol release 7_3", False),
        ("SPECIAL_EXIT", "whatever", "scontrol release 7_3", False),
        ("REQUEUE_HOLD", "None", "scontrol release 7_3", False),
        ("PENDING", "launch failed requeued held", "its starts fail", True),
        ("PENDING", "launch_failed_requeued_held", "its starts fail", True),
        ("PENDING", "JobHoldMaxRequeue", "its starts fail", True),
    ],
)
def test_a_job_that_is_held_is_told_from_one_that_waits(state: str, reason: str, told: str, hopeless: object) -> None:
    seen = read(f"7_3|3|jp-x-1|{state}|0|n/a|10:00|1000M|{reason}|")
    assert seen.state is JobState.PENDING
    assert seen.hold is not None
    assert told in seen.hold.advice
    assert seen.hold.hopeless is hopeless


@pytest.mark.parametrize(
    "row",
    [
        "7|N/A|jp-x-1|PENDING|0|n/a|10:00|1000M|Priority|",
        "7|N/A|jp-x-1|PENDING|0|n/a|10:00|1000M|BeginTime|",
        "7|N/A|jp-x-1|COMPLETING|0|n1|10:00|1000M|job requeued in held state|",  # its processes are being ended
        "7|N/A|jp-x-1|CANCELLED|0|n1|10:00|1000M|JobHeldUser|",
    ],
)
def test_a_job_that_is_not_held_is_not_called_so(row: str) -> None:
    seen = read(row)
    assert seen.hold is None
