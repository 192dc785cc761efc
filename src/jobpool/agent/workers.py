"""The workers of one job, as their agent sees them: hands out bundles, and tells what became of each call.

::

    submit ─► queue ─► worker 0 (Place, Channel) ◄─socket─► child process ─┐ forked by, and
    occupy ─►       └► worker 1 ...              ◄─socket─► child process ─┤ deaths told by
    retract, close                                                         │
    report ◄─ Reporter ◄─ results, deaths ◄─ Births ◄─ Nursery ◄─socket─ fork-server

A bundle is for one worker, in order. The agent knows which call of it runs without being told: the first one that is
not done. So a worker's death costs that call alone; the others of the bundle go to the head of the queue again.
Which one of several rows runs stands on the worker's page. All methods belong to the loop's thread.
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
        self._births = Lifecycle(settings, self, wanted=lambda: not self.stopping)
        self._places = self._births.places
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
        self._watch = LongCalls(self._loop, self._busy, lambda place: self._withdrawal.runs_long(place))
        self._rests = DeferredReads(self._loop, self._places, looked=self._looked, ended=self._watch.soon)
        self._kills = OomKills(self._loop, self._busy, self._has_lost_a_process)
        self._guard = MemoryLimit(
            self._loop, self._rests.busy, self._kills, limit=self._settings.memory, over=self._has_too_much_memory
        )
        self._checkpoints = Checkpoints(self._loop, self._rests.busy)
        self._withdrawal = Withdrawal(self, self._places, self._queue, self._reporter, self._rests, self._births.kill)
        self._losses = Losses(
            self._settings,
            self._queue,
            self._reporter,
            self._kills,
            stopping=lambda: self.stopping,
            full=self._stop_queue,
        )
        try:
            await self._births.start(self._rests.bell)
        except OSError:
            self._rests.close()
            raise

    @property
    def memory(self) -> dict[int, int]:
        """Bytes that the process tree of each call that runs used when it was last looked at, by the call's id."""
        return {place.calls[0].id: place.memory for place in self._busy() if place.memory}

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
        self._withdrawal.take_back(self._watch)

    async def occupy(self) -> None:
        """Wait for a free worker and take its place; it gets no calls until :meth:`release`.

        Raises ``RuntimeError`` when the crew closes or cannot work.
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
        place = self._queue.release()
        if place.state is State.IDLE:
            self.free(place)

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
        for place in self._busy():
            place.put_off(seconds, self._loop, self._overdue)

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
        for place in list(self._places.values()):
            if place in busy:
                place.calls.clear()
                self._births.kill(place)
            place.channel.close()
        if drain:
            await self._until(lambda: not self._places, EXIT_WITHIN)
        for watcher in (self._watch, self._guard, self._kills, self._checkpoints, self._rests):
            watcher.close()
        await self._births.close()
        self._reporter.flush()

    # ------------------------------------------------------------------------------------------------- queue

    def _dispatch(self) -> None:
        self._queue.hand_out(self._hand)

    def _hand(self, bundle: deque[Call], place: Slot) -> None:
        """Give a bundle, or as much of it as the worker may still run, to a worker."""
        place.state = State.BUSY
        limit = self._settings.max_tasks_per_child
        calls = list(bundle) if limit is None else first_of(bundle, limit - place.served, self._reporter.cut)
        place.begin(calls, self._loop.time())
        if limit is not None and bundle:
            self._queue.add(bundle, first=True)
        place.define(self._functions, self._queue.waiting)
        if not self._handed:
            # Told before it begins, and again when it runs long: should it take the whole job along at once, it is
            # known which one did.
            self._handed = True
            self._reporter.started(place.calls[0].id, more=False)
            self._reporter.flush()
        self._rests.begin(place)
        place.channel.send(Run(list(place.calls)))
        self._watch_over(place)
        self._guard.soon(place)

    def free(self, place: Slot) -> None:
        """Let a worker that has nothing to do have more, or go, when it has run all it may."""
        if place.token not in self._places or self.stopping:
            self._changed.set()
            return
        place.state = State.IDLE
        limit = self._settings.max_tasks_per_child
        if limit is not None and place.served >= limit:
            self._births.let_go(place)
            self._births.replace(place)
        else:
            self._queue.free(place)
        self._dispatch()

    def has_more(self, place: Slot) -> bool:
        """Whether there is work for this worker behind its call."""
        # One call behind all others is not enough: who waits for a result to submit the next one shall be in time.
        return place.has_several or self._queue.has(2 * self._settings.size)

    def _stop_queue(self) -> None:
        self.stopping = True
        self._reporter.returned(*self._queue.close("the workers are closing"))

    def _hear_all(self) -> None:
        for place in self._busy():  # not only of those at rest: they may have just been woken for the end
            place.channel.drain()

    def _busy(self) -> list[Slot]:
        return [place for place in self._places.values() if place.calls]

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

    def hear(self, place: Slot, messages: list[WorkerToAgent]) -> None:
        """Take what a worker says."""
        for message in messages:
            match message:
                case CallDone():
                    self._done(place, message)
                case Skipped(ids):
                    here = [call.id for call in place.calls if call.id in ids]  # others were taken back before
                    if place.skip(here, self._loop.time()):
                        self._watch_over(place)
                    self._reporter.returned(*here)
                case Checkpointed():
                    self._checkpointed(place, message)
                case NoCheckpoint(id):
                    if id is not None:
                        self._checkpoints.failed(id)
                    self._changed.set()
                    self._reporter.other(message)
                case WorkerReady():
                    self._births.ready()
                    self.free(place)
                case Grown() | Spoilt():
                    self._retires(place, deaths.retired(message, self._settings))
                case Remark():
                    self._reporter.other(message)
                case InitializerRaised(words, exception):
                    self._initializer_failed(place, words, exception)
                case _:
                    assert_never(message)
        if place.state is State.BUSY and not place.calls:
            self.free(place)
        self._dispatch()

    def _done(self, place: Slot, message: CallDone) -> None:
        outcome = message.outcome
        long = not outcome.ok and outcome.usage is not None and outcome.usage.wall >= STARTED_AFTER
        death = deaths.lost_a_process(place, self._settings) if long and self._kills.had_child(place) else None
        if outcome.usage is not None and place.peak > outcome.usage.peak_memory:
            outcome.usage = replace(outcome.usage, peak_memory=Memory(place.peak))
        # A call may have left a clock of its own (freezegun, which replaces names in all modules).
        place.finish(outcome.call, outcome.rows, min(max(message.at, place.since), self._loop.time()), message.log_end)
        if death is not None:
            self._losses.died(outcome.call, death)
        else:
            self._reporter.done(outcome, more=self.has_more(place))
        if place.calls:
            self._watch_over(place)

    def _looked(self) -> None:
        self._watch.look()
        self._reporter.flush()

    def _watch_over(self, place: Slot) -> None:
        """Look after a call that begins."""
        if not place.resting:
            self._watch.soon()
        call = place.calls[0]
        if call.timeout is not None:
            place.set_alarm(self._loop.time() + call.timeout, self._loop, self._overdue)

    def _overdue(self, place: Slot, id: int) -> None:
        if place.token in self._places and place.calls and place.calls[0].id == id:
            place.over = Over(id, late=True)
            self._births.kill(place)

    def _checkpointed(self, place: Slot, message: Checkpointed) -> None:
        """Take note that a call goes on elsewhere. Its process ends by itself; what is behind it is queued again."""
        id = message.call
        if place.calls and place.calls[0].id == id:
            call = place.calls.popleft()
            if call.rows > 1:
                self._reporter.cut(id, 1)
                place.calls.appendleft(call.cut(1)[1])
            place.killed.add(id)
            self._reporter.other(message)

    def _initializer_failed(self, place: Slot, words: str, exception: bytes) -> None:
        if not self.stopping:
            self._stop_queue()
            self._reporter.other(InitializerError(place.with_tail(words), exception))

    # ------------------------------------------------------------------------------------------------- deaths

    def bury(self, place: Slot, how: Exit) -> None:
        """Find out what a death cost, report it, and replace the worker."""
        self._changed.set()
        self._queue.remove(place)
        if self._losses.note(place, how) and not self.stopping:
            self._births.succeed(place, how)
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

    def _has_too_much_memory(self, place: Slot) -> None:
        """Kill a worker that is above its limit, before the kernel kills for it whom it likes."""
        place.stop_for(self._settings.memory)
        self._births.kill(place)

    def _has_lost_a_process(self, place: Slot) -> None:
        """Kill a worker whose call goes on, or waits for ever, without a process that the kernel killed for memory."""
        call = place.calls[0].id
        self._rests.catch_up()
        if place.calls and place.calls[0].id == call:
            place.stop_for(None)
            self._births.kill(place)

    def _retires(self, place: Slot, why: Remark) -> None:
        """Replace a worker that cannot get rid of what its calls have left; it runs no other one."""
        self._reporter.other(why)
        self._losses.settle(place)
        self._queue.remove(place)
        self._births.let_go(place)
        self._changed.set()
        if not self.stopping:
            self._births.replace(place)
