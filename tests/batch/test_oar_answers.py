"""What OAR said, as a real one said it, and what is read from it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from goldens import answers, golden

from jobpool.batch import registry
from jobpool.batch.base import Doubtful, Machine, NoCluster, Refused, Submitted, Tracked, Unanswered
from jobpool.batch.oar.rules import OarRules
from jobpool.batch.oar.system import Oar
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.site import NodeShape
from jobpool.model.units import Memory
from jobpool.site.check import check

oar = Oar()


def told(file: str, situation: str) -> Completed:
    return golden(file, situation, system="oar")


def done(returncode: int | None, stdout: str = "", stderr: str = "") -> Completed:
    return Completed(Command(("oarsub",)), returncode, stdout, stderr)


# Submitting


@pytest.mark.parametrize(
    ("situation", "ids"),
    [
        ("accepted", ("2",)),
        ("accepted array of 3", ("4", "5", "6")),
        ("accepted array of 1", ("10",)),
        ("no -l at all", ("20",)),
        ("besteffort", ("16",)),
        ("accepted: directory missing (ends in Error)", ("23",)),
    ],
)
def test_ids_are_read_among_the_notes_of_admission_rules(situation: str, ids: tuple[str, ...]) -> None:
    assert oar.parse_submit(told("oarsub", situation), count=len(ids)) == Submitted(tuple(map(JobId, ids)))


def test_an_array_has_an_id_for_each_element() -> None:
    answer = oar.parse_submit(told("oarsub", "array of 500"), count=500)
    assert isinstance(answer, Submitted)
    assert (answer.ids[0], answer.ids[-1]) == ("24", "523")


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ("refused: too many cores", "There are not enough resources for your request"),
        ("refused: property that no node has", "There are not enough resources"),
        ("refused: unknown property", 'column "nosuch" does not exist'),
        ("refused: unknown resource level", 'column "nosuch" does not exist'),
        ("refused: bad -l", "cannot recognize the resource description: lots"),
        ("refused: bad walltime", "cannot recognize"),
        ("refused: unknown queue", "queue 'nosuch' does not exist"),
        ("refused: admin queue", "[ADMISSION RULE] Only member of the group admin"),
        ("refused: unknown type", "[ADMISSION RULE] Error: unknown job type: nosuch"),
        ("refused: unknown option", "Unknown option: nosuch"),
        ("refused: project with odd characters", "please verify your job submission syntax"),
        ("name a'b", "please verify your job submission syntax"),
        ("root may not", "root and oar users are not allowed to submit jobs"),
        ("reservation in the past", "Reservation not valid --> KO"),
        ("array of 0", "oarsub"),
        ("-S script missing", "Cannot open the file"),
    ],
)
def test_a_no_is_told_in_oars_words_and_is_final(situation: str, words: str) -> None:
    answer = oar.parse_submit(told("oarsub", situation), count=1)
    assert isinstance(answer, Refused)
    assert words in answer.words
    assert "Modify resource description" not in answer.words
    assert "Set the description of the requested resources" not in answer.words  # no list of all options
    assert not answer.temporary


@pytest.mark.parametrize("situation", ["server stopped (database up)", "database stopped"])
def test_without_the_server_or_the_database_nobody_knows(situation: str) -> None:
    answer = oar.parse_submit(told("oarsub", situation), count=1)
    assert isinstance(answer, Doubtful)
    assert not answer.unclear


def test_a_count_of_ids_that_is_not_the_one_asked_for_is_doubtful() -> None:
    assert isinstance(oar.parse_submit(told("oarsub", "accepted array of 3"), count=4), Doubtful)
    assert isinstance(oar.parse_submit(done(0, "OAR_JOB_ID=4\n"), count=2), Doubtful)


def test_some_other_program_that_speaks_is_unclear() -> None:
    assert oar.parse_submit(done(1, stderr="Please renew your token"), count=1) == Doubtful(
        "Please renew your token", unclear=True
    )
    assert oar.parse_submit(done(0, "Your job will be looked at"), count=1) == Doubtful(
        "Your job will be looked at", unclear=True
    )


def test_a_rule_that_counts_jobs_is_asked_again_later() -> None:
    answer = oar.parse_submit(done(254, stderr="[ADMISSION RULE] Error: too many jobs of yours (50)\n"), count=1)
    assert isinstance(answer, Refused)
    assert answer.temporary


# Polling


def polled(situation: str, *names: str) -> dict[str, Seen]:
    found = oar.parse_poll([told("oarstat", situation)], [Tracked(name) for name in names])
    assert not isinstance(found, Unanswered)
    return {seen.id: seen for seen in found}


def test_one_poll_tells_what_waits_runs_and_has_ended() -> None:
    found = polled("by name, --sql", "arraymix-1", "held-1")
    assert {id: seen.state for id, seen in found.items()} == {
        "15": JobState.ENDED,
        "553": JobState.RUNNING,
        "554": JobState.RUNNING,
        "555": JobState.RUNNING,
        "556": JobState.PENDING,
        "557": JobState.PENDING,
        "558": JobState.PENDING,
    }
    assert [found[str(id)].index for id in range(553, 558)] == [0, 1, 2, 3, 4]
    assert found["553"].node == "node1"
    assert found["558"].hold is not None
    assert "'oarresume 558'" in found["558"].hold.advice
    assert not found["558"].hold.hopeless
    assert (found["556"].reason, found["558"].reason) == ("resources", "Hold")
    assert found["15"].ending is not None
    assert found["15"].ending.kind is EndingKind.CANCELLED


def test_jobs_of_other_submissions_are_left_out() -> None:
    assert set(polled("mixed: running, array partly running, held, dependency, waiting", "dep-1")) == {"559"}


def test_a_job_that_was_just_submitted_has_not_been_looked_at() -> None:
    assert polled("just submitted", "full-1")["560"].reason == "new"


@pytest.mark.parametrize("situation", ["empty queue", "unknown id", "by name, unknown"])
def test_nothing_at_all_is_no_jobs(situation: str) -> None:
    assert polled(situation, "full-1") == {}


def test_a_database_that_is_down_says_nothing_about_any_job() -> None:
    (situation,) = [name for name in answers("oarstat_fj", system="oar") if name == "database stopped"]
    stopped = told("oarstat_fj", situation)
    assert oar.parse_poll([stopped], [Tracked("a")]) == Unanswered("DB connection error, exiting.")
    assert oar.parse_account([stopped], []) == Unanswered("DB connection error, exiting.")
    assert oar.parse_starts([stopped]) == Unanswered("DB connection error, exiting.")
    for odd in ("{ half", "[]", "Welcome to the cluster\n{}"):
        assert isinstance(oar.parse_poll([done(0, odd)], [Tracked("a")]), Unanswered)
    assert isinstance(oar.parse_poll([done(0, "", "DBD::Pg::st execute failed")], [Tracked("a")]), Unanswered)
    assert oar.parse_poll([done(0, "", "perl: warning: Setting locale failed.")], [Tracked("a")]) == ()


def test_a_state_that_nobody_knows_is_an_observation() -> None:
    row = {"7": {"name": "a", "state": "Hibernating", "array_index": 1, "message": ""}}
    (seen,) = oar.parse_poll([done(0, json.dumps(row))], [Tracked("a")])  # type: ignore[misc]
    assert (seen.state, seen.ending, seen.message) == (JobState.UNKNOWN, None, "Hibernating")


@pytest.mark.parametrize(
    ("state", "known"),
    [
        ("toAckReservation", JobState.PENDING),
        ("toLaunch", JobState.RUNNING),
        ("Launching", JobState.RUNNING),
        ("Suspended", JobState.SUSPENDED),
        ("Resuming", JobState.SUSPENDED),
        ("Finishing", JobState.COMPLETING),
        ("toError", JobState.COMPLETING),
    ],
)
def test_states_between(state: str, known: JobState) -> None:
    row = {"7": {"name": "a", "state": state, "array_index": 3}}
    (seen,) = oar.parse_poll([done(0, json.dumps(row))], [Tracked("a")])  # type: ignore[misc]
    assert (seen.state, seen.index) == (known, 2)


def test_start_times_of_jobs_that_wait() -> None:
    starts = oar.parse_starts([told("oarstat", "mixed: running, array partly running, held, dependency, waiting")])
    assert starts == {"556": 1796031103.0, "557": 1796031103.0, "560": 1796031225.0, "561": 1796031347.0}


# Endings


ENDINGS = {
    "exit 3": (EndingKind.FAILED, 3, None),
    "exit 137": (EndingKind.FAILED, 137, None),
    "segfault": (EndingKind.FAILED, None, 11),
    "sigkill itself": (EndingKind.FAILED, None, 9),
    "command missing": (EndingKind.FAILED, 127, None),
    "output live": (EndingKind.COMPLETED, 0, None),
    "walltime 10 s": (EndingKind.TIMED_OUT, None, None),
    "walltime 25 s with --checkpoint 15 --signal 12": (EndingKind.TIMED_OUT, None, None),
    "deleted running": (EndingKind.CANCELLED, None, None),
    "deleted running, ends on TERM": (EndingKind.CANCELLED, None, None),
    "deleted waiting": (EndingKind.CANCELLED, None, None),
    "directory missing": (EndingKind.LAUNCH_FAILED, None, None),
    "output directory missing": (EndingKind.LAUNCH_FAILED, None, None),
    "submitted while the node was lost": (EndingKind.LAUNCH_FAILED, None, None),
    "over memory (not limited)": (EndingKind.COMPLETED, 0, None),
}


def ended(situation: str) -> Ending:
    found = oar.parse_account([told("oarstat_fj", situation)], [])
    assert isinstance(found, dict)
    (ending,) = found.values()
    assert isinstance(ending, Ending)
    return ending


@pytest.mark.parametrize("situation", ENDINGS)
def test_each_ending_is_told_by_exit_code_and_events(situation: str) -> None:
    ending = ended(situation)
    assert (ending.kind, ending.exit_code, ending.signal) == ENDINGS[situation]
    assert ending.source == "accounting"


def test_an_ending_carries_oars_own_words() -> None:
    assert "WORKING_DIRECTORY: [bipbip 574] Cannot go into the working directory" in ended("directory missing").message
    assert "requested to frag the job 577" in ended("deleted running").message
    assert ended("walltime 10 s").limit == "10 s"
    assert ended("walltime 10 s").node == "node1"
    assert ended("deleted waiting").node is None
    assert ended("segfault").message == "Terminated signal 11 (SIGSEGV)"


def test_a_besteffort_job_whose_place_is_needed_is_preempted() -> None:
    events = [{"event_id": 1, "type": "BESTEFFORT_KILL"}, {"event_id": 2, "type": "FRAG_JOB_REQUEST"}]
    row = {"7": {"name": "a", "state": "Error", "exit_code": None, "events": events}}
    found = oar.parse_account([done(0, json.dumps(row))], [])
    assert isinstance(found, dict)
    ending = found[JobId("7")]
    assert isinstance(ending, Ending)
    assert ending.kind is EndingKind.PREEMPTED


def test_a_job_on_a_lost_node_stays_a_running_one() -> None:
    assert oar.parse_account([told("oarstat_fj", "node lost")], []) == {"583": JobState.RUNNING}


# Cancelling


def test_one_command_cancels_names_and_ids() -> None:
    (command,) = oar.cancel([Tracked("jp-a-1"), Tracked("jp-a-2")], [JobId("7"), JobId("8"), JobId("no id")])
    assert command.argv == (
        "oardel",
        "--sql",
        "(job_name IN ('jp-a-1', 'jp-a-2') OR job_id IN (7, 8)) AND state NOT IN ('Terminated', 'Error')",
    )
    assert oar.cancel([], []) == ()


@pytest.mark.parametrize(
    ("situation", "is_done"),
    [
        ("pending (held)", True),
        ("running", True),
        ("by sql (name)", True),
        ("the same again", True),
        ("finished", True),
        ("unknown id", True),
        ("whole array", True),
        ("several: pending, unknown, somebody else's", True),
        ("server stopped (database up)", False),
        ("database stopped", False),
        ("no operand", False),
    ],
)
def test_a_cancel_is_done_when_nothing_is_left(situation: str, is_done: bool) -> None:
    answer = oar.parse_cancel(told("oardel", situation))
    assert (answer is None) == is_done


# What the site has


def test_nodes_are_put_together_from_their_cores() -> None:
    limits = oar.parse_limits([told("limits", "nodes"), told("oarstat", "mixed, all users")])
    assert limits.rules == OarRules(core="core", memory="mem", known=True)
    shape = NodeShape(count=1, cores=4, threads_per_core=1, memory=Memory(4000 * 2**20))
    assert [(place.name, place.default, place.nodes) for place in limits.partitions] == [
        ("default", True, (shape,)),
        ("besteffort", False, (shape,)),
    ]
    default = limits.partitions[0]
    assert (default.usable_cpus, default.idle_cpus, default.waiting) == (4, 0, 4)
    assert limits.other_partitions
    assert limits.unknown == ("queues, quotas and admission rules: OAR shows them to its administrators alone",)


def test_suspected_nodes_are_there_and_not_usable() -> None:
    limits = oar.parse_limits([told("limits", "nodes: ssh gone"), told("oarstat", "empty queue")])
    assert limits.partitions[0].nodes[0].cores == 4
    assert (limits.partitions[0].usable_cpus, limits.partitions[0].idle_cpus) == (0, 0)


def test_limits_that_cannot_be_read_are_said() -> None:
    stopped = told("limits", "database stopped: oarnodes")
    limits = oar.parse_limits([stopped, stopped])
    assert limits.partitions == ()
    assert limits.unknown[0] == "nodes: DB connection error, exiting."


def resource(number: int, **properties: Any) -> dict[str, Any]:
    return {
        "resource_id": number,
        "type": "default",
        "state": "Alive",
        "besteffort": "NO",
        "core": number,
        **properties,
    }


def site(*rows: dict[str, Any]) -> Any:
    nodes = {str(row["resource_id"]): row for row in rows}
    return oar.parse_limits([done(0, json.dumps(nodes)), done(0)])


def test_gpus_threads_and_memory_by_core() -> None:
    limits = site(
        *(resource(each, network_address="g1", gpu=1 + each // 2, memcore=2000, core=each) for each in range(1, 5)),
        resource(9, network_address="old", state="Dead"),
        {"resource_id": 10, "type": "disk", "state": "Alive", "network_address": "g1"},
    )
    assert limits.rules == OarRules(gpu="gpu", core_memory="memcore", known=True)
    (place,) = limits.partitions
    assert place.nodes == (NodeShape(count=1, cores=4, threads_per_core=1, memory=Memory(8000 * 2**20), gpus=3),)
    threads = site(*(resource(each, network_address="n", core=each // 2, thread=each) for each in range(8)))
    assert [(shape.cores, shape.threads_per_core) for shape in threads.partitions[0].nodes] == [(4, 2)]


def test_a_queue_that_nobody_can_list_is_no_problem_and_a_node_that_is_too_small_is() -> None:
    limits = oar.parse_limits([told("limits", "nodes"), told("oarstat", "empty queue")])
    assert check(Request(partition="production"), limits) == []
    (problem,) = check(Request(cores=5), limits)
    assert problem.setting == "cores"


def test_memory_that_nothing_tells_is_not_compared() -> None:
    limits = site(*(resource(each, network_address="n") for each in range(4)))
    assert check(Request(memory=Memory(10**15)), limits) == []
    rules, (place,) = limits.rules, limits.partitions
    assert rules.grant(Wish(cpus_per_task=2, memory=Memory(10**15)), place, place.nodes[0]) is not None


# Which system it is


def test_the_version_tells_oar_also_with_its_database_down() -> None:
    for situation in ("oarstat --version", "oarstat --version, database stopped"):
        machine = Machine(str, lambda command, answer=situation: told("detect", answer))  # type: ignore[misc]
        assert oar.presence(machine) is None
    assert oar.presence(Machine(str)) is None


def test_another_oarstat_and_one_without_a_configuration_are_no_cluster() -> None:
    other = Machine(str, lambda command: done(0, "usage: oarstat RIVER"))
    absent = oar.presence(other)
    assert isinstance(absent, NoCluster)
    assert "is not OAR's" in absent.why
    lost = Machine(str, lambda command: done(2, stderr="Configuration file not found."))
    absent = oar.presence(lost)
    assert isinstance(absent, NoCluster)
    assert "no configuration" in absent.why


def test_it_is_found_by_its_commands() -> None:
    machine = Machine({"oarsub": "/usr/bin/oarsub", "oarstat": "/usr/bin/oarstat"}.get)
    assert registry.detect(machine) == "oar"
    assert registry.get("oar", Path()).name == "oar"


# Size


@pytest.mark.alone
def test_a_poll_of_five_thousand_jobs_costs_little() -> None:
    (row,) = json.loads(told("oarstat", "one id").stdout).values()
    rows = {str(id): {**row, "Job_Id": id, "array_index": id, "name": "jp-a-1"} for id in range(1, 5001)}
    answer = done(0, json.dumps(rows, indent=3))
    begin = time.process_time()
    found = oar.parse_poll([answer], [Tracked("jp-a-1")])
    assert time.process_time() - begin < 0.5
    assert len(found) == 5000  # type: ignore[arg-type]
