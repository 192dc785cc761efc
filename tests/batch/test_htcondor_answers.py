"""HTCondor's real answers, read: submits, polls, endings, cancels, limits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from goldens import answers, golden

from jobpool.batch.base import Doubtful, Machine, NoCluster, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.htcondor.explainer import make as make_explainer
from jobpool.batch.htcondor.system import HTCondor
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.site import NodeShape
from jobpool.model.units import Memory

condor = HTCondor()


def said(file: str, situation: str) -> Completed:
    return golden(file, situation, system="htcondor")


def names_in(done: Completed) -> list[Tracked]:
    ads = json.loads(done.stdout) if done.stdout.strip() else []
    return [Tracked(name) for name in dict.fromkeys(ad["JobBatchName"] for ad in ads if "JobBatchName" in ad)]


def polled(situation: str) -> dict[str, Seen]:
    """All jobs of an answer of condor_q, by their ids."""
    done = said("condor_q", situation)
    answer = condor.parse_poll([done], names_in(done))
    assert isinstance(answer, tuple)
    return {seen.id: seen for seen in answer}


def told(situation: str, **changes: Any) -> Ending:
    """The ending of the first job in an answer of condor_history."""
    done = said("condor_history", situation)
    ads = json.loads(done.stdout)
    ads[0].update({"JobBatchName": "one", **changes})
    found = condor.parse_account([replace(done, stdout=json.dumps(ads[:1]))], [Tracked("one")])
    assert isinstance(found, dict)
    [ending] = found.values()
    assert isinstance(ending, Ending)
    return ending


# Submits


@pytest.mark.parametrize(
    ("situation", "ids"),
    [
        ("accepted", ["1.0"]),
        ("accepted, 3 procs", ["2.0", "2.1", "2.2"]),
        ("unknown command in the description", ["11.0"]),
        ("warned by SUBMIT_REQUIREMENTS", ["87.0"]),
    ],
)
def test_a_yes_has_the_ids(situation: str, ids: list[str]) -> None:
    assert condor.parse_submit(said("condor_submit", situation), count=len(ids)) == Submitted(tuple(map(JobId, ids)))


def test_a_large_yes() -> None:
    answer = condor.parse_submit(said("condor_submit", "large array, 5000"), count=5000)
    assert isinstance(answer, Submitted)
    assert (answer.ids[0], answer.ids[-1]) == ("36.0", "36.4999")


@pytest.mark.parametrize(
    "situation", [name for name in answers("condor_submit", system="htcondor") if "refused:" in name]
)
def test_a_no_has_its_words(situation: str) -> None:
    done = said("condor_submit", situation)
    answer = condor.parse_submit(done, count=5)
    if "unknown option" in situation or "unknown schedd" in situation:
        assert isinstance(answer, Doubtful)
        assert answer.unclear
        return
    temporary = "MAX_JOBS_PER_OWNER" in situation or "MAX_JOBS_SUBMITTED" in situation
    assert answer == Refused(done.stderr.strip(), temporary)


@pytest.mark.parametrize("situation", ["schedd stopped", "frozen schedd, killed after 10 s"])
def test_what_may_have_been_done_is_doubtful(situation: str) -> None:
    answer = condor.parse_submit(said("condor_submit", situation), count=1)
    assert isinstance(answer, Doubtful)
    assert not answer.unclear


def test_another_count_than_was_asked_for_is_doubtful() -> None:
    assert isinstance(condor.parse_submit(said("condor_submit", "accepted, 3 procs"), count=2), Doubtful)
    done = said("condor_submit", "accepted: queue 0 (no job, empty answer)")
    assert condor.parse_submit(done, count=1) == Doubtful("condor_submit ended with 0 and said nothing", unclear=True)


# Polls


@pytest.mark.parametrize("situation", ["empty queue", "unknown name", "unknown id", "gone"])
def test_nothing_in_the_queue_is_an_answer(situation: str) -> None:
    assert condor.parse_poll([said("condor_q", situation)], [Tracked("a")]) == ()


@pytest.mark.parametrize("situation", ["frozen schedd", "schedd stopped", "bad constraint"])
def test_no_answer_says_nothing_about_jobs(situation: str) -> None:
    answer = condor.parse_poll([said("condor_q", situation)], [Tracked("a")])
    assert isinstance(answer, Unanswered)
    assert answer.words


def test_an_answer_that_was_cut_off_says_nothing() -> None:
    done = said("condor_q", "by names")
    cut = replace(done, stdout=done.stdout[:-40])
    assert isinstance(condor.parse_poll([cut], names_in(done)), Unanswered)


def test_jobs_of_other_names_are_left_out() -> None:
    done = said("condor_q", "by names")
    answer = condor.parse_poll([done], [Tracked("gpu")])
    assert isinstance(answer, tuple)
    assert [(seen.name, seen.id, seen.index) for seen in answer] == [("gpu", "16.0", 0)]


def test_what_waits_has_its_reason() -> None:
    seen = polled("by names")["14.0"]
    assert (seen.state, seen.reason, seen.hold) == (JobState.PENDING, "no match found", None)
    assert seen.message == "Idle: no match found"
    assert polled("limit: concurrency_limits")["89.1"].reason == "concurrency limit sw reached"


@pytest.mark.parametrize(
    ("situation", "id", "state"),
    [
        ("running, before deletion, with an array", "54.0", JobState.RUNNING),
        ("just after condor_rm of running ones", "63.0", JobState.COMPLETING),
        # Held for its walltime, and its processes have not ended yet.
        ("just after: many endings on their way", "53.0", JobState.COMPLETING),
        ("after the frozen schedd went on", "93.0", JobState.RUNNING),
    ],
)
def test_states(situation: str, id: str, state: JobState) -> None:
    assert polled(situation)[id].state is state


def test_a_running_job_has_its_machine() -> None:
    assert polled("running, before deletion, with an array")["54.0"].node == "node1"


def test_a_job_held_by_its_user_can_be_released() -> None:
    done = said("condor_q", "held ones in full")
    ads = [{"ClusterId": 1, "ProcId": 0, "JobBatchName": "a", "JobStatus": 5, "NumJobStarts": 0}]
    ads[0] |= {"HoldReasonCode": 15, "HoldReason": "submitted on hold at user's request"}
    answer = condor.parse_poll([replace(done, stdout=json.dumps(ads))], [Tracked("a")])
    assert isinstance(answer, tuple)
    [seen] = answer
    assert (seen.state, seen.ending) == (JobState.PENDING, None)
    assert seen.hold is not None
    assert (seen.hold.advice, seen.hold.hopeless) == ("'condor_release 1.0' lets it go on", False)


@pytest.mark.parametrize(
    ("situation", "id", "words"),
    [
        ("after vacate", "57.0", "invalid interpreter"),
        ("after vacate", "58.0", "Failed to open '/nosuch/d/out' as standard output"),
    ],
)
def test_what_cannot_be_started_is_hopeless(situation: str, id: str, words: str) -> None:
    seen = polled(situation)[id]
    assert seen.state is JobState.PENDING
    assert seen.hold is not None
    assert seen.hold.hopeless
    assert words in seen.message


@pytest.mark.parametrize(
    ("situation", "id", "kind", "words"),
    [
        ("after vacate", "53.0", EndingKind.TIMED_OUT, "The job exceeded allowed job duration of 00:05"),
        ("seen by another user, -allusers", "94.0", EndingKind.TIMED_OUT, "exceeded allowed execute duration"),
        ("after vacate", "52.0", EndingKind.OUT_OF_MEMORY, "memory usage exceeded request_memory"),
        ("after vacate", "56.0", EndingKind.CANCELLED, ""),  # held by a policy of the job's, after it ran
        ("node lost", "91.0", EndingKind.NODE_FAILED, "JobLeaseDuration (20 seconds) expired"),
        ("limit: MAX_JOBS_RUNNING=1", "88.0", EndingKind.PREEMPTED, "the machine gave it up"),
    ],
)
def test_what_will_not_run_again_has_ended(situation: str, id: str, kind: EndingKind, words: str) -> None:
    seen = polled(situation)[id]
    assert seen.state is JobState.ENDED
    assert seen.ending is not None
    assert (seen.ending.kind, seen.ending.source) == (kind, "queue")
    assert words in seen.ending.message


def test_memory_has_its_limit_and_what_was_used() -> None:
    ending = polled("after vacate")["52.0"].ending
    assert ending is not None
    assert (ending.limit, ending.used) == ("64 MiB", Memory(325000 * 1024))


@pytest.mark.alone
def test_a_poll_of_5000_jobs_is_read_quickly() -> None:
    [ad] = [ad for ad in json.loads(said("condor_q", "after vacate").stdout) if ad["ClusterId"] == 52]
    rows = [json.dumps({**ad, "ProcId": index, "JobBatchName": "jp-x"}, indent=2) for index in range(5000)]
    text = "[\n" + "\n,\n".join(rows) + "\n]\n"
    begin = time.process_time()
    answer = condor.parse_poll([replace(said("condor_q", "gone"), stdout=text)], [Tracked("jp-x")])
    assert time.process_time() - begin < 0.5
    assert isinstance(answer, tuple)
    assert len(answer) == 5000


# Endings


@pytest.mark.parametrize(
    ("situation", "kind", "exit_code", "signal"),
    [
        ("ok, environment", EndingKind.COMPLETED, 0, None),
        ("exit 3", EndingKind.FAILED, 3, None),
        ("exit 137", EndingKind.FAILED, None, 9),
        ("segfault", EndingKind.FAILED, None, 11),
        ("sigkill itself", EndingKind.FAILED, None, 9),
        ("python MemoryError", EndingKind.FAILED, 1, None),
        ("walltime by a timer in the script (timeout)", EndingKind.FAILED, 124, None),
        ("deleted pending", EndingKind.CANCELLED, None, None),
        ("deleted running", EndingKind.CANCELLED, None, None),
        ("over memory, removed after the hold", EndingKind.OUT_OF_MEMORY, None, None),
        ("output directory missing, removed after the hold", EndingKind.LAUNCH_FAILED, None, None),
    ],
)
def test_endings_of_the_history(situation: str, kind: EndingKind, exit_code: int | None, signal: int | None) -> None:
    ending = told(situation)
    assert (ending.kind, ending.exit_code, ending.signal, ending.source) == (kind, exit_code, signal, "accounting")


def test_a_removed_job_says_by_whom() -> None:
    assert told("deleted running").message == "via condor_rm (by user alice)"
    assert told("deleted running").node == "node1"


@pytest.mark.parametrize(
    "situation",
    ["walltime by allowed_job_duration, removed after the hold", "periodic_remove of what was held for its walltime"],
)
def test_a_walltime_is_known_by_how_long_the_job_ran(situation: str) -> None:
    ending = told(situation, AllowedJobDuration=5)
    assert (ending.kind, ending.limit) == (EndingKind.TIMED_OUT, "5 s")
    assert told(situation, AllowedJobDuration=500).kind is EndingKind.CANCELLED


def test_a_job_that_came_back_after_its_machine_was_lost_removes_itself() -> None:
    lost = {"VacateReason": "Job disconnected too long", "VacateReasonCode": 1008}
    why = {"RemoveReason": "The job attribute PeriodicRemove expression '...' evaluated to TRUE"}
    assert told("deleted running", **lost, **why).kind is EndingKind.NODE_FAILED
    assert told("deleted running", **{**lost, "VacateReasonCode": 1005}, **why).kind is EndingKind.PREEMPTED


def test_the_history_answers_while_the_schedd_is_down_and_may_be_empty() -> None:
    assert told("schedd stopped").exit_code == 3
    for situation in ("unknown id", "unknown name", "over memory"):
        assert condor.parse_account([said("condor_history", situation)], [Tracked("a")]) == {}


# Cancels


@pytest.mark.parametrize(
    "situation",
    [
        *("running", "pending (held)", "by constraint", "whole cluster", "500 procs in one command"),
        *("the same again", "unknown id", "proc not there", "by constraint, nothing matches", "somebody else's"),
    ],
)
def test_what_is_gone_is_as_good_as_cancelled(situation: str) -> None:
    assert condor.parse_cancel(said("condor_rm", situation)) is None


@pytest.mark.parametrize("situation", ["frozen schedd", "schedd stopped", "bad constraint"])
def test_a_cancel_without_an_answer_is_doubtful(situation: str) -> None:
    assert isinstance(condor.parse_cancel(said("condor_rm", situation)), Doubtful)


def test_cancels_by_name_and_by_id() -> None:
    commands = condor.cancel([Tracked("jp-a"), Tracked("jp-b")], [JobId("1.0"), JobId("2.3"), JobId("1.0")])
    assert [command.argv for command in commands] == [
        ("condor_rm", "1.0", "2.3"),
        ("condor_rm", "-constraint", 'JobBatchName =?= "jp-a"'),
        ("condor_rm", "-constraint", 'JobBatchName =?= "jp-b"'),
    ]


# Questions


def test_one_command_asks_for_all() -> None:
    [poll] = condor.poll([Tracked("jp-a"), Tracked("jp-b")])
    assert poll.argv[:2] == ("condor_q", "-json")
    assert poll.argv[-2:] == ("-constraint", 'JobBatchName =?= "jp-a" || JobBatchName =?= "jp-b"')
    [account] = condor.account([Tracked("jp-a", {}, 3, 200_000.0), Tracked("jp-b", {}, 4, 300_000.0)])
    assert account.argv[4:8] == ("-since", "EnteredCurrentStatus < 113600", "-limit", "7")
    [unbound] = condor.account([Tracked("jp-a", {}, 3, 200_000.0), Tracked("jp-b")])
    assert "-since" not in unbound.argv
    assert "-limit" not in unbound.argv


# The site


def settings(*values: str) -> list[Completed]:
    return [Completed(Command(("condor_config_val",)), 0, f"{value}\n") for value in values]


def test_slots_are_what_nodes_are_elsewhere() -> None:
    done = said("limits", "slots")
    ads = [ad for ad in json.loads(done.stdout) if ad["SlotType"] != "Dynamic"]
    limits = condor.parse_limits(
        [replace(done, stdout=json.dumps(ads)), *settings("100000", "2147483647", "20000", "2048")]
    )
    assert (limits.max_jobs, limits.max_array_size, limits.unknown) == (100000, 20000, ())
    [pool] = limits.partitions
    assert pool.nodes == (NodeShape(count=1, cores=8, threads_per_core=1, memory=Memory(12000 * 2**20)),)
    assert (pool.default, pool.idle_cpus, pool.usable_cpus) == (True, 6, 8)
    assert pool.default_memory_per_node == Memory(2**31)


def test_limits_that_cannot_be_read_are_said() -> None:
    limits = condor.parse_limits(
        [
            said("limits", "daemons stopped: condor_status"),
            *settings("MIN({1,2})", "5", "7", "ifthenelse(MemoryUsage =!= UNDEFINED,1,2)"),
        ]
    )
    assert limits.partitions == ()
    assert limits.max_jobs == 5
    [unknown] = limits.unknown
    assert "Failed to connect" in unknown


def machine(returncode: int, stdout: str, stderr: str, **environment: str) -> Machine:
    done = Completed(Command(("condor_config_val",)), returncode, stdout, stderr)
    return Machine(run=lambda _: done, environment=environment, is_there=lambda _: False)


def test_presence() -> None:
    assert condor.presence(machine(1, "MASTER, SCHEDD\n", "Not defined: SCHEDD_HOST\n")) is None
    assert condor.presence(machine(0, "MASTER\nsubmit.example\n", "")) is None
    absent = condor.presence(machine(1, "MASTER\n", "Not defined: SCHEDD_HOST\n"))
    assert isinstance(absent, NoCluster)
    with pytest.raises(BatchSystemUnavailable, match="no such file"):
        condor.presence(machine(0, "", "", CONDOR_CONFIG="/gone/condor_config"))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no match found", "better-analyze"),
        ("concurrency limit sw reached", "'sw'"),
        ("The job exceeded allowed job duration of 00:05", "walltime"),
        ("Error from slot1_5@node1: memory usage exceeded request_memory", "memory"),
        ("submitted on hold at user's request", "condor_release"),
        ("Error from slot1_6@node1: Failed to execute '/nosuch/prog': (errno=2: 'No such file')", "cannot be run"),
        ("Error from slot1_6@node1: Failed to open '/nosuch/dir/out' as standard output: No such", "log_directory"),
    ],
)
def test_reasons_in_words(reason: str, words: str) -> None:
    assert words in make_explainer().explain_reason(reason)


def test_an_unknown_reason_has_no_words() -> None:
    assert make_explainer().explain_reason("something else") == ""
