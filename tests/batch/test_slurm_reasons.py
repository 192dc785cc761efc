"""SLURM's reasons for which jobs wait, explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_slurm_answers import seen

from jobpool.batch.slurm.reasons import explain_reason
from jobpool.model.job import JobState


def test_every_reason_seen_is_explained() -> None:
    for situation in ("just after", "later"):
        for job in seen(situation).values():
            if job.state is JobState.PENDING and job.reason:
                assert explain_reason(job.reason) != job.reason


TOLD_AS_TEXT = [
    "ReqNodeNotAvail, UnavailableNodes:n4",
    "ReqNodeNotAvail, May be reserved for other job",
    "ReqNodeNotAvail, Reserved for maintenance",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    "launch failed requeued held",
    "launch failure limit exceeded requeued held",
    "user env retrieval failed requeued held",
    "job requeued in held state",
    "job requeued in special exit state",
    "Reservation maintenance was deleted",
    "RaisedSignal:9(Killed)",
    "burst_buffer/lua: slurm_bb_pre_run: no room",
    "uid 1000 not in group permitted to use this partition (gpu). groups allowed: bio",
]
# All reasons that SLURM's documentation (job_reason_codes) lists, and those in its source that are not there.
NAMES = (Path(__file__).parent / "slurm_reasons.txt").read_text().split()
SAYS_WHAT_TO_DO = re.compile(r"\b(asks?|use|wait|waits|starts?|submit|cancel|lists|tells?|knows|lets|again|fitted)\b")


@pytest.mark.parametrize("reason", [*NAMES, *TOLD_AS_TEXT])
def test_every_reason_of_slurm_has_words_and_what_can_be_done(reason: str) -> None:
    text = explain_reason(reason)
    assert text != reason
    assert re.fullmatch(r"[A-Z].*\.", text)
    assert SAYS_WHAT_TO_DO.search(text)
    # A part of the raw word that is left in it: "It waits for BBMinutes."
    assert not re.search(r"[a-z][A-Z]|Grp|Mins|TRES", re.sub(r"QoS|'[^']*'", "", text))


def test_particular_reasons() -> None:
    assert "n4" in explain_reason("ReqNodeNotAvail, UnavailableNodes:n4")
    assert "shorter walltime" in explain_reason("ReqNodeNotAvail, May be reserved for other job")
    assert explain_reason("QOSMaxJobsPerUserLimit") == (
        "The limit of the QoS on jobs at once for each user is reached; it waits until some of those jobs end."
    )
    assert "ask for less" in explain_reason("QOSMaxWallDurationPerJobLimit")
    assert "used up" in explain_reason("AssocGrpCPUMinutesLimit")
    assert "shorter walltime" in explain_reason("AssocGrpCPURunMinutesLimit")
    assert explain_reason("MPIPortsBusy") == explain_reason("MpiPortsBusy")
    assert explain_reason("SomethingNew") == "SomethingNew"
