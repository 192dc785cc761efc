"""Looks at calls that take long, and tells that they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobpool.agent.slot import Slot

__all__ = ["STARTED_AFTER", "LongCalls"]

STARTED_AFTER = 0.020
"""Seconds that a call must have run to be reported as started: a report costs 0.3 ms of CPU on its way, nobody could do
anything with it sooner, and so calls that are over by then need none."""


class LongCalls:
    """Looks at the workers that are busy. ``long`` is called once for each call that has run long enough."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, busy: Callable[[], list[Slot]], long: Callable[[Slot], None]
    ) -> None:
        self._loop, self._busy, self._long = loop, busy, long
        self._look_next: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Look, now that a worker is busy with another call."""
        if self._look_next is None:
            self._look_next = self._loop.call_later(STARTED_AFTER, self._look)

    def look(self) -> None:
        """Look now, also at the workers whose results lie until somebody looks."""
        now = self._loop.time()
        for slot in self._busy():
            self._look_at(slot, now)

    def close(self) -> None:
        """Look no more."""
        if self._look_next is not None:
            self._look_next.cancel()

    def _look(self) -> None:
        self._look_next = None
        now = self._loop.time()
        slots = [slot for slot in self._busy() if not slot.resting]
        for slot in slots:
            self._look_at(slot, now)
        if not all(slot.told for slot in slots):
            self.soon()

    def _look_at(self, slot: Slot, now: float) -> None:
        if not slot.told and now - slot.since >= STARTED_AFTER:
            slot.told = True
            self._long(slot)
