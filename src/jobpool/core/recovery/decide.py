"""Decides what happens to a call after a loss, by one table.

=========================  =====================================================================================
cause                      a call that had started (one that had not runs again, and nothing is counted)
=========================  =====================================================================================
worker died                again up to ``crashed`` times, then CallCrashed
call's own timeout         CallTimedOut
worker killed for memory   again with ``memory_growth`` times the memory, up to ``max_memory``; then CallOutOfMemory;
                           perhaps not for its own: at first again up to ``crashed`` times
job killed for memory      alone in the job: the same; beside others: again up to ``crashed`` times, then the same
job's walltime ended       it had nearly all of it: again with a longer one, up to twice, if the partition has one, then
                           CallTimedOut; it had a part: again, the second time as if it had all
job lost in another way    again up to ``lost`` times, then JobLost
=========================  =====================================================================================

A call that needs more than its jobs have runs again in jobs of another, grown request. Where these cannot be had, it
ends with the error that it would have ended with (``History.owed``).

Of several rows of a map, nobody knows which one ran: where the table would blame one, each runs again, alone.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from typing import assert_never

from jobpool.core.recovery.growth import longer, roomier
from jobpool.model.call import Death
from jobpool.model.errors import CallCrashed, CallOutOfMemory, CallTimedOut, JobLost, JobPoolError
from jobpool.model.job import Ending, EndingKind, JobId
from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

__all__ = ["NEVER", "GiveUp", "History", "Loss", "LossPlace", "RunAgain", "cancelled_and_lost", "decide"]

LONGER_TIMES = 2
"""A call that never ends would use jobs of every walltime: after two longer ones it had seven times its own."""


@dataclass(frozen=True, slots=True)
class History:
    """The losses of a call so far."""

    lost: int = 0
    crashed: int = 0
    timed_out: int = 0
    longer: int = 0
    """How often it got a longer walltime."""
    checkpoints: int = 0
    """How often it left a checkpoint, from which it continues. Earlier losses do not count after a checkpoint."""
    owed: JobPoolError | None = None
    """The error of the call if no job can be had for what it needs now."""
    alone: bool = False
    """Rows: one of them may be the cause, so each is sent and runs alone."""


NEVER = History()


@dataclass(frozen=True, slots=True)
class LossPlace:
    """Where the loss happened, and the limits of the site."""

    job: JobId | None
    node: str | None
    request: Request
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How a call was lost."""

    cause: Ending | Death
    started: bool
    alone: bool = True
    """No other call ran in the job."""
    whole: bool = True
    """The call had nearly all of the job's walltime."""
    items: int = 1
    """The number of rows, of which one ran; 1 for a single call."""
    timeout: Duration | None = None
    """The timeout of the call."""


@dataclass(frozen=True, slots=True)
class RunAgain:
    """The call waits again, at the head of the queue, with this history."""

    history: History
    request: Request | None = None
    """The request that the call needs from now on. None: the same as before."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The call fails with this error."""

    error: JobPoolError


def decide(loss: Loss, history: History, place: LossPlace, retry: Retry) -> RunAgain | GiveUp:
    """Decide by the table above."""
    if not loss.started:
        return RunAgain(history)
    verdict = _verdict(loss, history, place, retry)
    if loss.items == 1:
        return verdict
    after = verdict.history if isinstance(verdict, RunAgain) and verdict.request is None else history
    return RunAgain(replace(after, alone=history.alone or after.lost == history.lost))


def cancelled_and_lost(loss: Loss, place: LossPlace) -> JobPoolError:
    """Return the error of a call that was cancelled while it ran, and lost: it does not run again."""
    if isinstance(loss.cause, Death):
        return CallCrashed("the call was cancelled while it ran, and its worker died", job=place.job, node=place.node)
    words = loss.cause.message
    return JobLost(
        "the call was cancelled while it ran, and its job was lost", job=place.job, node=place.node, words=words
    )


def _verdict(loss: Loss, history: History, place: LossPlace, retry: Retry) -> RunAgain | GiveUp:
    cause = loss.cause
    if isinstance(cause, Death):
        return _after_death(cause, history, place, retry, loss.timeout)
    match cause.kind:
        case EndingKind.OUT_OF_MEMORY:
            return _after_job_memory(cause, history, place, retry, alone=loss.alone)
        case EndingKind.TIMED_OUT:
            return _after_walltime(cause, history, place, whole=loss.whole)
        case (
            EndingKind.COMPLETED
            | EndingKind.FAILED
            | EndingKind.LAUNCH_FAILED
            | EndingKind.CANCELLED
            | EndingKind.PREEMPTED
            | EndingKind.NODE_FAILED
            | EndingKind.LOST
        ):
            return _after_loss(cause, history, place, retry)
        case _:
            assert_never(cause.kind)


def _after_death(
    death: Death, history: History, place: LossPlace, retry: Retry, timeout: Duration | None
) -> RunAgain | GiveUp:
    if death.timed_out:
        return GiveUp(_too_long(death, place, timeout))
    if death.out_of_memory and not (death.innocent and history.crashed < retry.crashed):
        owed = _killed_for_memory(place, _how_memory_ended_it(death), used=death.peak_memory, tail=death.tail)
        return _grow(owed, history, place, retry, used=death.peak_memory)
    if history.crashed < retry.crashed:
        return RunAgain(replace(history, crashed=history.crashed + 1))
    how = _how_it_died(death)
    error = CallCrashed(
        f"the worker process {how} while it ran this call{_in_all(history.crashed + 1)}",
        job=place.job,
        node=place.node,
        signal=None if death.signal is None else _signal_name(death.signal),
        exit_code=death.exit_code if death.signal is None else None,
        tail=death.tail,
        advice="run the call alone with the same input, with faulthandler.enable() in the initializer, to see where",
    )
    return GiveUp(error)


def _after_job_memory(
    ending: Ending, history: History, place: LossPlace, retry: Retry, *, alone: bool
) -> RunAgain | GiveUp:
    # The batch system does not say which of several calls used the memory: so no call fails at the first loss.
    if not alone and history.crashed < retry.crashed:
        return RunAgain(replace(history, crashed=history.crashed + 1))
    used = ending.used or 0
    owed = _killed_for_memory(place, used=used, words=ending.message, limit=ending.limit)
    return _grow(owed, history, place, retry, used=used)


def _grow(error: CallOutOfMemory, history: History, place: LossPlace, retry: Retry, used: int = 0) -> RunAgain | GiveUp:
    grown = roomier(place.request, used, retry, place.limits)
    return GiveUp(error) if grown is None else RunAgain(replace(history, owed=error), grown)


def _too_long(death: Death, place: LossPlace, timeout: Duration | None) -> CallTimedOut:
    return CallTimedOut(
        "the call ran for longer than its timeout",
        job=place.job,
        node=place.node,
        limit=None if timeout is None else str(timeout),
        tail=death.tail,
        advice="give it a longer timeout with with_request(timeout=...), or split it into shorter calls",
    )


def _killed_for_memory(
    place: LossPlace,
    how: str = "the call was killed because its job was out of memory",
    *,
    used: int = 0,
    words: str = "",
    limit: str | None = None,
    tail: str = "",
) -> CallOutOfMemory:
    memory, whole = place.request.memory, place.request.job_memory
    asked = None if memory is None else f"{memory} for each worker, {whole} for the job"
    more = Memory(max(used, memory or 0) * 3 // 2)
    return CallOutOfMemory(
        how,
        job=place.job,
        node=place.node,
        words=words,
        used=str(Memory(used)) if used else None,
        limit=asked or limit,
        tail=tail,
        advice=f'ask for more memory, for example memory="{more}"' if more else "ask for more memory with memory=",
    )


def _how_memory_ended_it(death: Death) -> str:
    if death.limit is not None:
        return "the call was stopped because it used more than its worker's memory"
    if death.files:
        how = "the call was killed because its job was out of memory"
        return f"{how}; {Memory(death.files)} of it were files in memory, as in /dev/shm"
    if death.child:
        return "the kernel killed a process that the call had started, because their job was out of memory"
    return "the call was killed because its job was out of memory"


def _after_walltime(ending: Ending, history: History, place: LossPlace, *, whole: bool) -> RunAgain | GiveUp:
    if not whole and history.timed_out == 0:
        return RunAgain(replace(history, timed_out=1))
    walltime = place.request.walltime
    what = "the call had the whole walltime" if whole else "this is the second time"
    error = CallTimedOut(
        f"the call did not finish before its job's walltime ended; {what}",
        job=place.job,
        node=place.node,
        words=ending.message,
        limit=str(walltime) if walltime else ending.limit,
        advice="ask for a longer walltime, or split the call into shorter ones",
    )
    grown = longer(place.request, place.limits) if history.longer < LONGER_TIMES else None
    if grown is None:
        return GiveUp(error)
    return RunAgain(replace(history, timed_out=0, longer=history.longer + 1, owed=error), grown)


def _after_loss(ending: Ending, history: History, place: LossPlace, retry: Retry) -> RunAgain | GiveUp:
    if history.lost < retry.lost:
        return RunAgain(replace(history, lost=history.lost + 1))
    error = JobLost(
        f"the job ended ({ending.kind.value}) while the call ran in it{_in_all(history.lost + 1)}",
        job=place.job,
        node=place.node,
        words=ending.message,
        ending=ending.kind.value,
        exit_code=ending.exit_code,
        signal=None if ending.signal is None else _signal_name(ending.signal),
        advice=_against_loss(ending),
    )
    return GiveUp(error)


def _against_loss(ending: Ending) -> str:
    if ending.kind is EndingKind.FAILED and ending.signal == signal.SIGKILL:
        return (
            "the batch system did not send this SIGKILL: most often the kernel of a node that is out of memory does "
            "(see the node's kernel log, dmesg); ask for more memory with memory="
        )
    return "read the job's log; if jobs are lost by preemption, ask for another partition or QoS"


def _in_all(times: int) -> str:
    return "" if times == 1 else f"; it was run {times} times and this happened each time"


def _how_it_died(death: Death) -> str:
    if death.signal is not None:
        return f"was killed by {_signal_name(death.signal)}"
    return "died" if death.exit_code is None else f"exited with code {death.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
