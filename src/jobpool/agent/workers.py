"""The workers of one job, as their agent sees them: hands out bundles, and tells what became of each call.

::

    submit ─► WorkQueue ─► worker 0 (Slot, Channel) ◄─socket─► child process ─┐ forked by, and
    occupy ─►           └► worker 1 ...             ◄─socket─► child process ─┤ deaths told by
    retract, take_back ─► Withdrawal                                          │
    report ◄─ Reporter ◄─ results, Losses ◄─ Lifecycle ◄─ ForkClient ◄─socket─ fork-server

A bundle is for one worker, in order. The agent knows which call of it runs without being told: the first one that is
not done. So a worker's death costs that call alone; the others of the bundle go to the head of the queue again.
Which one of several rows runs stands on the page of memory that the worker shares. All methods belong to the loop's
thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from msgspec.structs import replace

from jobpool.agent import deaths
from jobpool.agent.bundles import first_of
from jobpool.agent.checkpoints import SLOW, Checkpoints
from jobpool.agent.deferred_reads import DeferredReads
from jobpool.agent.fork_client import Exit
from jobpool.agent.lifecycle import EXIT_WITHIN, Lifecycle
from jobpool.agent.long_calls import STARTED_AFTER, LongCalls
from jobpool.agent.losses import Losses
from jobpool.agent.memory_limit import MemoryLimit
from jobpool.agent.oom_kills import OomKills
from jobpool.agent.reports import CannotStart, InitializerError, Report, Reporter
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.slot import Over, Slot, State
from jobpool.agent.withdrawal import Withdrawal
from jobpool.agent.work_queue import WorkQueue
from jobpool.model.call import Call
from jobpool.model.units import Memory
from jobpool.transport.messages.base import Checkpointed, Function, Remark
from jobpool.transport.messages.worker import (
    CallDone,
    Grown,
    InitializerRaised,
    NoCheckpoint,
    Run,
    Skipped,
    Spoilt,
    WorkerReady,
    WorkerToAgent,
)

__all__ = ["Workers"]


class Workers:
    """A job's workers. ``report`` is called in the loop's thread with all that happens to calls."""

    def __init__(self, settings: WorkerSettings, report: Callable[[Report], None]) -> None:
        self._settings = settings
        self._report = report
        self._functions: dict[str, Function] = {}
        self._queue = WorkQueue()
        self._lifecycle = Lifecycle(settings, self, wanted=lambda: not self.stopping)
        self._slots = self._lifecycle.slots
        self.stopping = False
        """No more calls are begun."""
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Start the fork-server and ask it for all workers; calls wait until one is ready.

        Raises ``OSError`` when a log file cannot be written or no process can be started.
        """
        self._loop = asyncio.get_running_loop()
        self._reporter = Reporter(self._report, self._loop)
        self._handed = False
        """A call was given to a worker."""
        self._long_calls = LongCalls(self._loop, self._busy, lambda slot: self._withdrawal.runs_long(slot))
        self._deferred_reads = DeferredReads(self._loop, self._slots, looked=self._looked, ended=self._long_calls.soon)
        self._oom_kills = OomKills(self._loop, self._busy, self._has_lost_a_process)
        self._memory_limit = MemoryLimit(
            self._loop,
            self._deferred_reads.busy,
            self._oom_kills,
            limit=self._settings.memory,
            over=self._has_too_much_memory,
        )
        self._checkpoints = Checkpoints(self._loop, self._deferred_reads.busy)
        self._withdrawal = Withdrawal(
            self, self._slots, self._queue, self._reporter, self._deferred_reads, self._lifecycle.kill
        )
        self._losses = Losses(
            self._settings,
            self._queue,
            self._reporter,
            self._oom_kills,
            stopping=lambda: self.stopping,
            full=self._stop_queue,
        )
        try:
            await self._lifecycle.start(self._deferred_reads.wakeup)
        except OSError:
            self._deferred_reads.close()
            raise

    @property
    def memory(self) -> dict[int, int]:
        """Bytes that the process tree of each call that runs used when it was last looked at, by the call's id."""
        return {slot.calls[0].id: slot.memory for slot in self._busy() if slot.memory}

    def define(self, functions: Iterable[Function]) -> None:
        """Take pickled functions, before calls that use them."""
        self._functions.update((function.key, function) for function in functions)

    def submit(self, calls: Sequence[Call]) -> None:
        """Queue a bundle: one worker will run these calls, in this order.

        Raises ``KeyError`` for a call whose function is not defined.
        """
        for call in calls:
            self._functions[call.function]
        if self.stopping:
            self._reporter.returned(*(call.id for call in calls))
        elif calls:
            self._queue.add(deque(calls))
            self._dispatch()

    def retract(self, ids: Iterable[int]) -> None:
        """Drop calls. Each is reported as returned, unless it is done first; one that runs is killed."""
        self._withdrawal.retract(ids)

    def take_back(self) -> None:
        """Return the calls that wait here behind long ones: others have free workers for them."""
        self._withdrawal.take_back(self._long_calls)

    async def occupy(self) -> None:
        """Wait for a free worker and take its place; it gets no calls until :meth:`release`.

        Raises ``RuntimeError`` when the workers are closing or cannot work.
        """
        if self.stopping:
            raise RuntimeError("the workers are closing")
        turn = self._loop.create_future()
        self._queue.wait_for_slot(turn)
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release()  # the place was given just as the waiter was cancelled
            raise

    def release(self) -> None:
        """Give back the slot of a worker that :meth:`occupy` took."""
        slot = self._queue.release()
        if slot.state is State.IDLE:
            self.free(slot)

    def flush(self) -> None:
        """Report now what waits for more to tell, and what the workers have sent until now."""
        self._hear_all()
        self._reporter.flush()

    async def stop(self) -> None:
        """Begin no more calls: those that have not begun are reported as returned, all others as started."""
        self._stop_queue()
        await self._withdrawal.take_back_all()

    def put_off(self, seconds: float) -> None:
        """Give the calls that run so much more time: they stood still."""
        for slot in self._busy():
            slot.put_off(seconds, self._loop, self._overdue)

    def ask_for_checkpoints(self) -> None:
        """Let the calls that run and can leave a checkpoint do so, from now on."""
        self._checkpoints.ask()

    async def last_checkpoints(self, seconds: float) -> None:
        """Wait so long for the checkpoints of the calls that run, and begin no others: the job is being ended."""
        await self.stop()
        self._checkpoints.ask()
        await self._until(lambda: not self._checkpoints.pending, min(SLOW, seconds))
        if self._checkpoints.pending:
            words = f"checkpoint() has not returned within {SLOW:g} s of the signal that ends the job"
            self._reporter.other(NoCheckpoint(None, f"{words}; the batch system may not wait for it any longer"))
            await self._until(lambda: not self._checkpoints.pending, seconds - SLOW)

    async def close(self, *, drain: bool) -> None:
        """End all workers and whatever they started. ``drain``: calls that run may finish first.

        Calls that have not begun are reported as returned. Those that have, and are not to finish, are reported as
        started and no more: the end of the job decides on them.
        """
        self._stop_queue()
        self._hear_all()
        await self.stop()
        if drain:
            await self._until(lambda: not self._busy())
        busy = self._busy()
        for slot in list(self._slots.values()):
            if slot in busy:
                slot.calls.clear()
                self._lifecycle.kill(slot)
            slot.channel.close()
        if drain:
            await self._until(lambda: not self._slots, EXIT_WITHIN)
        for watcher in (self._long_calls, self._memory_limit, self._oom_kills, self._checkpoints, self._deferred_reads):
            watcher.close()
        await self._lifecycle.close()
        self._reporter.flush()

    # ------------------------------------------------------------------------------------------------- queue

    def _dispatch(self) -> None:
        self._queue.hand_out(self._hand)

    def _hand(self, bundle: deque[Call], slot: Slot) -> None:
        """Give a bundle, or as much of it as the worker may still run, to a worker."""
        slot.state = State.BUSY
        limit = self._settings.max_tasks_per_child
        calls = list(bundle) if limit is None else first_of(bundle, limit - slot.served, self._reporter.cut)
        slot.begin(calls, self._loop.time())
        if limit is not None and bundle:
            self._queue.add(bundle, first=True)
        slot.define(self._functions, self._queue.waiting)
        if not self._handed:
            # Told before it begins, and again when it runs long: should it take the whole job along at once, it is
            # known which one did.
            self._handed = True
            self._reporter.started(slot.calls[0].id, more=False)
            self._reporter.flush()
        self._deferred_reads.begin(slot)
        slot.channel.send(Run(list(slot.calls)))
        self._look_after(slot)
        self._memory_limit.soon(slot)

    def free(self, slot: Slot) -> None:
        """Let a worker that has nothing to do have more, or go, when it has run all it may."""
        if slot.token not in self._slots or self.stopping:
            self._changed.set()
            return
        slot.state = State.IDLE
        limit = self._settings.max_tasks_per_child
        if limit is not None and slot.served >= limit:
            self._lifecycle.let_go(slot)
            self._lifecycle.replace(slot)
        else:
            self._queue.free(slot)
        self._dispatch()

    def has_more(self, slot: Slot) -> bool:
        """Whether there is work for this worker behind its call."""
        # One call behind all others is not enough: who waits for a result to submit the next one shall be in time.
        return slot.has_several or self._queue.has(2 * self._settings.size)

    def _stop_queue(self) -> None:
        self.stopping = True
        self._reporter.returned(*self._queue.close("the workers are closing"))

    def _hear_all(self) -> None:
        for slot in self._busy():  # not only of those at rest: they may have just been woken for the end
            slot.channel.drain()

    def _busy(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.calls]

    async def _until(self, reached: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait until something is so, or the time is over."""
        end = None if seconds is None else self._loop.time() + seconds
        while not reached():
            self._changed.clear()
            left = None if end is None else end - self._loop.time()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    # ---------------------------------------------------------------------------------------- what workers say

    def hear(self, slot: Slot, messages: list[WorkerToAgent]) -> None:
        """Take what a worker says."""
        for message in messages:
            match message:
                case CallDone():
                    self._done(slot, message)
                case Skipped(ids):
                    here = [call.id for call in slot.calls if call.id in ids]  # others were taken back before
                    if slot.skip(here, self._loop.time()):
                        self._look_after(slot)
                    self._reporter.returned(*here)
                case Checkpointed():
                    self._checkpointed(slot, message)
                case NoCheckpoint(id):
                    if id is not None:
                        self._checkpoints.failed(id)
                    self._changed.set()
                    self._reporter.other(message)
                case WorkerReady():
                    self._lifecycle.ready()
                    self.free(slot)
                case Grown() | Spoilt():
                    self._retires(slot, deaths.retired(message, self._settings))
                case Remark():
                    self._reporter.other(message)
                case InitializerRaised(words, exception):
                    self._initializer_failed(slot, words, exception)
                case _:
                    assert_never(message)
        if slot.state is State.BUSY and not slot.calls:
            self.free(slot)
        self._dispatch()

    def _done(self, slot: Slot, message: CallDone) -> None:
        outcome = message.outcome
        long = not outcome.ok and outcome.usage is not None and outcome.usage.wall >= STARTED_AFTER
        death = deaths.lost_a_process(slot, self._settings) if long and self._oom_kills.had_child(slot) else None
        if outcome.usage is not None and slot.peak > outcome.usage.peak_memory:
            outcome.usage = replace(outcome.usage, peak_memory=Memory(slot.peak))
        # A call may have left a clock of its own (freezegun, which replaces names in all modules).
        slot.finish(outcome.call, outcome.rows, min(max(message.at, slot.since), self._loop.time()), message.log_end)
        if death is not None:
            self._losses.died(outcome.call, death)
        else:
            self._reporter.done(outcome, more=self.has_more(slot))
        if slot.calls:
            self._look_after(slot)

    def _looked(self) -> None:
        self._long_calls.look()
        self._reporter.flush()

    def _look_after(self, slot: Slot) -> None:
        """Look after a call that begins."""
        if not slot.resting:
            self._long_calls.soon()
        call = slot.calls[0]
        if call.timeout is not None:
            slot.set_alarm(self._loop.time() + call.timeout, self._loop, self._overdue)

    def _overdue(self, slot: Slot, id: int) -> None:
        if slot.token in self._slots and slot.calls and slot.calls[0].id == id:
            slot.over = Over(id, late=True)
            self._lifecycle.kill(slot)

    def _checkpointed(self, slot: Slot, message: Checkpointed) -> None:
        """Take note that a call goes on elsewhere. Its process ends by itself; what is behind it is queued again."""
        id = message.call
        if slot.calls and slot.calls[0].id == id:
            call = slot.calls.popleft()
            if call.rows > 1:
                self._reporter.cut(id, 1)
                slot.calls.appendleft(call.cut(1)[1])
            slot.killed.add(id)
            self._reporter.other(message)

    def _initializer_failed(self, slot: Slot, words: str, exception: bytes) -> None:
        if not self.stopping:
            self._stop_queue()
            self._reporter.other(InitializerError(slot.with_tail(words), exception))

    # ------------------------------------------------------------------------------------------------- deaths

    def ended(self, slot: Slot, how: Exit) -> None:
        """Find out what a death cost, report it, and replace the worker."""
        self._changed.set()
        self._queue.remove(slot)
        if self._losses.note(slot, how) and not self.stopping:
            self._lifecycle.succeed(slot, how)
            self._dispatch()

    def replaced(self, old: Slot, fresh: Slot) -> None:
        """Let whoever took the place of a worker have that of its successor."""
        self._queue.replace(old, fresh)

    def give_up(self, words: str) -> None:
        """Stop: no worker can be brought up."""
        if not self.stopping:
            self._stop_queue()
            self._reporter.other(CannotStart(words))

    # ------------------------------------------------------------------------------------------------- memory

    def _has_too_much_memory(self, slot: Slot) -> None:
        """Kill a worker that is above its limit, before the kernel kills for it whom it likes."""
        slot.stop_for(self._settings.memory)
        self._lifecycle.kill(slot)

    def _has_lost_a_process(self, slot: Slot) -> None:
        """Kill a worker whose call goes on, or waits for ever, without a process that the kernel killed for memory."""
        call = slot.calls[0].id
        self._deferred_reads.catch_up()
        if slot.calls and slot.calls[0].id == call:
            slot.stop_for(None)
            self._lifecycle.kill(slot)

    def _retires(self, slot: Slot, why: Remark) -> None:
        """Replace a worker that cannot get rid of what its calls have left; it runs no other one."""
        self._reporter.other(why)
        self._losses.settle(slot)
        self._queue.remove(slot)
        self._lifecycle.let_go(slot)
        self._changed.set()
        if not self.stopping:
            self._lifecycle.replace(slot)
