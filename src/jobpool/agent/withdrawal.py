"""Takes calls back from the workers that have them: those that nobody wants, and those that others could run sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from jobpool.agent.deferred_reads import DeferredReads
from jobpool.agent.long_calls import LongCalls
from jobpool.agent.reports import Reporter
from jobpool.agent.slot import Slot, State
from jobpool.agent.work_queue import WorkQueue
from jobpool.transport.messages.worker import Skip
from jobpool.worker.shared_page import ORDERED

__all__ = ["Withdrawal"]


class Owner(Protocol):
    """Who has the workers."""

    @property
    def stopping(self) -> bool:
        """Whether no more calls are begun."""
        ...

    def free(self, slot: Slot) -> None:
        """Let a worker have other calls, since all of its own were taken back."""
        ...

    def has_more(self, slot: Slot) -> bool:
        """Whether there is work for this worker behind its call."""
        ...


class Withdrawal:
    """Takes calls out of the queue and from the workers of one job."""

    def __init__(
        self,
        owner: Owner,
        slots: Mapping[int, Slot],
        queue: WorkQueue,
        reporter: Reporter,
        reads: DeferredReads,
        kill: Callable[[Slot], None],
    ) -> None:
        self._owner, self._slots, self._queue, self._reporter = owner, slots, queue, reporter
        self._reads, self._kill = reads, kill
        self._loop = asyncio.get_running_loop()

    def retract(self, ids: Iterable[int]) -> None:
        """Drop calls. Each is reported as returned, unless it is done first; one that runs is killed."""
        unwanted = set(ids)
        self._reporter.returned(*self._queue.drop(unwanted))  # first: a look may find a free worker for what waits
        self._reads.catch_up()
        self._reporter.returned(*self._queue.drop(unwanted))  # and a worker that leaves, whose calls wait again
        for slot in self._busy():
            if theirs := unwanted & {call.id for call in slot.calls}:
                self._retract_from(slot, theirs)

    def take_back(self, long_calls: LongCalls) -> None:
        """Return the calls that wait here behind long ones: others have free workers for them."""
        self._reads.catch_up()
        long_calls.look()
        self._reporter.returned(*self._queue.drop())
        for slot in self._busy():
            if slot.told and slot.calls[-1].ids[-1] != slot.calls[0].id:
                self._take_back_from(slot)

    async def take_back_all(self) -> None:
        """Return all calls that have not begun, and wait until that is known of each."""
        for slot in self._busy():
            self._take_back_from(slot)
        await asyncio.sleep(2 * ORDERED)

    def runs_long(self, slot: Slot) -> None:
        """Report a call as started; kill it if it was retracted too late."""
        current = slot.calls[0].id
        self._reporter.started(current, more=self._owner.has_more(slot))
        if current in slot.retracted and current not in slot.killed:
            slot.killed.add(current)
            self._kill(slot)

    def _busy(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.calls]

    def _retract_from(self, slot: Slot, ids: set[int]) -> None:
        # Rows are short: the worker is asked to stop after the one that runs, and killed when that one is long.
        if slot.calls and slot.calls[0].id in ids and not slot.calls[0].rows:
            slot.killed.add(slot.calls[0].id)
            self._kill(slot)
        slot.retracted |= ids
        self._reads.end(slot)
        slot.announce()
        waiting = [call for call in slot.calls if call.id in ids - slot.killed]
        slot.channel.send(Skip([(call.id, call.id + call.items) for call in waiting]))

    def _take_back_from(self, slot: Slot) -> None:
        self._reads.end(slot)
        slot.announce()
        self._loop.call_later(ORDERED, self._taken_back, slot)

    def _taken_back(self, slot: Slot) -> None:
        if slot.token not in self._slots or slot.state is State.LEAVING:
            return  # it is dead or about to end, and its calls are settled
        begun = slot.begun
        slot.channel.drain()  # what it has done before it read its mail
        split, back = slot.not_begun(begun)
        if split is not None:
            call, at = split
            self._reporter.cut(call.id, at)
            head, rest = call.cut(at)
            slot.calls[slot.calls.index(call)] = head
            back.insert(0, rest)
        slot.skip([call.id for call in back], self._loop.time())
        self._reporter.returned(*(call.id for call in back))
        slot.channel.send(Skip([(call.id, call.id + call.items) for call in back]))
        if self._owner.stopping and slot.calls and not slot.told:
            # Who ends this job has to hear which calls it costs, however young they are.
            slot.told = True
            self._reporter.started(slot.calls[0].id, more=False)
        if slot.state is State.BUSY and not slot.calls:
            self._owner.free(slot)
