"""Finds out whom the kernel killed for memory: a worker, or a process that a call had started.

The kernel tells how many processes of the job's cgroup it killed, and not which. A worker that died of SIGKILL when the
count rose was killed for memory. When no worker died, it was a process that a call had started: a pool of
``multiprocessing`` waits for ever for the result of such a one. Then the call whose processes are gone, most memory
first, is to blame; or the only one that runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobpool.agent.cgroup import OomCounter
from jobpool.agent.slot import Slot
from jobpool.worker.meter import is_gone

__all__ = ["OomKills"]

TOLD_WITHIN = 0.25
"""Seconds in which the death of a worker, if it was one, is told."""


class OomKills:
    """Explains kills. ``lost`` is called for a worker with a call that has lost a process, and lives itself."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, busy: Callable[[], list[Slot]], lost: Callable[[Slot], None]
    ) -> None:
        self._loop, self._busy, self._lost = loop, busy, lost
        self._counter = OomCounter()
        self._deciding: asyncio.TimerHandle | None = None

    @property
    def total(self) -> int:
        """How many processes the kernel has killed in this job so far."""
        return self._counter.total

    def look(self) -> None:
        """Look whether there was a kill, before what is known of the process trees is brought up to date."""
        if self._counter.open() and self._deciding is None:
            culprit = self._culprit()
            call = culprit.calls[0].id if culprit is not None else None
            self._deciding = self._loop.call_later(TOLD_WITHIN, self._decide, culprit, call)

    def was_worker(self) -> bool:
        """Say whether a worker that just died of SIGKILL was killed for memory."""
        return self._counter.claim()

    def had_child(self, slot: Slot) -> bool:
        """Say whether the call of this worker, which failed, has lost a process for memory."""
        if not self._counter.open() or self._culprit(slot) is not slot:
            return False
        self._counter.claim()
        return True

    def close(self) -> None:
        """Explain nothing more."""
        if self._deciding is not None:
            self._deciding.cancel()

    def _decide(self, culprit: Slot | None, call: int | None) -> None:
        self._deciding = None
        if not self._counter.open():
            return  # it was a worker, or its call has failed meanwhile
        self._counter.forget()
        if culprit is not None and culprit in self._busy() and culprit.calls[0].id == call:
            self._lost(culprit)

    def _culprit(self, known: Slot | None = None) -> Slot | None:
        """``known``: only of this one, and of those whose results are read as they come, it is known what they run."""
        busy = self._busy()
        lost = [(_lost_memory(slot), slot) for slot in busy if not known or slot is known or not slot.resting]
        memory, slot = max(lost, key=lambda found: found[0], default=(0, None))
        return slot if memory else busy[0] if len(busy) == 1 else None


def _lost_memory(slot: Slot) -> int:
    """Return what those processes held that a call had started, and that are gone."""
    started = ((pid, held) for pid, held in slot.sight.tree.items() if pid != slot.pid)
    return sum(held for pid, held in started if is_gone(pid))
