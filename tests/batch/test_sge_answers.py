"""Grid Engine's answers about jobs, read: what a real one said in each situation, and garbage."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from goldens import answers, completed, golden
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.base import Doubtful, NoAccounting, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.sge.reasons import explain_reason
from jobpool.batch.sge.system import GridEngine
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.units import Memory

sge = GridEngine()
COMMAND = Command(("q",))

# Submitting

DOUBTFUL = {"frozen qmaster", "qmaster stopped", "name a b", "name aé"}
TEMPORARY = {
    "refused: too many jobs of this user (max_u_jobs)",
    "array is one job for max_u_jobs",
    "refused: too many jobs in the cluster (max_jobs)",
}
OTHERS = {"verified: -w v (only verify), possible", "-sync y, walltime (blocks)"}
TERSE = {
    situation: answer
    for situation, answer in answers("qsub", system="sge").items()
    if answer["returncode"] == 0 and "-terse" in answer["argv"]
}


@pytest.mark.parametrize("situation", sorted(answers("qsub", system="sge").keys() - TERSE.keys() - OTHERS))
def test_each_no_of_qsub(situation: str) -> None:
    done = golden("qsub", situation, system="sge")
    answer = sge.parse_submit(done, count=1)
    if situation in DOUBTFUL:
        assert isinstance(answer, Doubtful)
        assert not answer.unclear
    elif done.returncode == 0:
        assert isinstance(answer, Doubtful)  # without -terse: jobpool never asks so
    else:
        assert answer == Refused(done.words, temporary=situation in TEMPORARY)


@pytest.mark.parametrize("situation", sorted(TERSE))
def test_each_yes_of_qsub(situation: str) -> None:
    number, dot, elements = TERSE[situation]["stdout"].strip().partition(".")
    count = int(elements.partition("-")[2].partition(":")[0]) if dot else 1
    answer = sge.parse_submit(completed(TERSE[situation]), count=count)
    if situation == "accepted array with step, -terse -t 2-8:3":
        assert isinstance(answer, Doubtful)  # nothing that was asked for
    elif count == 1 and dot:
        assert isinstance(answer, Doubtful)  # an array of one: jobpool asks for none
    elif dot:
        assert answer == Submitted(tuple(JobId(f"{number}.{task}") for task in range(1, count + 1)))
    else:
        assert answer == Submitted((JobId(number),))


def test_a_warning_beside_an_id_is_no_doubt_and_one_without_it_is() -> None:
    words = "Unable to run job: warning: alice's job is not allowed to run in any queue\n"
    assert sge.parse_submit(Completed(COMMAND, 0, "12\n", words), count=1) == Submitted((JobId("12"),))
    said = f'{words}Your job 12 ("x") has been submitted\nExiting.\n'
    assert sge.parse_submit(Completed(COMMAND, 1, "", said), count=1) == Doubtful(said.strip())


def test_what_did_not_finish_and_what_is_no_answer_are_doubtful() -> None:
    assert sge.parse_submit(Completed(COMMAND, None, "", "no answer"), count=1) == Doubtful("no answer")
    assert sge.parse_submit(Completed(COMMAND, 0, "13.1-3:1\n"), count=4) == Doubtful("13.1-3:1", unclear=True)
    assert sge.parse_submit(Completed(COMMAND, 3, "", "wrapper: no"), count=1) == Doubtful("wrapper: no", unclear=True)


# The queue


def poll(situation: str, *names: str, why: str = "") -> dict[str, Seen]:
    told = [golden("qstat_j", why, system="sge")] if why else []
    answer = sge.parse_poll(
        [golden("qstat", situation, system="sge"), *told], [Tracked(name) for name in (*names, "other")]
    )
    assert isinstance(answer, tuple)
    return {seen.id: seen for seen in answer}


MIXED = "mixed: running, array partly running, held, dependency, Eqw, suspended, waiting"


def test_states_of_single_jobs() -> None:
    seen = poll(MIXED, "running-1", "held-1", "susp-1", "full-1")
    assert {one.name: one.state for one in seen.values()} == {
        "running-1": JobState.RUNNING,
        "held-1": JobState.PENDING,
        "susp-1": JobState.SUSPENDED,
        "full-1": JobState.PENDING,
    }
    assert seen["64"] == Seen(
        id=JobId("64"), name="running-1", index=0, state=JobState.RUNNING, message="r", node="node1"
    )
    assert seen["66"].hold is not None
    assert "qrls 66" in seen["66"].hold.advice
    assert seen["66"].reason == "hqw"
    assert "qrls" in explain_reason("hqw")
    assert not seen["66"].hold.hopeless


def test_an_array_is_listed_by_element_where_it_runs_and_at_once_where_it_waits() -> None:
    seen = poll(MIXED, "arraymix-1")
    assert {id: (one.index, one.state) for id, one in seen.items()} == {
        **{f"65.{task}": (task - 1, JobState.RUNNING) for task in (1, 2)},
        **{f"65.{task}": (task - 1, JobState.PENDING) for task in range(3, 9)},
    }
    seen = poll("limit by resource quota (2 slots)", "quota-1")
    assert [one.state.value for one in seen.values()] == ["running", "running", "pending", "pending"]


@pytest.mark.parametrize(
    ("name", "why", "reason"),
    [
        ("badcwd-1", "badcwd", "can't chdir to /nosuch/dir: No such file or directory"),
        ("badout-1", "badout", 'can\'t open output file "/nosuch/dir/": No such file or directory'),
    ],
)
def test_a_job_in_error_state_is_hopeless_and_says_why(name: str, why: str, reason: str) -> None:
    (seen,) = poll(MIXED, name, why=why).values()
    assert seen.state is JobState.PENDING
    assert seen.hold is not None
    assert seen.hold.hopeless
    assert (seen.reason, seen.message) == (reason, f"Eqw {reason}")


def test_each_element_in_error_state_has_its_own_words() -> None:
    seen = poll(MIXED, "arrerr-1", why="arrerr")
    assert set(seen) == {"80.1", "80.2", "80.3"}
    assert all("can't open output file" in one.reason and one.hold and one.hold.hopeless for one in seen.values())


def test_a_script_that_ends_with_100_says_so() -> None:
    (seen,) = poll("Eqw by exit 100", "exit100-1", why="Eqw by exit 100").values()
    assert seen.reason == "exit_status of job start = 100"


@pytest.mark.parametrize(
    ("name", "why", "reason"),
    [
        ("bigmem-1", "bigmem", '(-l h_vmem=100G) cannot run at host "node1" because it offers only hc:h_vmem=11.500G'),
        ("bigcores-1", "bigcores", 'cannot run in PE "smp" because it only offers 0 slots'),
        ("off-1", "off", 'queue instance "off.q@node1" dropped because it is disabled'),
        ("closed-1", "closed", 'has no permission for cluster queue "closed.q"'),
        ("long-1", "long", '(-l h_rt=3600) cannot run in queue "short.q" because of cluster queue'),
        ("gpu-1", "gpu", '(-l gpu=3) cannot run at host "node1" because it offers only hc:gpu=2.000000'),
        ("arraymix-1", "arr", "not all array tasks may be started due to 'max_aj_instances'"),
        ("held-1", "held", "hqw"),
        ("dep-1", "dep", "job dropped because of job dependencies"),
    ],
)
def test_why_a_job_waits(name: str, why: str, reason: str) -> None:
    seen = [one for one in poll(MIXED, name, why=why).values() if one.state is JobState.PENDING]
    assert {one.reason for one in seen} == {reason}
    assert [one.hold is not None for one in seen] == [name == "held-1"] * len(seen)


def test_other_reasons() -> None:
    seen = poll("limit by resource quota (2 slots)", "quota-1", why="limit by resource quota")
    assert seen["111.3"].reason == 'cannot run because it exceeds limit "alice/////" in rule "max_user_slots/1"'
    # Where the scheduler tells nothing, nothing is made up.
    assert {one.reason for one in poll(MIXED, "full-1", why="why, where schedd_job_info is off").values()} == {""}


@pytest.mark.parametrize(
    ("situation", "state"),
    [
        ("just after qdel of running ones", "completing"),
        ("deleted on a lost node", "completing"),
        ("node lost, 75 s after (max_unheard 30 s, reschedule_unknown 30 s)", "running"),
    ],
)
def test_jobs_that_are_being_deleted_and_jobs_of_a_lost_node(situation: str, state: str) -> None:
    seen = poll(situation, "susp-1", "lost-rn")
    assert {one.state.value for one in seen.values()} == {state}


def test_a_job_that_runs_again_runs() -> None:
    seen = poll("just after qdel of one that ignores signals", "exit99-1")
    assert [(one.message, one.state) for one in seen.values()] == [("Rt", JobState.RUNNING)]


def test_a_job_that_is_to_run_again_waits() -> None:
    seen = poll("node lost, 75 s after (max_unheard 30 s, reschedule_unknown 30 s)", "lost-ry")
    assert [(one.message, one.state) for one in seen.values()] == [("Rq", JobState.PENDING)]


def test_an_empty_queue_is_an_answer_and_a_master_that_is_down_is_none() -> None:
    assert poll("empty queue", "x") == {}
    for situation in ("frozen qmaster", "qmaster stopped"):
        answer = sge.parse_poll([golden("qstat", situation, system="sge")], [Tracked("x")])
        assert isinstance(answer, Unanswered)
        assert "got send error" in answer.words
    assert isinstance(sge.parse_poll([Completed(COMMAND, 0, "<job_info>")], [Tracked("x")]), Unanswered)
    assert isinstance(sge.parse_poll([Completed(COMMAND, None)], [Tracked("x")]), Unanswered)


@pytest.mark.parametrize("why", ["unknown name", "qmaster stopped"])
def test_reasons_that_cannot_be_had_cost_only_themselves(why: str) -> None:
    assert len(poll(MIXED, "full-1", why=why)) == 1


@given(st.text(max_size=6))
def test_no_state_is_too_odd(letters: str) -> None:
    import html

    row = f"<JB_job_number>1</JB_job_number><JB_name>x</JB_name><state>{html.escape(letters)}</state>"
    said = f"<job_info><job_list>{row}</job_list></job_info>"
    answer = sge.parse_poll([Completed(COMMAND, 0, said)], [Tracked("x")])
    assert isinstance(answer, Unanswered) or len(answer) == 1


@pytest.mark.alone
def test_five_thousand_jobs_are_read_in_half_a_second() -> None:
    text: str = answers("qstat", system="sge")[MIXED]["stdout"]
    head, row, tail = text.partition('    <job_list state="running">\n')
    one, end, _ = (row + tail).partition("    </job_list>\n")
    rows = "".join(row + one.replace("running-1", "jp-a-1").replace(">64<", f">{n}<") + end for n in range(5000))
    whole = f"{head}{rows.replace(row + row, row)}  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>\n"
    begin = time.process_time()
    answer = sge.parse_poll([Completed(COMMAND, 0, whole)], [Tracked("jp-a-1")])
    assert time.process_time() - begin < 0.5
    assert isinstance(answer, tuple)
    assert len(answer) == 5000


# The accounting


def account(situation: str, name: str) -> dict[JobId, Ending | JobState]:
    answer = sge.parse_account([golden("qacct", situation, system="sge")], [Tracked(name)])
    assert isinstance(answer, dict)
    return answer


LIMIT = "failed 37 : qmaster enforced h_rt, h_cpu, or h_vmem limit, exit status 137 (Killed)"


@pytest.mark.parametrize(
    ("situation", "name", "expected"),
    [
        ("ok", "ok-1", {"kind": "COMPLETED", "exit_code": 0, "message": "failed 0, exit status 0"}),
        ("exit 3", "exit3-1", {"kind": "FAILED", "exit_code": 3, "message": "failed 0, exit status 3"}),
        ("exit 137", "exit137-1", {"kind": "FAILED", "exit_code": 137}),
        ("segfault", "segv-1", {"kind": "FAILED", "signal": 11}),
        ("sigkill itself", "kill9-1", {"kind": "FAILED", "signal": 9}),
        ("sigterm itself", "kill15-1", {"kind": "FAILED", "signal": 15}),
        ("memory error in one process", "mem1-1", {"kind": "FAILED", "exit_code": 1}),
        (
            "memory of all processes together",
            "mem2-1",
            {"kind": "OUT_OF_MEMORY", "signal": 9, "limit": "300 MiB", "used": Memory(551485964), "message": LIMIT},
        ),
        ("walltime, h_rt=5", "wall-1", {"kind": "TIMED_OUT", "signal": 9, "limit": "5 s", "message": LIMIT}),
        ("walltime with -notify", "wall-3", {"kind": "TIMED_OUT", "signal": 9, "limit": "8 s"}),
        ("h_rt=10, -notify -notify", "srt-5", {"kind": "TIMED_OUT", "limit": "10 s"}),
        ("qdel running", "del-1", {"kind": "FAILED", "signal": 9}),
        ("exit 100 (error)", "exit100-1", {"kind": "LAUNCH_FAILED"}),
        ("again: s_rt=5,h_rt=15", "srt-2", {"kind": "TIMED_OUT", "signal": 9, "limit": "15 s"}),
    ],
)
def test_each_ending(situation: str, name: str, expected: dict[str, Any]) -> None:
    (ending,) = account(situation, name).values()
    assert isinstance(ending, Ending)
    assert ending.kind.name == expected.pop("kind")
    assert (ending.node, ending.source) == ("node1", "accounting")
    found = {field: getattr(ending, field) for field in ("exit_code", "signal", "limit", "used")}
    told = {field: expected.pop(field, None) for field in found}
    assert found == told
    assert ending.message == expected.pop("message", ending.message)


def test_a_job_that_leaves_at_the_notice_of_a_delete_was_cancelled() -> None:
    text: str = answers("qacct", system="sge")["ok"]["stdout"]
    told = text.replace("exit_status  0  ", "exit_status  140                  (User defined signal 2)\nx  ")
    (ending,) = sge.parse_account([Completed(COMMAND, 0, told)], [Tracked("ok-1")]).values()  # type: ignore[union-attr]
    assert isinstance(ending, Ending)
    assert ending.kind is EndingKind.CANCELLED


def test_the_last_run_counts_and_a_run_that_is_to_be_repeated_is_no_end() -> None:
    (ending,) = account("exit 99 (requeue)", "exit99-1").values()
    assert isinstance(ending, Ending)
    assert ending.kind is EndingKind.COMPLETED
    assert account("node lost, -r y", "lost-ry") == {JobId("116"): JobState.PENDING}


def test_elements_of_an_array() -> None:
    found = account("array, some fail", "arrend-1")
    assert {id: ending.exit_code for id, ending in found.items() if isinstance(ending, Ending)} == {
        "102.1": 0,
        "102.2": 1,
        "102.3": 2,
    }


def test_jobs_of_other_names_are_left_out() -> None:
    assert account("by name pattern", "wall-3").keys() == {JobId("96")}


@pytest.mark.parametrize("situation", ["unknown", "qdel pending", "node lost, -r n"])
def test_a_job_without_a_record_is_not_known(situation: str) -> None:
    assert account(situation, "x") == {}


def test_an_accounting_that_cannot_be_read() -> None:
    no = Completed(COMMAND, 1, "", "/cell/common/accounting: Permission denied\nno jobs running since startup\n")
    assert isinstance(sge.parse_account([no], [Tracked("x")]), NoAccounting)
    # It is not there before the first job of a new cell has ended, and a file system may hide it for a while.
    absent = Completed(COMMAND, 1, "", "/cell/common/accounting: No such file or directory\n")
    assert isinstance(sge.parse_account([absent], [Tracked("x")]), Unanswered)
    assert isinstance(sge.parse_account([Completed(COMMAND, None)], [Tracked("x")]), Unanswered)


def test_what_is_asked() -> None:
    two = [Tracked("jp-a-12-1"), Tracked("jp-a-12-2")]
    assert [command.argv for command in sge.poll(two)] == [
        ("qstat", "-xml", "-u", "$user", "-s", "prs"),
        ("qstat", "-xml", "-j", "jp-a-12-1,jp-a-12-2"),
    ]
    assert [command.argv for command in sge.account(two)] == [("qacct", "-j", "jp-a-12-*")]
    assert [command.argv for command in sge.account(two[:1])] == [("qacct", "-j", "jp-a-12-1")]
    assert sge.account([]) == ()
    assert all(not command.unset.cleaned({"SGE_DEBUG_LEVEL": "2"}) for command in (*sge.poll(two), *sge.account(two)))
    assert sge.poll(two)[0].unset.cleaned({"SGE_ROOT": "/sge"}) == {"SGE_ROOT": "/sge"}


# Deleting


def test_one_qdel_for_names_ids_and_ranges() -> None:
    ids = [JobId(id) for id in ("13.1", "13.2", "13.4", "14", "odd; id", "13.1")]
    assert [command.argv for command in sge.cancel([Tracked("a-1")], ids)] == [
        ("qdel", "a-1", "14", "13.1-2", "13.4"),
    ]
    assert [len(command.argv) for command in sge.cancel([], [JobId(str(n)) for n in range(2500)])] == [1001, 1001, 501]


NOT_DONE = {
    "somebody else's",
    "several: pending, unknown, somebody else's",
    "no operand",
    "frozen qmaster",
    "running on a lost node, -f by its owner",
    "qmaster stopped",
}


@pytest.mark.parametrize("situation", sorted(answers("qdel", system="sge")))
def test_each_answer_of_qdel(situation: str) -> None:
    answer = sge.parse_cancel(golden("qdel", situation, system="sge"))
    assert isinstance(answer, Doubtful) == (situation in NOT_DONE)


def test_a_log_tells_that_memory_could_not_be_had() -> None:
    failed = Ending(kind=EndingKind.FAILED, message="failed 0, exit status 1", exit_code=1)
    text = "x jobpool.agent job=1 begins\nTraceback (most recent call last):\n  File x\nMemoryError\n"
    read = sge.read_log(failed, text)
    assert (read.kind, read.message) == (
        EndingKind.OUT_OF_MEMORY,
        "failed 0, exit status 1; its log: MemoryError",
    )
    assert sge.read_log(failed, "MemoryError\n" + text.replace("MemoryError\n", "")) == failed  # of an earlier run
    ended = Ending(kind=EndingKind.TIMED_OUT)
    assert sge.read_log(ended, text) == ended


def test_no_name_of_a_real_machine_is_in_the_answers() -> None:
    import socket

    folder = Path(__file__).parent / "golden" / "sge"
    name = socket.gethostname()
    assert len(name) < 4 or not [file for file in folder.iterdir() if name in file.read_text()]
