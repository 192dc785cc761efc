"""What a worker died of, or a call lost a process of, and in what words leaks are told."""

from __future__ import annotations

from typing import assert_never

from jobpool.agent.cgroup import files_that_fill, memory_limit
from jobpool.agent.fork_client import Exit
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.slot import Slot
from jobpool.model.call import Death
from jobpool.model.units import Memory
from jobpool.transport.messages.base import Remark
from jobpool.transport.messages.worker import Grown, Spoilt

__all__ = ["died", "filled", "left_behind", "lost_a_process", "retired", "stopped"]


def died(slot: Slot, how: Exit, settings: WorkerSettings, *, killed: bool) -> Death:
    """Describe a death that was not our doing. ``killed``: by the kernel, for memory."""
    peak = max(how.peak_memory, slot.peak)
    files = files_that_fill() if killed else 0
    return Death(
        exit_code=how.exit_code,
        signal=how.signal,
        out_of_memory=killed,
        innocent=killed and (bool(files) or _paid_for_others(peak, settings)),
        peak_memory=max(peak, _reached(settings)) if killed else peak,
        files=files,
        tail=slot.tail(),
    )


def stopped(slot: Slot, how: Exit, settings: WorkerSettings) -> Death:
    """Describe the death of a worker that was stopped, for memory or because its call ran for too long."""
    over = slot.over
    if over is not None and over.late:
        return Death(signal=how.signal, timed_out=True, peak_memory=slot.peak, tail=slot.tail())
    if over is None or over.limit is None:
        return lost_a_process(slot, settings)
    return Death(
        signal=how.signal,
        out_of_memory=True,
        limit=over.limit,
        innocent=slot.peak - over.left <= over.limit,
        peak_memory=slot.peak,
        tail=slot.tail(),
    )


def lost_a_process(slot: Slot, settings: WorkerSettings) -> Death:
    """Describe what became of a call of which the kernel has killed a process for memory."""
    files = files_that_fill()
    return Death(
        out_of_memory=True,
        child=True,
        innocent=bool(files) or _paid_for_others(slot.peak, settings),
        peak_memory=_reached(settings),  # it was larger than whatever was seen before
        files=files,
        tail=slot.tail(),
    )


def left_behind(slot: Slot) -> Remark | None:
    """Say that a worker reached its limit by what earlier calls have left, if it was so."""
    over = slot.over
    if over is None or over.limit is None or slot.peak - over.left > over.limit:
        return None
    return Remark(
        "calls leave memory behind",
        f"calls leave memory behind: a worker held {Memory(over.left)} of {_calls(slot.served)} when the next one "
        f"reached memory={Memory(over.limit)}; max_memory_growth= replaces such workers in time",
    )


def retired(message: Grown | Spoilt, settings: WorkerSettings) -> Remark:
    """Say why a worker runs no other call: it told of what its calls have left in it."""
    match message:
        case Spoilt(function, what):
            return Remark(
                f"left by {function}",
                f"{function}() left its worker with {what}, which cannot be put back; it was replaced. Set what is "
                "meant for one call only in a process of its own (subprocess, preexec_fn=)",
            )
        case Grown(function, by, calls):
            return _grown(function, by, calls, settings)
        case _:
            assert_never(message)


def _grown(function: str, by: int, calls: int, settings: WorkerSettings) -> Remark:
    limit = Memory(settings.max_memory_growth or 0)
    return Remark(
        f"leak of {function}",
        f"{function}() leaks: the worker grew by {Memory(by)} in {_calls(calls)}; it was replaced "
        f"(max_memory_growth={limit})",
    )


def filled(death: Death) -> str:
    """Say that files in memory fill the job."""
    return (
        f"its memory is full of files: {Memory(death.files)} in /dev/shm, or in another file system that is in memory, "
        "which calls have left behind"
    )


def _paid_for_others(peak: int, settings: WorkerSettings) -> bool:
    """Say whether the kernel may have killed for others in the job: there are others, and this one had its share."""
    return settings.memory is not None and settings.size > 1 and peak < settings.memory


def _reached(settings: WorkerSettings) -> int:
    """Return what was used, at least, when the kernel killed: all that a job of one worker may. 0: nobody knows.

    It is more than the processes held where files in memory, as in ``/dev/shm``, took the rest.
    """
    return (memory_limit() or 0) if settings.size == 1 else 0


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"
