"""The table of recovery, row by row, and the words of the errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobpool.core.recovery.decide import NEVER, GiveUp, History, Loss, LossPlace, RunAgain, decide
from jobpool.model.call import Death
from jobpool.model.errors import CallCrashed, CallOutOfMemory, CallTimedOut, JobLost
from jobpool.model.job import Ending, EndingKind, JobId
from jobpool.model.request import Request, Retry
from jobpool.model.units import Duration, Memory

PLACE = LossPlace(JobId("4711_3"), "n7", Request(memory=Memory.parse("2 GiB"), walltime=Duration.parse("1 h")))
RETRY = Retry(lost=10, crashed=2)
NO_FAULT = [EndingKind.PREEMPTED, EndingKind.NODE_FAILED, EndingKind.CANCELLED, EndingKind.LOST, EndingKind.FAILED]
SEGFAULT = Death(signal=11, tail="Segmentation fault in decode")


def ended(kind: EndingKind, words: str = "") -> Ending:
    return Ending(kind=kind, message=words or f"{kind.name} 0:0", node="n7", source="queue")


def verdict(cause: Ending | Death, history: History = NEVER, **loss: Any) -> RunAgain | GiveUp:
    return decide(Loss(cause=cause, **{"started": True, **loss}), history, PLACE, RETRY)


@pytest.mark.parametrize("cause", [*(ended(kind) for kind in EndingKind), SEGFAULT])
@pytest.mark.parametrize("history", [History(), History(lost=10, crashed=2, timed_out=1)])
def test_a_call_that_had_not_started_runs_again_and_nothing_is_counted(cause: Ending | Death, history: History) -> None:
    assert verdict(cause, history, started=False) == RunAgain(history)


@pytest.mark.parametrize("kind", [*NO_FAULT, EndingKind.COMPLETED, EndingKind.LAUNCH_FAILED])
def test_a_lost_job_is_not_the_calls_fault(kind: EndingKind) -> None:
    assert verdict(ended(kind), History(lost=3, crashed=1)) == RunAgain(History(lost=4, crashed=1))


def test_but_not_for_ever() -> None:
    given_up = verdict(ended(EndingKind.PREEMPTED, "PREEMPTED 0:0"), History(lost=10))
    assert isinstance(given_up, GiveUp)
    error = given_up.error
    assert isinstance(error, JobLost)
    assert (error.job, error.node, error.words, error.ending) == ("4711_3", "n7", "PREEMPTED 0:0", "preempted")
    assert "11 times" in str(error)


def test_a_crash_is_tried_again_twice() -> None:
    assert verdict(SEGFAULT) == RunAgain(History(crashed=1))
    assert verdict(SEGFAULT, History(crashed=1)) == RunAgain(History(crashed=2))
    given_up = verdict(SEGFAULT, History(crashed=2))
    assert isinstance(given_up, GiveUp)
    error = given_up.error
    assert isinstance(error, CallCrashed)
    assert (error.signal, error.exit_code, error.job) == ("SIGSEGV", None, "4711_3")
    assert error.message.startswith("the worker process was killed by SIGSEGV while it ran this call")
    assert "Segmentation fault in decode" in str(error)


def test_an_exit_code_is_told() -> None:
    given_up = verdict(Death(exit_code=3), History(crashed=2))
    assert isinstance(given_up, GiveUp)
    assert given_up.error.exit_code == 3
    assert "exited with code 3" in given_up.error.message


def test_a_real_time_signal_has_a_name_too() -> None:
    given_up = verdict(Death(signal=40), History(crashed=2))
    assert isinstance(given_up, GiveUp)
    assert given_up.error.signal == "signal 40"


def test_a_worker_killed_for_memory_gives_up_at_once_with_figures() -> None:
    given_up = verdict(Death(signal=9, out_of_memory=True, peak_memory=int(Memory.parse("2.5 GiB"))))
    assert isinstance(given_up, GiveUp)
    error = given_up.error
    assert isinstance(error, CallOutOfMemory)
    assert isinstance(error, MemoryError)
    assert (error.used, error.limit) == ("2.5 GiB", "2 GiB for each worker, 2.25 GiB for the job")
    assert 'memory="3.75 GiB"' in str(error)


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (Death(out_of_memory=True, limit=2**31), "it used more than its worker's memory"),
        (Death(out_of_memory=True, child=True), "the kernel killed a process that the call had started"),
    ],
)
def test_who_killed_what_for_memory_is_told(death: Death, words: str) -> None:
    given_up = verdict(death)
    assert isinstance(given_up, GiveUp)
    assert isinstance(given_up.error, CallOutOfMemory)
    assert words in str(given_up.error)
    assert given_up.error.used is None  # not known
    assert str(given_up.error.advice).endswith('memory="3 GiB"')


def test_a_call_that_perhaps_paid_for_others_memory_runs_again_like_one_that_crashed() -> None:
    paid = Death(signal=9, out_of_memory=True, innocent=True)
    assert verdict(paid) == RunAgain(History(crashed=1))
    given_up = verdict(paid, History(crashed=2))
    assert isinstance(given_up, GiveUp)
    assert isinstance(given_up.error, CallOutOfMemory)


def test_a_job_killed_for_memory_blames_the_call_that_was_alone() -> None:
    oom = ended(EndingKind.OUT_OF_MEMORY)
    assert isinstance(verdict(oom), GiveUp)
    assert verdict(oom, alone=False) == RunAgain(History(crashed=1))
    assert isinstance(verdict(oom, History(crashed=2), alone=False), GiveUp)


def test_what_a_job_held_when_it_was_killed_is_told_and_grown_from() -> None:
    polled = replace(ended(EndingKind.OUT_OF_MEMORY), used=Memory.parse("3 GiB"))
    given_up = verdict(polled)
    assert isinstance(given_up, GiveUp)
    assert isinstance(given_up.error, CallOutOfMemory)
    assert (given_up.error.used, given_up.error.limit) == ("3 GiB", "2 GiB for each worker, 2.25 GiB for the job")
    assert 'memory="4.5 GiB"' in str(given_up.error.advice)
    again = decide(Loss(cause=polled, started=True), NEVER, PLACE, Retry(memory_growth=2, max_memory=None))
    assert isinstance(again, RunAgain)
    assert again.request is not None
    assert again.request.memory == Memory.parse("6 GiB")


def test_files_in_memory_are_nobodys_fault_at_first() -> None:
    full = Death(signal=9, out_of_memory=True, innocent=True, files=2**30, peak_memory=2**31)
    assert verdict(full) == RunAgain(History(crashed=1))
    given_up = verdict(full, History(crashed=2))
    assert isinstance(given_up, GiveUp)
    assert "1 GiB of it were files in memory" in str(given_up.error)


def test_a_kill_that_nobody_explains_is_perhaps_the_nodes_kernel() -> None:
    given_up = verdict(replace(ended(EndingKind.FAILED), signal=9), History(lost=10))
    assert isinstance(given_up, GiveUp)
    assert isinstance(given_up.error, JobLost)
    assert "a node that is out of memory" in str(given_up.error.advice)


def test_a_call_with_the_whole_walltime_timed_out() -> None:
    given_up = verdict(ended(EndingKind.TIMED_OUT, "TIMEOUT TimeLimit"), whole=True)
    assert isinstance(given_up, GiveUp)
    error = given_up.error
    assert isinstance(error, CallTimedOut)
    assert isinstance(error, TimeoutError)
    assert (error.limit, error.words) == ("1 h", "TIMEOUT TimeLimit")
    assert "longer walltime" in str(error.advice)


def test_a_call_that_came_late_in_the_job_gets_one_more_chance() -> None:
    timeout = ended(EndingKind.TIMED_OUT)
    assert verdict(timeout, History(lost=2), whole=False) == RunAgain(History(lost=2, timed_out=1))
    assert isinstance(verdict(timeout, History(timed_out=1), whole=False), GiveUp)


def test_errors_travel_as_plain_data() -> None:
    given_up = verdict(SEGFAULT, History(crashed=2))
    assert isinstance(given_up, GiveUp)
    _, _, details = given_up.error.as_data()
    assert all(isinstance(value, str | int) for value in details.values())
