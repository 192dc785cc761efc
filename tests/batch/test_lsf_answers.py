"""LSF's answers about jobs, read: those of its documentation and of others' tests, and those of an open relative."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from goldens import answers, golden
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.base import Doubtful, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.lsf.system import Lsf
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.units import Memory

lsf = Lsf()
COMMAND = Command(("lsf",))


def said(stdout: str = "", *, stderr: str = "", code: int | None = 0) -> Completed:
    return Completed(COMMAND, code, stdout, stderr)


def answer(file: str, situation: str) -> Completed:
    return golden(file, situation, system="lsf")


def tracked(*ids: str, name: str = "pool-1", count: int | None = None) -> Tracked:
    return Tracked(name, {index: JobId(id) for index, id in enumerate(ids)}, count or len(ids) or None)


def test_each_answer_says_where_it_is_from() -> None:
    files = [path.stem for path in (Path(__file__).parent / "golden" / "lsf").glob("*.json")]
    assert len(files) >= 9
    for file in files:
        for situation, told in answers(file, system="lsf").items():
            assert told["source"], (file, situation)


# Submitting


ACCEPTED = {
    "accepted": "1234",
    "accepted, default queue": "1235",
    "accepted array": "1236",
    "accepted, words of the site's esub before": "1237",
    "accepted after waiting for the daemon": "1238",
    "accepted after waiting for a pending-job limit": "1239",
}
TEMPORARY = {
    "refused: LIM is down",
    "refused: host is no LSF host",
    "refused: job limit of the queue (table)",
}
DOUBTFUL = {"daemon silent (API_VERBOSE)", "communication timeout"}


@pytest.mark.parametrize("situation", sorted(answers("bsub", system="lsf")))
def test_each_answer_of_bsub(situation: str) -> None:
    done = answer("bsub", situation)
    read = lsf.parse_submit(done, count=1)
    if situation in ACCEPTED:
        assert read == Submitted((JobId(ACCEPTED[situation]),))
    elif situation in DOUBTFUL:
        assert read == Doubtful(done.stderr.strip())
    else:
        assert read == Refused(done.stderr.strip(), temporary=situation in TEMPORARY)


def test_an_array_has_one_id_and_elements_from_1() -> None:
    assert lsf.parse_submit(answer("bsub", "accepted array"), count=3) == Submitted(
        (JobId("1236[1]"), JobId("1236[2]"), JobId("1236[3]"))
    )


@pytest.mark.parametrize(
    ("done", "unclear"),
    [
        # It waits for ever where LSB_NTRIES does not reach it: killed while it waits, it may have succeeded at last.
        (said(stderr="User <alice>: Pending job threshold reached. Retrying in 60 seconds...\n", code=None), False),
        (said("Job <7> is submitted to queue <normal>.\n", code=-9), False),
        # LSB_BSUB_ERR_RETRY: twice.
        (said("Job <7> is submitted to queue <a>.\nJob <8> is submitted to queue <a>.\n"), False),
        (said("Job <7> is submitted to queue <a>.\n", code=255), False),
        (said(), True),
        (said("no hours left\n", code=1), True),
        (said("Job not submitted.\n"), True),
        (said(stderr="Cannot connect to LSF. Please wait ...\n", code=255), False),
        (said(stderr="Failed in an LSF library call: Communication time out. Job not submitted.\n", code=255), False),
    ],
)
def test_what_is_neither_yes_nor_no_is_doubtful(done: Completed, unclear: bool) -> None:
    read = lsf.parse_submit(done, count=1)
    assert isinstance(read, Doubtful)
    assert (read.unclear, read.words != "") == (unclear, True)


def test_a_daemon_that_is_down_is_a_refusal_for_a_time() -> None:
    done = answer("relative", "bsub, LIM is down")
    assert lsf.parse_submit(done, count=1) == Refused(done.stderr.strip(), temporary=True)


def test_a_submit_that_gives_up_waiting_for_the_limit_on_pending_jobs_is_worth_asking_again() -> None:
    done = answer("relative", "bsub, too many pending jobs")
    assert lsf.parse_submit(done, count=1) == Refused(done.stderr.strip(), temporary=True)


def test_an_option_that_this_version_does_not_have_is_a_refusal() -> None:
    done = answer("relative", "bsub, an option that it does not have")
    assert lsf.parse_submit(done, count=1) == Refused(done.stderr.strip())


def test_a_frozen_daemon_leaves_a_submit_doubtful_whatever_it_says() -> None:
    """It said that the job was not submitted, and the job ran when the daemon went on."""
    done = answer("relative", "bsub, frozen mbatchd")
    assert lsf.parse_submit(done, count=1) == Doubtful(done.stderr.strip())


def test_words_on_stderr_alone_tell_the_id_too() -> None:
    done = said(stderr="Job <7> is submitted to default queue <normal>.\n")  # BSUB_STDERR
    assert lsf.parse_submit(done, count=1) == Submitted((JobId("7"),))


# Polling


def polled(*records: dict[str, str], code: int = 0, stderr: str = "") -> Any:
    text = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records})
    return lsf.parse_poll([said(text, code=code, stderr=stderr)], [tracked(name="pool-1")])


def record(stat: str, **fields: str) -> dict[str, str]:
    return {"JOBID": "7", "JOBINDEX": "0", "JOB_NAME": "pool-1", "STAT": stat, **fields}


@pytest.mark.parametrize(
    ("stat", "state"),
    [
        ("PEND", JobState.PENDING),
        ("PSUSP", JobState.PENDING),
        ("WAIT", JobState.PENDING),
        ("RUN", JobState.RUNNING),
        ("PROV", JobState.RUNNING),
        ("UNKWN", JobState.RUNNING),
        ("USUSP", JobState.SUSPENDED),
        ("SSUSP", JobState.SUSPENDED),
        ("ZOMBI", JobState.COMPLETING),
        ("DONE", JobState.ENDED),
        ("EXIT", JobState.ENDED),
        ("POST_DONE", JobState.ENDED),
        ("POST_ERR", JobState.ENDED),
        ("NEWSTATE", JobState.UNKNOWN),
    ],
)
def test_each_state(stat: str, state: JobState) -> None:
    (seen,) = polled(record(stat))
    assert seen.state is state
    assert (seen.ending is not None) == (state is JobState.ENDED)


def test_elements_of_an_array_by_their_number_from_1() -> None:
    rows = [record("RUN", JOBINDEX="3", JOB_NAME="pool-1[3]", EXEC_HOST="4*node1"), record("PEND", JOBINDEX="12")]
    assert polled(*rows) == (
        Seen(id=JobId("7[3]"), name="pool-1", index=2, state=JobState.RUNNING, message="RUN", node="node1"),
        Seen(id=JobId("7[12]"), name="pool-1", index=11, state=JobState.PENDING, message="PEND"),
    )


def test_jobs_of_other_names_and_unknown_ids_are_left_out() -> None:
    other = {**record("RUN"), "JOB_NAME": "my own: 100 %"}
    gone = {"JOBID": "123", "ERROR": "Job <123> is not found"}
    assert [seen.id for seen in polled(other, gone, record("RUN"), code=255)] == ["7"]


ENDINGS = {
    # state, exit code, reason, host -> kind, exit code, signal
    ("DONE", "", "", "node1"): (EndingKind.COMPLETED, 0, None),
    ("POST_ERR", "0", "", "node1"): (EndingKind.COMPLETED, 0, None),
    ("EXIT", "42", "", "node1"): (EndingKind.FAILED, 42, None),
    ("EXIT", "139", "", "node1"): (EndingKind.FAILED, None, signal.SIGSEGV),
    ("EXIT", "72", "", "node1"): (EndingKind.LAUNCH_FAILED, None, None),
    ("EXIT", "73", "", "node1"): (EndingKind.LAUNCH_FAILED, None, None),
    ("EXIT", "", "", ""): (EndingKind.CANCELLED, None, None),
    ("EXIT", "", "", "node1"): (EndingKind.FAILED, None, None),
    ("EXIT", "140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit", "node1"): (
        EndingKind.TIMED_OUT, None, signal.SIGUSR2,
    ),
    ("EXIT", "12", "TERM_RUNLIMIT: job killed after reaching LSF run time limit", "node1"): (
        EndingKind.TIMED_OUT, None, None,
    ),
    ("EXIT", "152", "TERM_CPULIMIT: job killed after reaching LSF CPU usage limit", "node1"): (
        EndingKind.TIMED_OUT, None, signal.SIGXCPU,
    ),
    ("EXIT", "137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "node1"): (
        EndingKind.OUT_OF_MEMORY, None, signal.SIGKILL,
    ),
    ("EXIT", "1", "TERM_SWAP: job killed after reaching LSF swap usage limit", "node1"): (
        EndingKind.OUT_OF_MEMORY, None, None,
    ),
    ("EXIT", "130", "TERM_OWNER: job killed by owner", "node1"): (EndingKind.CANCELLED, None, signal.SIGINT),
    ("EXIT", "", "TERM_OWNER: job killed by owner", ""): (EndingKind.CANCELLED, None, None),
    ("EXIT", "137", "TERM_ADMIN: job killed by root or LSF administrator", "node1"): (
        EndingKind.CANCELLED, None, signal.SIGKILL,
    ),
    ("EXIT", "137", "TERM_PREEMPT: job killed after preemption", "node1"): (
        EndingKind.PREEMPTED, None, signal.SIGKILL,
    ),
    ("EXIT", "143", "TERM_LOAD: job killed after load exceeds threshold", "node1"): (
        EndingKind.PREEMPTED, None, signal.SIGTERM,
    ),
    ("EXIT", "", "TERM_REMOVE_HUNG_JOB: job removed from LSF", "node1"): (EndingKind.NODE_FAILED, None, None),
    ("EXIT", "", "TERM_ZOMBI: job exited while LSF is not available", "node1"): (EndingKind.NODE_FAILED, None, None),
    ("EXIT", "", "TERM_CWD_NOTEXIST: current working directory is not accessible", "node1"): (
        EndingKind.LAUNCH_FAILED, None, None,
    ),
    ("EXIT", "137", "TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", "node1"): (
        EndingKind.FAILED, None, signal.SIGKILL,
    ),
    ("EXIT", "9", "TERM_UNKNOWN: unknown reason", "node1"): (EndingKind.FAILED, 9, None),
}  # fmt: skip


@pytest.mark.parametrize("row", sorted(ENDINGS), ids=" ".join)
def test_each_ending(row: tuple[str, str, str, str]) -> None:
    stat, code, reason, host = row
    (seen,) = polled(record(stat, EXIT_CODE=code, EXIT_REASON=reason, EXEC_HOST=host))
    ending = seen.ending
    assert (ending.kind, ending.exit_code, ending.signal) == ENDINGS[row]
    assert (ending.node, ending.source) == (host or None, "queue")
    assert reason in ending.message


def test_an_ending_tells_the_limit_and_what_was_used() -> None:
    fields = {"EXIT_CODE": "137", "EXEC_HOST": "node1", "MEMLIMIT": "2 Gbytes", "MAX_MEM": "1.5 Gbytes"}
    (seen,) = polled(record("EXIT", EXIT_REASON="TERM_MEMLIMIT: job killed", **fields))
    assert (seen.ending.limit, seen.ending.used) == ("2 Gbytes", Memory(3 * 2**29))
    (seen,) = polled(record("EXIT", EXIT_REASON="TERM_RUNLIMIT: job killed", RUNTIMELIMIT="1440.0", EXEC_HOST="node1"))
    assert (seen.ending.limit, seen.ending.used) == ("1440.0 min", None)


@pytest.mark.parametrize(
    ("stat", "reason", "hold"),
    [
        ("PEND", "New job is waiting for scheduling;", None),
        ("PEND", "Job's resource requirements not satisfied: 3 hosts;", None),
        ("PSUSP", "The job was suspended by the user while pending;", Hold("'bresume 7' lets it go on")),
        (
            "PSUSP",
            "Job was suspended by LSF admin or root while pending;",
            Hold("an administrator holds it; ask for the reason, and for 'bresume' of it"),
        ),
        ("PEND", "Unable to open job's I/O buffers;", Hold("its starts fail", hopeless=True)),
        ("PEND", "Unable to open job's I/O buffers: 1 host;", None),  # others are tried
    ],
)
def test_jobs_that_wait_with_their_reason_and_whether_they_are_held(stat: str, reason: str, hold: Hold | None) -> None:
    (seen,) = polled(record(stat, PEND_REASON=reason))
    assert (seen.state, seen.reason, seen.hold) == (JobState.PENDING, reason.rstrip(";"), hold)


EMPTY = {
    "empty queue, text",
    "empty queue, LSB_BJOBS_CONSISTENT_EXIT_CODE=Y",
    "empty queue, -json (as a test has it)",
    "unknown id",
    "unknown id, LSB_BJOBS_CONSISTENT_EXIT_CODE=Y",
    "unknown name",
    "daemon down, waiting",
}
NO_ANSWER = {"daemon down", "library failure", "query limit of the site", "daemon busy"}


@pytest.mark.parametrize("situation", sorted(EMPTY))
def test_jobs_that_are_not_there_are_absent(situation: str) -> None:
    assert lsf.parse_poll([answer("bjobs", situation)], [tracked("1")]) == ()


@pytest.mark.parametrize("situation", sorted(NO_ANSWER))
def test_an_answer_of_a_daemon_that_is_down_says_nothing(situation: str) -> None:
    done = answer("bjobs", situation)
    assert lsf.parse_poll([done], [tracked("1")]) == Unanswered(done.stderr.strip())


@pytest.mark.parametrize("situation", ["bjobs, LIM is down", "bjobs, frozen mbatchd"])
def test_an_empty_answer_of_a_daemon_that_is_down_says_nothing_either(situation: str) -> None:
    done = answer("relative", situation)
    assert '"RECORDS"' in done.stdout
    assert lsf.parse_poll([done], [tracked("1")]) == Unanswered(done.stderr.strip())


def test_all_commands_of_a_poll_must_have_answered() -> None:
    good, late = answer("bjobs", "pending"), said(stderr="bjobs: no answer in 60 s", code=None)
    assert isinstance(lsf.parse_poll([good, late], [tracked("1")]), Unanswered)


@pytest.mark.parametrize(
    ("situation", "name", "state"),
    [
        ("held (bsub -H)", "hold_job", "PSUSP"),
        ("done", "job-1", "DONE"),
        ("exit, killed by its owner", "", "EXIT"),
        ("pending", "", "PEND"),
        ("running (format by balsam's comment)", "", "RUN"),
    ],
)
def test_recorded_records_are_read_as_far_as_they_go(situation: str, name: str, state: str) -> None:
    done = answer("bjobs", situation)
    (told,) = json.loads(done.stdout)["RECORDS"]
    assert told["STAT"] == state
    whole = {"JOBID": "22005", "JOBINDEX": "0", "JOB_NAME": name or "pool-1", **told}
    text = done.stdout.replace(done.stdout[done.stdout.index("[") :], f"[{json.dumps(whole)}]}}")
    (seen,) = lsf.parse_poll([said(text)], [tracked(name=name or "pool-1")])  # type: ignore[misc]
    assert seen.message.startswith(state)
    if state == "DONE":
        assert seen.ending == Ending(
            kind=EndingKind.COMPLETED, message="DONE", exit_code=0, node="node1", source="queue"
        )


def test_a_relative_that_knows_few_fields_is_read_as_far_as_they_go() -> None:
    done = answer("relative", "bjobs, json")
    found = lsf.parse_poll([done], [tracked(name="jp-t1-5f51193b-1")])
    assert not isinstance(found, Unanswered)
    assert [(seen.id, seen.index) for seen in found] == [("22[3]", 2), ("22[1]", 0), ("22[2]", 1)]
    refused = answer("relative", "bjobs, a field that it does not have")
    assert isinstance(lsf.parse_poll([refused], [tracked("1")]), Unanswered)


@given(st.text(), st.text(), st.sampled_from([0, 1, 255, None]))
def test_garbage_is_no_answer_or_an_empty_one(stdout: str, stderr: str, code: int | None) -> None:
    found = lsf.parse_poll([said(stdout, stderr=stderr, code=code)], [tracked("1")])
    assert isinstance(found, Unanswered) or found == ()


@pytest.mark.alone
def test_five_thousand_jobs_are_read_in_half_a_second() -> None:
    rows = [
        record(
            "PEND",
            JOBINDEX=str(number),
            JOB_NAME=f"pool-1[{number}]",
            EXIT_CODE="",
            EXIT_REASON="",
            PEND_REASON="Job's resource requirements not satisfied: 12 hosts; Load information unavailable: 1 host;",
            EXEC_HOST="",
            RUNTIMELIMIT="60.0",
            MEMLIMIT="2 Gbytes",
            MAX_MEM="",
        )
        for number in range(1, 5001)
    ]
    done = said(json.dumps({"COMMAND": "bjobs", "JOBS": 5000, "RECORDS": rows}, indent=2))
    begun = time.process_time()
    found = lsf.parse_poll([done], [tracked(name="pool-1")])
    used = time.process_time() - begun
    assert not isinstance(found, Unanswered)
    assert len(found) == 5000
    assert used < 0.5


def test_a_poll_asks_for_an_array_by_one_id_and_for_the_unknown_by_name() -> None:
    known, half = tracked("12[1]", "12[2]"), tracked("15[1]", name="pool-2", count=2)
    (poll,) = lsf.poll([known, half, tracked("13", name="pool-3")])
    assert poll.argv[:3] == ("bjobs", "-a", "-json")
    assert poll.argv[5:] == ("12", "13")
    assert ("LSB_NTRIES", "1") in poll.variables
    assert lsf.poll([half]) == ()
    (find,) = lsf.find("pool-2")
    assert find.argv[5:] == ("-J", "pool-2")
