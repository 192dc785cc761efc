"""What PBS's answers mean: those of a real OpenPBS, as it gave them."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from goldens import answers, golden

from jobpool.batch.base import Doubtful, NoAccounting, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.pbs.answers import BY_NAME
from jobpool.batch.pbs.system import Pbs
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.units import Memory

pbs = Pbs()


def said(file: str, situation: str) -> Completed:
    return golden(file, situation, system="pbs")


def everybody(done: Completed) -> list[Tracked]:
    return [Tracked(row["Job_Name"]) for row in json.loads(done.stdout).get("Jobs", {}).values()]


def polled(situation: str, file: str = "qstat") -> Mapping[str, Seen]:
    done = said(file, situation)
    seen = pbs.parse_poll([done], everybody(done))
    assert not isinstance(seen, Unanswered)
    return {job.id: job for job in seen}


def ended(situation: str, file: str = "qstat_finished") -> dict[str, Ending | JobState]:
    done = said(file, situation)
    found = pbs.parse_account([done], [])
    assert isinstance(found, dict)
    return {str(id): ending for id, ending in found.items()}


# ------------------------------------------------------------------------------------------------------------- submits


def test_one_job_has_one_id() -> None:
    assert pbs.parse_submit(said("qsub", "accepted"), count=1) == Submitted((JobId("0.node1"),))


def test_the_elements_of_an_array_have_ids_of_their_own() -> None:
    ids = tuple(JobId(f"1[{index}].node1") for index in range(4))
    assert pbs.parse_submit(said("qsub", "accepted array"), count=4) == Submitted(ids)


def test_an_array_that_was_not_asked_for_is_no_answer() -> None:
    assert isinstance(pbs.parse_submit(said("qsub", "accepted"), count=2), Doubtful)


@pytest.mark.parametrize("situation", [name for name in answers("qsub", system="pbs") if name.startswith("refused")])
def test_a_refusal_is_final_unless_a_limit_on_jobs_is_reached(situation: str) -> None:
    done = said("qsub", situation)
    answer = pbs.parse_submit(done, count=1)
    temporary = situation in ("refused: server's max_queued", "refused: server's max_queued_res.ncpus")
    assert isinstance(answer, Refused)
    assert answer.temporary is temporary
    assert answer.words == done.stderr.partition("usage:")[0].strip()


@pytest.mark.parametrize("situation", ["queue with max_queued=2: submit 3", "queue with max_queued=2: array of 5"])
def test_a_full_queue_is_asked_again_later(situation: str) -> None:
    assert pbs.parse_submit(said("qsub", situation), count=5) == Refused(
        "qsub: would exceed queue generic's per-user limit", temporary=True
    )


@pytest.mark.parametrize("situation", ["frozen server", "frozen server (qsub -f)", "server stopped"])
def test_without_a_server_nobody_knows(situation: str) -> None:
    assert isinstance(pbs.parse_submit(said("qsub", situation), count=1), Doubtful)


def test_a_server_that_was_lost_in_the_midst_leaves_a_doubt() -> None:
    words = "Communication failure.\nqsub: cannot connect to server node1 (errno=15031)\n"  # seen
    done = Completed(Command(("qsub",)), 183, "", words)
    assert pbs.parse_submit(done, count=1) == Doubtful(words.strip())


def test_what_is_not_qsubs_is_unclear() -> None:
    done = Completed(Command(("qsub",)), 1, "Your project has no hours left\n", "")
    assert pbs.parse_submit(done, count=1) == Doubtful("Your project has no hours left", unclear=True)
    odd = Completed(Command(("qsub",)), 0, "welcome\n12.node1\n", "")
    assert pbs.parse_submit(odd, count=1) == Submitted((JobId("12.node1"),))


# --------------------------------------------------------------------------------------------------------------- polls

MIXED = "mixed: running, array partly running, held, dependency, suspended, waiting"


def test_states() -> None:
    seen = polled(MIXED)
    assert {id: job.state for id, job in seen.items() if job.state is not JobState.PENDING} == {
        **dict.fromkeys(
            ("66.node1", "67[0].node1", "67[1].node1", "74.node1", "75.node1", "77.node1"), JobState.RUNNING
        ),
        "79.node1": JobState.SUSPENDED,
    }
    assert seen["67[1].node1"].index == 1
    assert seen["67[1].node1"].node == "node1"
    assert "67[].node1" not in seen


def test_an_array_is_no_job_and_its_elements_are_held_when_it_is() -> None:
    seen = polled(MIXED)
    assert {id for id in seen if id.startswith("82[")} == {"82[1].node1", "82[2].node1", "82[3].node1"}
    assert seen["82[1].node1"].hold == Hold("'qrls 82[].node1' lets it go on")
    assert seen["68.node1"].hold == Hold("'qrls 68.node1' lets it go on")
    assert seen["68.node1"].reason == "Hold_Types=u"
    assert seen["69.node1"].hold == Hold("it waits for another job to end")


def test_why_a_job_waits_is_its_comment() -> None:
    seen = polled(MIXED)
    assert seen["71.node1"].reason == "Not Running: Queue not started."
    assert seen["72.node1"].reason.startswith("Can Never Run: Insufficient amount of resource: mem")
    assert seen["72.node1"].hold is None
    assert seen["66.node1"].reason == ""


def test_a_job_whose_starts_fail_is_held_without_hope() -> None:
    seen = polled("some exiting, one requeued")
    assert seen["97.node1"].hold == Hold("its starts fail", hopeless=True)
    assert seen["97.node1"].reason == "job held, too many failed attempts to run"


def test_elements_of_an_array_whose_starts_fail_are_held_without_hope() -> None:
    words = "Job Array Held, too many failed attempts to run subjob 3[1].node1"  # seen
    common = {"Job_Name": "a", "Exit_status": 2, "comment": words, "substate": 20}
    rows = {
        "3[].node1": {**common, "job_state": "H", "Hold_Types": "s"},
        "3[0].node1": {**common, "job_state": "Q", "substate": 10, "Hold_Types": "s"},
    }
    done = Completed(Command(("qstat",)), 0, json.dumps({"Jobs": rows}), "")
    seen = pbs.parse_poll([done], [Tracked("a")])
    assert not isinstance(seen, Unanswered)
    assert [(job.state, job.hold) for job in seen] == [(JobState.PENDING, Hold("its starts fail", hopeless=True))]


def test_a_job_that_is_being_deleted_is_completing_although_pbs_says_running() -> None:
    seen = polled("1 s after the qdels: exiting, held, running")
    assert seen["119.node1"].state is JobState.COMPLETING
    assert seen["124.node1"].state is JobState.RUNNING
    assert polled("some exiting, one requeued")["96.node1"].state is JobState.COMPLETING


def test_an_element_that_is_over_tells_its_end_where_there_is_a_history_and_is_absent_elsewhere() -> None:
    seen = polled("an array with deleted elements, 2 s later, with history")
    assert seen["11041[0].node1"].ending is not None
    assert seen["11041[0].node1"].ending.kind is EndingKind.CANCELLED
    assert "11041[4].node1" not in seen  # "Subjob finished" is said of those that ended well, too
    assert polled("some exiting, one requeued")["105[0].node1"].ending == Ending(
        kind=EndingKind.COMPLETED,
        message="Job run at Mon Nov 30 at 09:19 on (node1:ncpus=1) and finished Exit_status 0",
        exit_code=0,
        node="node1",
        source="queue",
    )


def test_the_exit_code_of_a_run_before_says_nothing_of_a_job_that_waits() -> None:
    seen = polled("node lost (node_fail_requeue 20 s)")
    assert seen["11014.node1"].state is JobState.PENDING
    assert seen["11014.node1"].node is None
    assert seen["11014.node1"].ending is None


@pytest.mark.parametrize(
    "situation", ["empty queue", "unknown id", "finished id without -x", "query_other_jobs off, seen by bob"]
)
def test_what_is_absent_is_just_absent(situation: str) -> None:
    assert pbs.parse_poll([said("qstat", situation)], [Tracked("a")]) == ()


def test_an_unknown_id_hides_no_other() -> None:
    assert set(polled("several ids, one unknown")) == {"66.node1"}
    assert set(polled("three ids, the middle one unknown", "qstat_released")) == {"5000.node1", "5001.node1"}


@pytest.mark.parametrize("situation", ["server stopped", "frozen server", "not an id", "mixed, -u alice"])
def test_a_failure_says_nothing_of_any_job(situation: str) -> None:
    assert isinstance(pbs.parse_poll([said("qstat", situation)], [Tracked("a")]), Unanswered)
    fine = said("qstat", MIXED)
    assert isinstance(pbs.parse_poll([fine, said("qstat", situation)], everybody(fine)), Unanswered)


def test_what_users_write_into_their_variables_breaks_no_answer() -> None:
    odd = '"Variable_List":\t{\n\t\t\t\t"FOO":\t007,\n\t\t\t\t"BAR":\t"a "b" c"\n\t\t\t},\n\t\t\t"substate":\t42'
    row = f'"Job_Name":\t"x",\n\t\t\t"job_state":\t"R",\n\t\t\t{odd}'
    text = f'{{"Jobs":\t{{\n\t\t"5.node1":\t{{\n\t\t\t{row}\n\t\t}}\n\t}}\n}}\n'
    done = Completed(Command(("qstat",)), 0, text, "")
    seen = pbs.parse_poll([done], [Tracked("x")])
    assert not isinstance(seen, Unanswered)
    assert [job.state for job in seen] == [JobState.RUNNING]


def test_each_submission_is_asked_for_by_its_id_or_its_name_and_of_many_all_jobs_are_shown() -> None:
    array = Tracked("a", {0: JobId("13[0].node1"), 1: JobId("13[1].node1")}, count=2)
    one = Tracked("b", {0: JobId("12.node1")}, count=1)
    assert [command.argv[-1] for command in pbs.poll([array, one])] == ["13[].node1", "12.node1"]
    assert [command.argv for command in pbs.poll([array, Tracked("jp-c")])] == [
        ("qstat", "-f", "-F", "json", "-t", "13[].node1"),
        ("sh", "-c", BY_NAME, "sh", "jp-c"),
    ]
    assert len(pbs.poll([one] * 50)) == 50
    assert [command.argv for command in pbs.poll([one] * 51)] == [("qstat", "-f", "-F", "json", "-t")]
    assert [command.argv for command in pbs.account([array, array, Tracked("c")])] == [
        ("qstat", "-x", "-f", "-F", "json", "-t", "13[].node1")
    ]


def by_name(directory: Path, ids: Completed, *shown: Completed) -> Completed:
    """Look a name up as :meth:`poll` does, with programs that say what was recorded."""
    for program, said_in_turn in (("qselect", [ids]), ("qstat", shown)):
        count = f"{directory}/{program}.n"
        script = ["#!/bin/sh", f"n=$(cat {count} 2>/dev/null || echo 0); echo $((n + 1)) >{count}"]
        script.append(f'echo "$@" >>{directory}/{program}.asked')
        for number, answer in enumerate(said_in_turn):
            files = f"{directory}/{program}.{number}"
            Path(f"{files}.stdout").write_text(answer.stdout)
            Path(f"{files}.stderr").write_text(answer.stderr)
            say = f"cat {files}.stdout; cat {files}.stderr >&2; exit {answer.returncode}"
            script.append(f"[ $n != {number} ] || {{ {say}; }}")
        (directory / program).write_text("\n".join([*script, "exit 99", ""]))
        (directory / program).chmod(0o755)
    (command,) = pbs.poll([Tracked("jp-x")])
    path = {"PATH": f"{directory}:{os.defpath}"}
    done = subprocess.run(command.argv, env=path, capture_output=True, text=True, check=False)
    return Completed(command, done.returncode, done.stdout, done.stderr)


def ids(*shown: str) -> Completed:
    return Completed(Command(("qselect",)), 0, "".join(f"{id}\n" for id in shown), "")


def test_jobs_are_found_by_their_name_and_nobody_elses_are_asked_for(tmp_path: Path) -> None:
    array, one = said("qstat", "an array's id with -t"), said("qstat", "one id")
    done = by_name(tmp_path, ids("11011[].node1", "66.node1"), array, one)
    rows = {**json.loads(array.stdout)["Jobs"], **json.loads(one.stdout)["Jobs"]}
    seen = pbs.parse_poll([done], [Tracked(row["Job_Name"]) for row in rows.values()])
    assert not isinstance(seen, Unanswered)
    assert {each.id for each in seen} == {id for id in rows if "[]" not in id}
    asked = (tmp_path / "qselect.asked").read_text().split()
    assert asked == ["-u", pwd.getpwuid(os.getuid()).pw_name, "-N", "jp-x"]


def test_a_name_without_a_job_shows_none(tmp_path: Path) -> None:
    assert pbs.parse_poll([by_name(tmp_path, said("qselect", "by name, unknown"))], [Tracked("a")]) == ()


def test_a_job_that_has_ended_since_its_name_was_found_is_absent(tmp_path: Path) -> None:
    one = said("qstat", "one id")
    (row,) = json.loads(one.stdout)["Jobs"].values()
    done = by_name(tmp_path, ids("9.node1", "66.node1"), said("qstat", "unknown id"), one)
    seen = pbs.parse_poll([done], [Tracked(row["Job_Name"])])
    assert not isinstance(seen, Unanswered)
    assert [each.id for each in seen] == ["66.node1"]


def test_a_look_up_by_name_that_fails_says_nothing(tmp_path: Path) -> None:
    failed = by_name(tmp_path, said("qselect", "server stopped"))
    assert pbs.parse_poll([failed], [Tracked("a")]) == Unanswered(failed.stderr.strip())
    (tmp_path / "qselect.n").unlink()
    failed = by_name(tmp_path, ids("66.node1"), said("qstat", "server stopped"))
    assert isinstance(pbs.parse_poll([failed], [Tracked("a")]), Unanswered)


@pytest.mark.alone
def test_thousands_of_jobs_are_read_in_no_time() -> None:
    row = json.loads(said("qstat", "one id").stdout)["Jobs"]["66.node1"]
    rows = {f"{number}.node1": {**row, "Job_Name": f"job-{number}"} for number in range(5000)}
    text = json.dumps({"timestamp": 1, "pbs_version": "23.06.06", "pbs_server": "node1", "Jobs": rows}, indent="\t")
    submissions = [Tracked(f"job-{number}") for number in range(5000)]
    began = time.process_time()
    seen = pbs.parse_poll([Completed(Command(("qstat",)), 0, text, "")], submissions)
    assert time.process_time() - began < 0.5
    assert not isinstance(seen, Unanswered)
    assert len(seen) == 5000


# ------------------------------------------------------------------------------------------------------------- endings

ENDINGS = {
    "ok, environment": (EndingKind.COMPLETED, 0, None),
    "exit 3": (EndingKind.FAILED, 3, None),
    "exit 137": (EndingKind.FAILED, None, 9),
    "segfault": (EndingKind.FAILED, None, 11),
    "sigkill itself": (EndingKind.FAILED, None, 9),
    "sigterm itself": (EndingKind.FAILED, None, 15),
    "walltime 5 s": (EndingKind.TIMED_OUT, None, None),
    "walltime 10 s": (EndingKind.TIMED_OUT, None, None),
    "walltime 10 s, ends on TERM": (EndingKind.TIMED_OUT, None, None),
    "over memory (not enforced)": (EndingKind.COMPLETED, 0, None),
    "over memory, $enforce mem": (EndingKind.OUT_OF_MEMORY, None, None),
    "deleted running": (EndingKind.CANCELLED, None, 15),
    "deleted running, that ends on TERM": (EndingKind.CANCELLED, None, 15),
    "deleted by -W force": (EndingKind.CANCELLED, None, 9),
    "deleted pending": (EndingKind.CANCELLED, None, None),
    "qsig -s TERM": (EndingKind.FAILED, None, 15),
    "interpreter missing": (EndingKind.FAILED, 127, None),
    "bad shell -S": (EndingKind.FAILED, 254, None),
    "output directory missing": (EndingKind.COMPLETED, 0, None),
    "node lost, -r n": (EndingKind.NODE_FAILED, None, None),
}


@pytest.mark.parametrize("situation", ENDINGS)
def test_the_history_tells_how_a_job_ended(situation: str) -> None:
    (ending,) = ended(situation).values()
    assert isinstance(ending, Ending)
    assert (ending.kind, ending.exit_code, ending.signal) == ENDINGS[situation]
    assert ending.source == "accounting"


def test_what_was_asked_for_is_told_of_a_limit() -> None:
    (late,) = ended("walltime 10 s").values()
    (large,) = ended("over memory, $enforce mem").values()
    assert isinstance(late, Ending)
    assert isinstance(large, Ending)
    assert late.limit == "00:00:10"
    assert (large.limit, large.used) == ("50mb", Memory(215780 * 2**10))


def test_a_log_that_could_not_be_brought_home_is_said() -> None:
    (ending,) = ended("output directory missing").values()
    assert isinstance(ending, Ending)
    assert "Stageout_status 0" in ending.message


def test_elements_have_ends_of_their_own() -> None:
    found = ended("array, some fail")
    assert {id: ending.exit_code for id, ending in found.items() if isinstance(ending, Ending)} == {
        "92[0].node1": 0,
        "92[1].node1": 1,
        "92[2].node1": 2,
    }


def test_of_elements_that_the_history_does_not_tell_apart_nothing_is_said() -> None:
    assert set(ended("array, partly deleted")) == {"11041[2].node1", "11041[3].node1"}


def test_a_held_job_in_the_history_has_not_ended() -> None:
    assert ended("output directory missing, -k doe") == {"97.node1": JobState.PENDING}


def test_without_a_history_there_is_no_accounting() -> None:
    assert isinstance(pbs.parse_account([said("qstat", "empty queue, with -x (history off)")], []), NoAccounting)
    assert pbs.parse_account([said("qstat", "unknown id with history")], []) == {}
    assert isinstance(pbs.parse_account([said("qstat", "server stopped")], []), Unanswered)


@pytest.mark.parametrize(
    ("log", "kind", "limit"),
    [
        ("walltime 10 s, ends on TERM: 128.node1.OU", EndingKind.TIMED_OUT, "10 s"),
        ("walltime 5 s: 95.node1.OU", EndingKind.TIMED_OUT, "5 s"),
    ],
)
def test_the_log_tells_a_walltime_where_the_exit_file_knows_a_signal_alone(
    log: str, kind: EndingKind, limit: str
) -> None:
    cancelled = Ending(kind=EndingKind.CANCELLED, message="its exit file: exit code 143 (SIGTERM)", source="exit file")
    ending = pbs.read_log(cancelled, said("logs", log).stdout)
    assert (ending.kind, ending.limit) == (kind, limit)
    assert "=>> PBS: job killed: walltime" in ending.message


def test_the_log_tells_a_kill_for_memory_and_a_log_without_it_changes_nothing() -> None:
    lost = Ending(kind=EndingKind.LOST, source="absence")
    text = "working\n=>> PBS: job killed: mem 215780kb exceeded limit 51200kb\nTerminated\n"  # of mom_main.c
    ending = pbs.read_log(lost, text)
    assert (ending.kind, ending.used, ending.limit) == (EndingKind.OUT_OF_MEMORY, Memory(215780 * 2**10), "50 MiB")
    again = text + "2026-11-30 jobpool.agent job=(1) id=1 begins\n"
    assert pbs.read_log(lost, again) == lost


# ------------------------------------------------------------------------------------------------------------- cancels


def test_each_id_has_a_qdel_of_its_own_and_elements_in_a_row_are_one() -> None:
    ids = [JobId(f"13[{index}].node1") for index in (0, 1, 2, 7)] + [JobId("12.node1"), JobId("12.node1")]
    whole = Tracked("a", {0: JobId("20[0].node1"), 1: JobId("20[1].node1")}, count=2)
    commands = pbs.cancel([whole, Tracked("b")], [*ids, JobId("--all")])
    assert [command.argv for command in commands] == [
        ("qdel", "20[].node1"),
        ("qdel", "12.node1"),
        ("qdel", "13[0-2].node1"),
        ("qdel", "13[7].node1"),
    ]


GONE = (
    "pending", "the same again (history off)", "the same element again", "element not in the array", "the array again",
    "finished (history on)", "running, that ignores TERM", "of one being deleted", "signalled",
)  # fmt: skip


@pytest.mark.parametrize("situation", GONE)
def test_a_job_that_is_gone_is_as_good_as_cancelled(situation: str) -> None:
    assert pbs.parse_cancel(said("qdel", situation)) is None


@pytest.mark.parametrize("situation", ["somebody else's", "frozen server", "server stopped", "not an id"])
def test_a_cancel_that_was_not_carried_out_is_repeated(situation: str) -> None:
    assert isinstance(pbs.parse_cancel(said("qdel", situation)), Doubtful)
