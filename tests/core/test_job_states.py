"""One job's states: every state meets every observation, and the promises that concern one job alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from jobpool.core.events import Hello, JobKey
from jobpool.core.jobs.machine import (
    Accepted,
    Closing,
    Draining,
    Dropped,
    Ended,
    JobEntry,
    Joined,
    Left,
    Missed,
    Observation,
    Pending,
    Retired,
    Serving,
    Sighted,
    Silent,
    Starting,
    State,
    Stopped,
    Submitting,
    Told,
    Vouched,
    Waited,
    WentOn,
    advance,
)
from jobpool.core.settings import CoreSettings
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen

KEY = JobKey("jp-t-1", 0)
ID = JobId("4711_0")
SETTINGS = CoreSettings(pool="t")
GONE = Ending(kind=EndingKind.CANCELLED, message="not needed", source="agent")
TIMEOUT = Ending(kind=EndingKind.TIMED_OUT, message="TIMEOUT TimeLimit", source="queue")

STATES: dict[str, State] = {
    "submitting": Submitting(1.0),
    "pending": Pending(1.0, "Priority"),
    "starting": Starting(1.0),
    "serving": Serving(1.0, 7),
    "draining": Draining(1.0, 7, None, "idle"),
    "silent": Silent(1.0),
    "closing": Closing(1.0, GONE, True),
    "ended": Ended(1.0, TIMEOUT),
}


def seen(state: JobState, *, reason: str = "", ending: Ending | None = None) -> Sighted:
    words = f"{state.name} {reason}".strip()
    return Sighted(
        2.0, Seen(id=ID, name=KEY.submission, index=0, state=state, message=words, reason=reason, ending=ending)
    )


OBSERVATIONS: dict[str, Observation] = {
    "accepted": Accepted(2.0, ID),
    "sees PENDING": seen(JobState.PENDING, reason="Resources"),
    "sees RUNNING": seen(JobState.RUNNING),
    "sees COMPLETING": seen(JobState.COMPLETING),
    "sees SUSPENDED": seen(JobState.SUSPENDED),
    "sees UNKNOWN": seen(JobState.UNKNOWN),
    "sees ENDED": seen(JobState.ENDED, ending=TIMEOUT),
    "missed": Missed(2.0),
    "told": Told(2.0, TIMEOUT),
    "vouched": Vouched(2.0, JobState.RUNNING),
    "joined": Joined(2.0, Hello(job=KEY, id=ID, node="n1", workers=1, pid=7)),
    "stopped": Stopped(2.0),
    "went on": WentOn(2.0, None),
    "left": Left(2.0, "SIGTERM"),
    "retired": Retired(2.0, "idle"),
    "dropped": Dropped(2.0, GONE),
    "waited": Waited(2.0),
}

# Rows: observation; columns: state before. "." is the same state.
TABLE = """
                 submitting  pending   starting  serving   draining  silent    closing  ended
accepted         pending     .         .         .         .         .         .        .
sees PENDING     pending     .         pending   .         .         pending   .        .
sees RUNNING     starting    starting  .         .         .         .         .        .
sees COMPLETING  starting    starting  .         .         .         .         .        .
sees SUSPENDED   starting    starting  .         .         .         .         .        .
sees UNKNOWN     .           .         .         .         .         .         .        .
sees ENDED       ended       ended     ended     .         .         ended     ended    .
missed           .           .         .         .         .         .         ended    .
told             .           .         .         .         .         ended     ended    .
vouched          .           .         .         .         .         .         .        .
joined           serving     serving   serving   .         .         serving   .        .
stopped          .           .         .         .         .         .         .        .
went on          .           .         .         .         .         .         .        .
left             .           .         .         silent    silent    .         .        .
retired          .           .         .         draining  .         .         .        .
dropped          .           closing   closing   closing   closing   closing   .        .
waited           .           .         .         .         .         .         .        .
"""


def cells() -> list[tuple[str, str, str]]:
    header, *rows = TABLE.strip("\n").splitlines()
    columns = header.split()
    found = []
    for row in rows:
        name, *after = [part for part in row.split("  ") if part.strip()]
        found += [(column, name.strip(), word.strip()) for column, word in zip(columns, after, strict=True)]
    return found


@pytest.mark.parametrize(("before", "observation", "after"), cells())
def test_table(before: str, observation: str, after: str) -> None:
    job = JobEntry(key=KEY, request="", state=STATES[before], id=ID, node="n1")
    moved = advance(job, OBSERVATIONS[observation], SETTINGS)
    assert type(moved.state).__name__.lower() == (before if after == "." else after)


def test_the_table_is_complete() -> None:
    assert {(state, name) for state, name, _ in cells()} == {(state, name) for state in STATES for name in OBSERVATIONS}


def a_job(state: State, **fields: object) -> JobEntry:
    return JobEntry(key=KEY, request="", state=state, id=ID, node="n1", **fields)  # type: ignore[arg-type]


def after(job: JobEntry, *observations: Observation) -> JobEntry:
    for observation in observations:
        job = advance(job, observation, SETTINGS)
    return job


@pytest.mark.parametrize(
    ("state", "last"), [("pending", 182.0), ("starting", 182.0), ("silent", 6.0)]
)  # an agent that has left is a witness
def test_an_absent_job_is_lost_only_after_several_polls_and_some_time(state: str, last: float) -> None:
    job = after(a_job(STATES[state]), Missed(2.0), Missed(4.0))
    assert not isinstance(job.state, Ended)
    assert after(job, seen(JobState.RUNNING)).absent == 0
    if state != "silent":
        job = after(job, *(Missed(float(time)) for time in range(6, 182)))
        assert not isinstance(job.state, Ended)
    match after(job, Missed(last)).state:
        case Ended(ending=Ending(kind=EndingKind.LOST, message=message, source="absence")):
            assert "not in the queue" in message
        case other:
            pytest.fail(f"{other}")


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING])
def test_the_accounting_vouches_for_a_job_that_the_queue_does_not_show(state: JobState) -> None:
    job = a_job(STATES["pending"])
    for time in range(0, 3600, 60):
        job = after(job, Missed(float(time)), Vouched(time + 1.0, state))
    assert isinstance(job.state, Pending if state is JobState.PENDING else Starting)
    assert isinstance(after(job, *(Missed(3600.0 + time) for time in range(0, 240, 60))).state, Ended)


def test_the_accountings_word_ends_a_job_that_one_poll_missed() -> None:
    job = after(a_job(STATES["starting"]), Missed(2.0), Told(3.0, TIMEOUT))
    assert job.state == Ended(3.0, TIMEOUT)


def test_the_accounting_may_speak_of_an_earlier_run() -> None:
    assert after(a_job(STATES["pending"]), Told(3.0, TIMEOUT)).state == STATES["pending"]


def test_while_its_agent_is_connected_a_job_lives_whatever_a_poll_says() -> None:
    ended = seen(JobState.ENDED, ending=TIMEOUT)
    job = after(a_job(STATES["serving"]), ended, *[Missed(float(t)) for t in range(3, 20)])
    assert isinstance(job.state, Serving)
    assert after(job, Left(30.0)).state == Ended(30.0, TIMEOUT)  # then the poll's word counts at once


def test_an_ending_told_before_the_job_was_seen_alive_again_is_forgotten() -> None:
    job = after(a_job(STATES["serving"]), seen(JobState.ENDED, ending=TIMEOUT), seen(JobState.RUNNING), Left(30.0))
    assert isinstance(job.state, Silent)


def test_a_job_that_says_nothing_is_given_up_after_the_grace() -> None:
    job = after(a_job(STATES["serving"]), Left(5.0, "SIGTERM"))
    assert after(job, Waited(14.9)) is job
    match after(job, Waited(15.0)).state:
        case Closing(ending=Ending(kind=EndingKind.LOST, message=message), ours=False):
            assert "SIGTERM" in message
        case other:
            pytest.fail(f"{other}")


def test_a_job_that_left_at_its_deadline_timed_out_also_when_nobody_says_so() -> None:
    job = after(a_job(Serving(1.0, 7, deadline=100.0)), Left(101.0))
    state = after(job, Waited(111.0)).state
    assert isinstance(state, Closing)
    assert state.ending.kind is EndingKind.TIMED_OUT


def test_an_agent_that_does_not_come_is_given_up() -> None:
    job = a_job(STATES["starting"])
    assert after(job, Waited(300.9)) is job
    state = after(job, Waited(301.0)).state
    assert isinstance(state, Closing)
    assert "no agent connected within 5 min" in state.ending.message


def test_a_suspended_job_cannot_connect_and_is_not_blamed() -> None:
    job = after(a_job(STATES["starting"]), Sighted(290.0, seen(JobState.SUSPENDED).seen), Waited(400.0))
    assert isinstance(job.state, Starting)


def test_a_poll_asked_before_the_agent_left_does_not_make_a_requeue() -> None:
    job = a_job(STATES["silent"])
    assert after(job, Sighted(2.0, seen(JobState.PENDING).seen, late=True)) is job


def test_the_old_agents_end_does_not_touch_the_new_one() -> None:
    job = after(a_job(STATES["serving"]), Joined(5.0, Hello(job=KEY, id=ID, node="n2", workers=1, pid=8)))
    assert after(job, Left(6.0, pid=7)) is job
    assert isinstance(after(job, Left(6.0, pid=8)).state, Silent)


def test_a_cancelled_job_that_is_still_there_is_cancelled_again() -> None:
    job = a_job(STATES["closing"])
    assert after(job, Sighted(10.0, seen(JobState.RUNNING).seen)).state == STATES["closing"]
    assert after(job, Sighted(11.0, seen(JobState.RUNNING).seen)).state == Closing(11.0, GONE, True)
    assert after(job, Sighted(11.0, seen(JobState.UNKNOWN).seen)).state == Closing(11.0, GONE, True)


def test_an_agent_faster_than_the_answer_of_the_submit_command() -> None:
    job = JobEntry(key=KEY, request="", state=Submitting(1.0))
    job = after(job, Joined(2.0, Hello(job=KEY, id=ID, node="n1", workers=1, pid=7)), Accepted(3.0, ID))
    assert isinstance(job.state, Serving)
    assert job.id == ID


@pytest.mark.parametrize(
    ("outlived", "kind"),
    [(0, EndingKind.OUT_OF_MEMORY), (1, EndingKind.OUT_OF_MEMORY), (2, EndingKind.FAILED), (3, EndingKind.FAILED)],
)
def test_kills_that_the_agent_has_outlived_are_not_what_the_job_ended_by(outlived: int, kind: EndingKind) -> None:
    killed = Ending(kind=EndingKind.OUT_OF_MEMORY, message="OUT_OF_MEMORY", kills=2)
    job = JobEntry(key=KEY, request="", state=Silent(1.0), kills=outlived)
    after = advance(job, seen(JobState.ENDED, ending=killed), SETTINGS)
    assert isinstance(after.state, Ended)
    assert after.state.ending.kind is kind


def test_kills_count_for_one_run_of_a_job() -> None:
    job = JobEntry(key=KEY, request="", state=Pending(1.0), kills=2)
    assert advance(job, OBSERVATIONS["joined"], SETTINGS).kills == 0


def test_a_suspended_job_is_silent_for_as_long_as_it_is_said_to_be() -> None:
    job = after(a_job(STATES["serving"]), seen(JobState.SUSPENDED), Left(3.0))
    assert isinstance(after(job, Waited(1e6)).state, Silent)
    assert isinstance(after(job, seen(JobState.UNKNOWN), Waited(1e6)).state, Silent)
    went_on = after(job, seen(JobState.RUNNING))
    assert isinstance(after(went_on, Waited(1e6)).state, Closing)


def test_an_answer_from_before_its_agent_spoke_says_nothing_of_a_suspension() -> None:
    job = after(a_job(STATES["serving"]), Stopped(5.0))
    assert after(job, structs.replace(seen(JobState.RUNNING), late=True)).suspended == 5.0
    assert after(job, seen(JobState.RUNNING)).suspended is None
    assert after(job, WentOn(9.0, 100.0)).state == Serving(1.0, 7, 100.0)


@pytest.mark.parametrize("state", ["submitting", "pending", "starting", "silent"])
def test_a_job_that_slurm_could_not_start_is_given_up(state: str) -> None:
    held = replace(seen(JobState.PENDING).seen, hold=Hold("its starts fail", hopeless=True))
    match after(a_job(STATES[state]), Sighted(2.0, held)).state:
        case Closing(ending=Ending(kind=EndingKind.LAUNCH_FAILED), ours=False):
            pass
        case other:
            pytest.fail(f"{other}")
    assert after(a_job(STATES["serving"]), Sighted(2.0, held)).state == STATES["serving"]
