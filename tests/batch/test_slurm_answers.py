"""SLURM's answers about jobs, read: what a real one said in each situation, and garbage."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

import pytest
from batch_steps import job_script
from goldens import answers, golden
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.base import Doubtful, NoAccounting, Refused, Submitted, Unanswered
from jobpool.batch.slurm.reasons import explain_reason
from jobpool.batch.slurm.states import _expand
from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.site import Limits

slurm = Slurm()
COMMAND = Command(("slurm",))


# Starts


def test_planned_starts_are_read_and_jobs_without_one_left_out() -> None:
    said = "12_0|2026-11-24T10:32:44|\n12_1|N/A|\n13|2026-11-25T00:00:00|\ngarbage\n14|2026-99-99T00:00:00|\n"
    found = slurm.parse_starts([Completed(COMMAND, 0, said)])
    assert isinstance(found, dict)
    assert list(found) == ["12_0", "13"]
    assert found[JobId("13")] - found[JobId("12_0")] == 13 * 3600 + 27 * 60 + 16
    assert slurm.parse_starts([Completed(COMMAND, 1, "", "slurm_load_jobs error")]) == Unanswered(
        "slurm_load_jobs error"
    )


# Submitting


ACCEPTED = {
    "accepted",
    "accepted array",
    "too many cores",
    "partition closed to group",
    "over qos wall",
    "over qos cpus",
}
DOUBTFUL = {"frozen controller", "controller stopped"}
TEMPORARY = {"over qos submits", "over association submits"}
LOOKED_UP = "(the frozen one later)"


@pytest.mark.parametrize("situation", sorted(answers("sbatch").keys() - {LOOKED_UP}))
def test_each_answer_of_sbatch(situation: str) -> None:
    done = golden("sbatch", situation)
    answer = slurm.parse_submit(done, count=1)
    if situation in ACCEPTED:
        assert answer == Submitted((JobId(done.stdout.strip()),))
    elif situation in DOUBTFUL:
        assert answer == Doubtful(done.stderr.strip())
    else:
        assert answer == Refused(done.stderr.strip(), temporary=situation in TEMPORARY)


def test_ids_of_an_array_and_of_another_cluster() -> None:
    assert slurm.parse_submit(Completed(COMMAND, 0, "1343;other\n"), count=3) == Submitted(
        (JobId("1343_0"), JobId("1343_1"), JobId("1343_2"))
    )
    # Some sites print a greeting.
    assert slurm.parse_submit(Completed(COMMAND, 0, "Welcome!\n7\n"), count=1) == Submitted((JobId("7"),))


@pytest.mark.parametrize(
    "done",
    [
        Completed(COMMAND, None, "", "no answer in 60 s"),
        Completed(COMMAND, None, "7", ""),
        Completed(COMMAND, -9, "", "sbatch: error: Batch job submission failed: Invalid qos specification"),
        Completed(COMMAND, 0, "", ""),
        Completed(COMMAND, 0, "7\n8\n", ""),
        Completed(COMMAND, 1, "", "Segmentation fault"),
        Completed(COMMAND, 1, "", "sbatch: error: Batch job submission failed: Protocol authentication error"),
        Completed(
            COMMAND, 1, "", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received"
        ),
    ],
)
def test_what_is_neither_yes_nor_no_is_doubtful(done: Completed) -> None:
    answer = slurm.parse_submit(done, count=1)
    assert isinstance(answer, Doubtful)
    assert answer.words


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected"),
    [
        # A site's own program around sbatch, which says on stdout what it has to say.
        (1, "Project bio has no hours left\n", "", Doubtful("Project bio has no hours left", unclear=True)),
        (1, "", "", Doubtful("sbatch ended with 1 and said nothing", unclear=True)),
        (0, "Submission disabled until Monday\n", "", Doubtful("Submission disabled until Monday", unclear=True)),
        (1, "no hours left\n", "module: loaded\n", Doubtful("module: loaded\nno hours left", unclear=True)),
        (1, "sbatch: error: no account\n", "", Refused("sbatch: error: no account")),
        (
            1,
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\n",
            "",
            Refused("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ),
        (1, "QOSMaxSubmitJobPerUserLimit: later\n", "", Doubtful("QOSMaxSubmitJobPerUserLimit: later")),
        (1, "sbatch: Socket timed out on send/recv\n", "", Doubtful("sbatch: Socket timed out on send/recv")),
        (0, "7\n8\n", "", Doubtful("7\n8")),
    ],
)
def test_answers_of_a_program_around_it(code: int, stdout: str, stderr: str, expected: Doubtful | Refused) -> None:
    assert slurm.parse_submit(Completed(COMMAND, code, stdout, stderr), count=1) == expected


def test_a_full_controller_is_a_temporary_refusal() -> None:
    words = (
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable"
    )
    assert slurm.parse_submit(Completed(COMMAND, 1, "", words), count=1) == Refused(words, temporary=True)


# Polling


def seen(situation: str) -> dict[tuple[str, int], Seen]:
    answer = slurm.parse_poll([golden("squeue", situation)], ())
    assert isinstance(answer, tuple)
    found = {(job.name, job.index): job for job in answer}
    assert len(found) == len(answer), "two jobs in one place"
    for job in answer:
        assert (job.ending is not None) == (job.state is JobState.ENDED)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "exit_code", "number", "words"),
    [
        ("exit-0", EndingKind.COMPLETED, 0, None, "COMPLETED 0:0"),
        ("exit-3", EndingKind.FAILED, 3, None, "FAILED NonZeroExitCode 3:0"),
        ("exit-137", EndingKind.FAILED, 137, None, "FAILED NonZeroExitCode 137:0"),
        ("segfault", EndingKind.FAILED, None, signal.SIGSEGV, "FAILED JobLaunchFailure 0:11"),
        ("sigkill", EndingKind.FAILED, None, signal.SIGKILL, "FAILED JobLaunchFailure 0:9"),
        ("no-output-directory", EndingKind.LAUNCH_FAILED, None, None, "FAILED JobLaunchFailure 0:53"),
        ("cancelled-running", EndingKind.CANCELLED, None, signal.SIGTERM, "CANCELLED 0:15"),
        ("cancelled-ignoring-term", EndingKind.CANCELLED, None, signal.SIGKILL, "CANCELLED 0:9"),
        ("cancelled-pending", EndingKind.CANCELLED, None, None, "CANCELLED JobHeldUser 0:0"),
        ("node-down", EndingKind.NODE_FAILED, None, None, "NODE_FAIL NodeDown 0:0"),
        ("preempted", EndingKind.PREEMPTED, None, signal.SIGTERM, "PREEMPTED 0:15"),
    ],
)
def test_endings_in_the_queue(
    name: str, kind: EndingKind, exit_code: int | None, number: int | None, words: str
) -> None:
    ending = seen("later")[name, 0].ending
    assert ending is not None
    assert (ending.kind, ending.exit_code, ending.signal, ending.words) == (kind, exit_code, number, words)
    assert ending.source == "queue"


def test_an_ending_by_walltime_or_memory_names_the_limit() -> None:
    timed_out = seen("timeout")["timeout", 0].ending
    assert timed_out is not None
    assert (timed_out.kind, timed_out.limit, timed_out.node) == (EndingKind.TIMED_OUT, "1:00", "bb1")
    killed = seen("memory by cgroup")["memory-exec", 0].ending
    assert killed is not None
    assert (killed.kind, killed.limit, killed.signal) == (EndingKind.OUT_OF_MEMORY, "100M", None)
    assert killed.words == "OUT_OF_MEMORY OutOfMemory 0:125"


@pytest.mark.parametrize(
    ("situation", "name", "state", "reason"),
    [
        ("just after", "requeued", JobState.PENDING, "BeginTime"),
        ("just after", "node-down-requeued", JobState.PENDING, "BeginTime"),
        ("just after", "requeued-held", JobState.PENDING, "job requeued in held state"),
        ("just after", "cancelled-ignoring-term", JobState.COMPLETING, ""),
        ("just after", "timeout", JobState.RUNNING, ""),
        ("later", "suspended", JobState.SUSPENDED, ""),
        ("later", "held", JobState.PENDING, "JobHeldUser"),
        ("later", "begin", JobState.PENDING, "BeginTime"),
        ("later", "over-time-limit", JobState.PENDING, "PartitionTimeLimit"),
        ("later", "partition-config", JobState.PENDING, "PartitionConfig"),
        ("later", "partition-down", JobState.PENDING, "PartitionDown"),
        ("later", "licence", JobState.PENDING, "Licenses"),
        ("later", "dependency", JobState.PENDING, "Dependency"),
        ("later", "dependency-never", JobState.PENDING, "DependencyNeverSatisfied"),
        ("later", "priority", JobState.PENDING, "Priority"),
        ("later", "qos-grp-2", JobState.PENDING, "Resources"),
        ("later", "qos-max-jobs-2", JobState.PENDING, "QOSMaxJobsPerUserLimit"),
    ],
)
def test_states_and_reasons_in_the_queue(situation: str, name: str, state: JobState, reason: str) -> None:
    job = seen(situation)[name, 0]
    assert (job.state, job.reason) == (state, reason)
    assert not reason or explain_reason(reason) != reason


def test_elements_of_an_array_are_jobs_of_their_own() -> None:
    jobs = seen("just after")
    assert [jobs["array", index].id for index in range(6)] == [f"24_{index}" for index in range(6)]
    assert [jobs["array", index].state for index in range(6)] == [
        JobState.ENDED, JobState.ENDED, JobState.RUNNING, JobState.RUNNING, JobState.PENDING, JobState.PENDING,
    ]  # fmt: skip
    assert jobs["array", 2].node == "bb3"
    assert jobs["array", 4].node is None


def test_the_row_that_stands_for_cancelled_elements_is_no_job() -> None:
    jobs = seen("later")
    assert {key: job.id for key, job in jobs.items() if key[0] == "cancelled-elements"} == {
        ("cancelled-elements", 0): "30_0",
        ("cancelled-elements", 1): "30_1",
    }


@pytest.mark.parametrize("earlier", ["7_0|0", "7_1|1"])
def test_an_array_hides_no_other_job_of_its_name(earlier: str) -> None:
    # Two runs of one name, when a name was all that there was to a run: SLURM shows ended jobs for minutes.
    lines = [f"{earlier}|same|COMPLETED|0|n1|10:00|1G|None|", "9|N/A|same|PENDING|0|n/a|10:00|1G|Priority|"]
    for rows in (lines, lines[::-1]):
        answer = slurm.parse_poll([Completed(COMMAND, 0, "".join(f"{row}\n" for row in rows))], ())
        assert isinstance(answer, tuple)
        assert {job.id for job in answer} == {earlier.partition("|")[0], "9"}


def row(state: str, exit_code: str = "0", reason: str = "None") -> str:
    return f"7|N/A|name|{state}|{exit_code}|n1|10:00|1G|{reason}|\n"


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("CONFIGURING", JobState.RUNNING),
        ("RESIZING", JobState.RUNNING),
        ("SIGNALING", JobState.RUNNING),
        ("STAGE_OUT", JobState.COMPLETING),
        ("STOPPED", JobState.SUSPENDED),
        ("REQUEUED", JobState.PENDING),
        ("REQUEUE_HOLD", JobState.PENDING),
        ("REQUEUE_FED", JobState.PENDING),
        ("SPECIAL_EXIT", JobState.PENDING),
        ("RESV_DEL_HOLD", JobState.PENDING),
        ("SOMETHING_NEW", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_states_that_are_documented_but_hard_to_cause(state: str, meaning: JobState) -> None:
    answer = slurm.parse_poll([Completed(COMMAND, 0, row(state))], ())
    assert isinstance(answer, tuple)
    assert answer[0].state is meaning


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("DEADLINE", EndingKind.TIMED_OUT),
        ("BOOT_FAIL", EndingKind.NODE_FAILED),
        ("REVOKED", EndingKind.CANCELLED),
        ("LAUNCH_FAILED", EndingKind.LAUNCH_FAILED),
        ("RECONFIG_FAIL", EndingKind.LAUNCH_FAILED),
    ],
)
def test_endings_that_are_documented_but_hard_to_cause(state: str, kind: EndingKind) -> None:
    answer = slurm.parse_poll([Completed(COMMAND, 0, row(state))], ())
    assert isinstance(answer, tuple)
    assert answer[0].ending is not None
    assert answer[0].ending.kind is kind


def test_a_refused_submit_that_slurm_still_lists_was_never_launched() -> None:
    answer = slurm.parse_poll([Completed(COMMAND, 0, row("FAILED", "1", "BadConstraints"))], ())
    assert isinstance(answer, tuple)
    assert answer[0].ending is not None
    assert answer[0].ending.kind is EndingKind.LAUNCH_FAILED


def test_a_reason_may_hold_the_separator_and_an_exit_code_a_colon() -> None:
    answer = slurm.parse_poll([Completed(COMMAND, 0, row("FAILED", "3:0", "a|b"))], ())
    assert isinstance(answer, tuple)
    assert (answer[0].reason, answer[0].ending and answer[0].ending.exit_code) == ("a|b", 3)


@pytest.mark.parametrize("situation", sorted(answers("squeue_failures")))
def test_a_controller_that_is_away_says_nothing_about_jobs(situation: str) -> None:
    done = golden("squeue_failures", situation)
    assert slurm.parse_poll([done], ()) == Unanswered(done.stderr.strip())


def test_unknown_names_are_absent() -> None:
    assert seen("unknown names") == {}
    assert slurm.parse_poll([Completed(COMMAND, 1, "", "slurm_load_jobs error: Invalid job id specified")], ()) == ()


def test_an_answer_that_cannot_be_read_is_none() -> None:
    assert isinstance(slurm.parse_poll([Completed(COMMAND, 0, "Maintenance today\n")], ()), Unanswered)
    assert isinstance(slurm.parse_poll([Completed(COMMAND, None)], ()), Unanswered)


# Accounting


def test_endings_in_the_accounting() -> None:
    endings = slurm.parse_account([golden("sacct", "many")], ())
    assert isinstance(endings, dict)
    living = {id: state for id, state in endings.items() if isinstance(state, JobState)}
    endings = {id: ending for id, ending in endings.items() if isinstance(ending, Ending)}
    kinds = {id: (ending.kind, ending.exit_code, ending.signal, ending.limit) for id, ending in endings.items()}
    assert kinds.items() >= {
        "17": (EndingKind.COMPLETED, 0, None, None),
        "18": (EndingKind.FAILED, 3, None, None),
        "20": (EndingKind.FAILED, None, signal.SIGSEGV, None),
        "22": (EndingKind.LAUNCH_FAILED, None, None, None),
        "25": (EndingKind.TIMED_OUT, None, None, "00:01:00"),
        "26": (EndingKind.CANCELLED, None, None, None),
        "31": (EndingKind.NODE_FAILED, None, None, None),
        "35": (EndingKind.PREEMPTED, None, None, None),
        "24_5": (EndingKind.FAILED, 5, None, None),
    }.items()  # fmt: skip
    assert endings[JobId("26")].words == "CANCELLED by 0 0:0"
    # These run, one of them for the second time.
    assert (living[JobId("65")], living[JobId("67")]) == (JobState.RUNNING, JobState.RUNNING)


def test_no_accounting_is_not_the_same_as_no_answer() -> None:
    assert isinstance(slurm.parse_account([golden("sacct", "no accounting")], ()), NoAccounting)
    assert isinstance(slurm.parse_account([golden("sacct", "database down")], ()), Unanswered)
    assert isinstance(slurm.parse_account([Completed(COMMAND, None)], ()), Unanswered)


def test_a_later_run_that_has_not_ended_wins() -> None:
    lines = "5|NODE_FAIL|0:0|n1|10:00|1G\n5|PENDING|0:0|None assigned|10:00|1G\n6|REQUEUED|0:0|n1|10:00|1G\n"
    lines += "7_[0-1]|PENDING|0:0|None assigned|10:00|1G\n8|SOMETHING_NEW|0:0|n1|10:00|1G\n"
    waiting = dict.fromkeys(("5", "6", "7_0", "7_1"), JobState.PENDING)
    assert slurm.parse_account([Completed(COMMAND, 0, lines)], ()) == waiting


def test_elements_cancelled_while_pending_have_one_row() -> None:
    endings = slurm.parse_account(
        [Completed(COMMAND, 0, "9_[1-3,7%2]|CANCELLED by 0|0:0|None assigned|10:00|1G\n")], ()
    )
    assert isinstance(endings, dict)
    assert set(endings) == {"9_1", "9_2", "9_3", "9_7"}
    assert [*_expand("9_[x]"), *_expand("9_7"), *_expand("9")] == ["9_[x]", "9_7", "9"]


# Cancelling


@pytest.mark.parametrize("situation", sorted(answers("scancel")))
def test_each_answer_of_scancel(situation: str) -> None:
    done = golden("scancel", situation)
    expected = None if done.ok else Doubtful(done.stderr.strip())
    assert slurm.parse_cancel(done) == expected


def test_a_job_that_ends_just_now_is_no_failure_of_cancel() -> None:
    words = "scancel: error: Kill job error on job id 146_0: Job/step already completing or completed\n"
    assert slurm.parse_cancel(Completed(COMMAND, 1, "", words)) is None
    assert slurm.parse_cancel(Completed(COMMAND, 1, "", words + "scancel: error: Access denied")) is not None


# Estimates


def test_an_estimate_is_a_time_of_this_host() -> None:
    said = "sbatch: Job 2 to start at 2026-11-24T13:32:21 using 2 processors on nodes n1 in partition short"
    asked = slurm.estimate(
        job_script(Path("/nowhere"), ["true"], name="estimate"), environment={"PATH": "/bin", "SBATCH_QOS": "x"}
    ).command
    assert asked.argv == ("sbatch", "--test-only", "--job-name=estimate")
    told = slurm.parse_estimate(Completed(asked, 0, stderr=said))
    assert told == datetime(2026, 11, 24, 13, 32, 21).timestamp()
    words = "allocation failure: Invalid partition name specified"
    assert slurm.parse_estimate(Completed(asked, 1, stderr=words)) == Unanswered(words)
    assert isinstance(slurm.parse_estimate(Completed(asked, 0)), Unanswered)


# Garbage


pieces = [*row("FAILED").split("|"), "|", "\n", "5_[1-3]", "PENDING", "99999999999999999999"]
garbage = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from("0123456789_[]-,%|:;=\n ab\0"), max_size=80).map("".join),
    st.lists(st.sampled_from(pieces), max_size=40).map("".join),
)
outcomes = st.builds(
    Completed, st.just(COMMAND), st.sampled_from([None, 0, 0, 0, 1, 255, -9]), garbage, st.one_of(st.just(""), garbage)
)


@given(outcomes, st.integers(1, 3))
def test_no_answer_makes_a_parser_raise(done: Completed, count: int) -> None:
    assert isinstance(slurm.parse_submit(done, count=count), Submitted | Refused | Doubtful)
    polled = slurm.parse_poll([done], ())
    assert isinstance(polled, tuple | Unanswered)
    endings = slurm.parse_account([done], ())
    assert isinstance(endings, dict | Unanswered | NoAccounting)
    if isinstance(endings, dict):
        assert all(isinstance(ending, Ending) for ending in endings.values())
    assert isinstance(slurm.parse_estimate(done), float | Unanswered)
    assert slurm.parse_cancel(done) is None or not done.ok
    assert isinstance(slurm.parse_limits([done] * 4), Limits)


@given(st.text(max_size=60))
def test_no_reason_makes_the_explanation_raise(reason: str) -> None:
    assert isinstance(explain_reason(reason), str)
