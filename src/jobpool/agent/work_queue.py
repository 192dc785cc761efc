"""What waits for a worker of a job, and which workers wait for something to do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Set
from itertools import accumulate

from jobpool.agent.bundles import Waiting, drop
from jobpool.agent.slot import Slot
from jobpool.model.call import Call

__all__ = ["WorkQueue"]


class WorkQueue:
    """Bundles and tasks that wait, in their order, and slots that are free or taken by a task."""

    def __init__(self) -> None:
        self.waiting: Waiting = deque()
        self._idle: list[Slot] = []
        self._taken: list[Slot] = []

    def add(self, bundle: deque[Call], *, first: bool = False) -> None:
        """Queue a bundle. ``first``: before all others, since it has waited before."""
        self.waiting.appendleft(bundle) if first else self.waiting.append(bundle)

    def wait_for_slot(self, turn: asyncio.Future[None]) -> None:
        """Queue a task that wants a slot for itself; the future is done when it has one, until :meth:`release`."""
        self.waiting.append(turn)

    def hand_out(self, hand: Callable[[deque[Call], Slot], None]) -> None:
        """Give what waits to free slots: a bundle by ``hand``, a slot to a task."""
        while self.waiting and self._idle:
            item = self.waiting.popleft()
            if not isinstance(item, asyncio.Future):
                hand(item, self._idle.pop())
            elif not item.done():
                slot = self._idle.pop()
                slot.taken = True
                self._taken.append(slot)
                item.set_result(None)

    def drop(self, unwanted: Set[int] | None = None) -> list[int]:
        """Take calls, or all calls, out of the queue. Returns their ids."""
        return drop(self.waiting, unwanted)

    def has(self, enough: int) -> bool:
        """Say whether so many calls wait."""
        sizes = (call.items for item in self.waiting if isinstance(item, deque) for call in item)
        return any(total >= enough for total in accumulate(sizes))

    def close(self, why: str) -> list[int]:
        """Take everything out of the queue: tasks get an error, the ids of calls are returned."""
        dropped = self.drop()
        while self.waiting:
            turn = self.waiting.popleft()
            if isinstance(turn, asyncio.Future) and not turn.done():
                turn.set_exception(RuntimeError(why))
        return dropped

    def free(self, slot: Slot) -> None:
        """Let a slot have what waits, unless a task has taken it."""
        if not slot.taken:
            self._idle.append(slot)

    def remove(self, slot: Slot) -> None:
        """Let a slot have nothing more."""
        if slot in self._idle:
            self._idle.remove(slot)

    def replace(self, old: Slot, fresh: Slot) -> None:
        """Let the task that has taken a slot have another one in its place."""
        if old.taken:
            fresh.taken = True
            self._taken[self._taken.index(old)] = fresh

    def release(self) -> Slot:
        """Take the slot of one task back."""
        slot = self._taken.pop()
        slot.taken = False
        return slot
