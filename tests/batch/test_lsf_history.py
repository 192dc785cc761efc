"""How LSF's history tells ends, what bkill says, and whether there is an LSF: answers read, each with its source."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from goldens import answers, golden

from jobpool.batch.base import Doubtful, Machine, NoAccounting, NoCluster, Tracked, Unanswered
from jobpool.batch.lsf.system import Lsf
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.model.job import Ending, EndingKind, JobId, JobState

lsf = Lsf()
COMMAND = Command(("lsf",))


def said(stdout: str = "", *, stderr: str = "", code: int | None = 0) -> Completed:
    return Completed(COMMAND, code, stdout, stderr)


def answer(file: str, situation: str) -> Completed:
    return golden(file, situation, system="lsf")


def tracked(*ids: str, name: str = "pool-1") -> Tracked:
    return Tracked(name, {index: JobId(id) for index, id in enumerate(ids)}, len(ids) or None)


# Endings that the history tells


def history(text: str, **fields: Any) -> Any:
    return lsf.parse_account([said(text, **fields)], [tracked("7")])


HEAD = (
    "\nJob <7>, Job Name <pool-1>, User <alice>, Project <default>, Status <EXIT>, Comma\n                     nd <x>\n"
)
BEGUN = "Fri Oct  5 17:49:35: Submitted from host <login1>, CWD <$HOME>;\nFri Oct  5 17:50:35: Dispatched to <node1>;\n"


@pytest.mark.parametrize(
    ("situation", "kind", "exit_code", "number"),
    [
        ("ok (line)", EndingKind.COMPLETED, 0, None),
        ("exit 42 (line)", EndingKind.FAILED, 42, None),
        ("killed by a signal (line)", EndingKind.FAILED, None, signal.SIGKILL),
        ("killed by its owner (lines)", EndingKind.CANCELLED, None, signal.SIGKILL),
        ("walltime (line)", EndingKind.TIMED_OUT, None, None),
        ("memory (line)", EndingKind.OUT_OF_MEMORY, None, None),
    ],
)
def test_each_ending_of_bhist(situation: str, kind: EndingKind, exit_code: int | None, number: int | None) -> None:
    ending = history(HEAD + BEGUN + answer("bhist", situation).stdout)[JobId("7")]
    assert (ending.kind, ending.exit_code, ending.signal) == (kind, exit_code, number)
    assert (ending.node, ending.source) == ("node1", "accounting")


def test_the_record_of_bacct_is_read_too() -> None:
    found = lsf.parse_account([answer("bacct", "killed by its owner")], [tracked("3224113")])
    assert found == {
        JobId("3224113"): Ending(
            kind=EndingKind.CANCELLED,
            message="EXIT TERM_OWNER: job killed by owner",
            node="node1",
            source="accounting",
        )
    }


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ("exit 3", {"1": (EndingKind.FAILED, 3, "node1")}),
        ("array, done", {f"22[{number}]": (EndingKind.COMPLETED, 0, "node1") for number in (1, 2, 3)}),
        ("killed by its owner", {"17": (EndingKind.CANCELLED, None, "node1")}),
        ("killed while held", {"12": (EndingKind.CANCELLED, None, None)}),
        ("unknown id", {}),
    ],
)
def test_what_the_history_of_an_open_relative_says(situation: str, expected: dict[str, Any]) -> None:
    found = lsf.parse_account([answer("relative", situation)], [])
    assert isinstance(found, dict)
    told = {id: (end.kind, end.exit_code, end.node) for id, end in found.items() if isinstance(end, Ending)}
    assert told == expected


def test_a_job_that_lives_is_no_ending_and_the_last_run_counts() -> None:
    assert history(HEAD) == {"7": JobState.PENDING}
    assert history(HEAD + BEGUN) == {"7": JobState.RUNNING}
    ended = "Fri Oct  5 17:51:30: Exited with exit code 1. The CPU time used is 0.9 seconds;\n"
    again = "Fri Oct  5 17:51:31: Requeue the job for the next run;\n"
    assert history(HEAD + BEGUN + ended + again) == {"7": JobState.PENDING}
    assert history(HEAD + BEGUN + ended + again + BEGUN) == {"7": JobState.RUNNING}


def test_words_of_a_job_s_own_command_are_no_events() -> None:
    command = "Job <7>, User <alice>, Command <#!/bin/bash;Fri: Exited with exit code 3>\n   Done successfully\n"
    assert history(command) == {"7": JobState.PENDING}


def test_a_history_that_cannot_be_asked_is_no_answer() -> None:
    assert history("", stderr="LSF is down. Please wait ...", code=255) == Unanswered("LSF is down. Please wait ...")
    assert history("", stderr="bhist: no answer in 60 s", code=None) == Unanswered("bhist: no answer in 60 s")
    missing = "bhist: [Errno 2] No such file or directory: 'bhist'"
    assert history("", stderr=missing, code=None) == NoAccounting(missing)
    assert lsf.parse_account([], []) == {}


def test_the_history_is_asked_for_arrays_by_one_id() -> None:
    (asked,) = lsf.account([tracked("12[1]", "12[2]"), tracked("13", "nonsense")])
    assert asked.argv == ("bhist", "-n", "4", "-l", "12", "13")
    assert lsf.account([tracked()]) == ()


# Cancelling


def test_ids_are_cancelled_by_runs_and_names_with_the_0_that_means_all() -> None:
    ids = [JobId(id) for id in ("12[1]", "12[2]", "12[3]", "12[7]", "15", "0", "12", "x; rm -r", "12[0]")]
    commands = lsf.cancel([Tracked("pool-1"), Tracked("pool-2")], ids)
    assert [command.argv for command in commands] == [
        ("bkill", "15", "12", "12[1-3,7]"),
        ("bkill", "-J", "pool-1", "0"),
        ("bkill", "-J", "pool-2", "0"),
    ]


def test_a_frozen_daemon_leaves_a_cancel_doubtful() -> None:
    assert isinstance(lsf.parse_cancel(answer("relative", "bkill, frozen mbatchd")), Doubtful)


def test_a_long_list_of_elements_is_cut_at_what_lsf_takes() -> None:
    (command,) = lsf.cancel([], [JobId(f"12[{number}]") for number in range(1, 1000, 2)])
    assert all(len(word) < 255 for word in command.argv)
    numbers = ",".join(word.partition("[")[2].rstrip("]") for word in command.argv[1:])
    assert numbers == ",".join(str(number) for number in range(1, 1000, 2))


GONE = {"running", "element of an array", "signal (-s TERM)", "unknown id", "finished", "in progress", "unknown name"}


@pytest.mark.parametrize("situation", sorted(answers("bkill", system="lsf")))
def test_each_answer_of_bkill(situation: str) -> None:
    done = answer("bkill", situation)
    assert lsf.parse_cancel(done) == (None if situation in GONE else Doubtful(done.words))


def test_a_cancel_of_what_has_ended_is_done_and_one_without_an_answer_is_not() -> None:
    assert lsf.parse_cancel(answer("relative", "bkill of what has ended")) is None
    assert lsf.parse_cancel(answer("relative", "bkill of an unknown name")) is None
    assert lsf.parse_cancel(said(stderr="bkill: no answer in 60 s", code=None)) == Doubtful("bkill: no answer in 60 s")
    both = "Job <1> is being terminated\n"
    assert isinstance(lsf.parse_cancel(said(both, stderr="Job <2>: User permission denied\n", code=255)), Doubtful)


# Whether it is here


def machine(done: Completed | None, **fields: Any) -> Machine:
    return Machine(run=None if done is None else lambda command: done, **fields)


def test_lsid_tells_a_cluster_also_with_a_daemon_that_is_down() -> None:
    assert lsf.presence(machine(answer("detect", "lsid"))) is None
    assert lsf.presence(machine(answer("relative", "lsid"))) is None
    assert lsf.presence(machine(said(stderr="ls_getclustername(): LIM is down; try later", code=255))) is None
    assert lsf.presence(machine(said(stderr="lsid: no answer in 20 s", code=None))) is None
    assert lsf.presence(machine(None)) is None


def test_commands_without_a_configuration_have_no_cluster_behind_them() -> None:
    words = "lsid: ls_initdebug: Unable to open file lsf.conf"
    found = lsf.presence(machine(said(stderr=words, code=255)))
    assert isinstance(found, NoCluster)
    assert found.words == words
    wrapper = lsf.presence(machine(said("Slurm 23.11.4, Feb 1 2024\n\nMy cluster name is x\n")))
    assert isinstance(wrapper, NoCluster)
    assert "another batch system's" in wrapper.why


def test_a_configuration_that_is_lost_is_said() -> None:
    lost = machine(None, environment={"LSF_ENVDIR": "/opt/lsf/conf"}, is_there=lambda path: False)
    with pytest.raises(BatchSystemUnavailable, match=r"no lsf\.conf in it"):
        lsf.presence(lost)
