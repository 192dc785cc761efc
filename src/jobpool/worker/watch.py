"""Looks at calls that take long: tells that they run, and what memory their process trees use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobpool.worker.meter import tree_memory
from jobpool.worker.place import Place

__all__ = ["Watch"]

STARTED_AFTER = 0.020
"""Seconds that a call must have run to be reported as started: a report costs 0.3 ms of CPU on its way, nobody could do
anything with it sooner, and so calls that are over by then need none."""

SAMPLE_EVERY = 0.5
"""Seconds between two looks at the memory of the workers' process trees, at least."""

SAMPLE_SHARE = 0.01
"""Share of a CPU that these looks may cost; on a node with many processes they become rarer."""


class Watch:
    """Looks at the workers that are busy. ``long`` is called once for each call that has run long enough."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, busy: Callable[[], list[Place]], long: Callable[[Place], None]
    ) -> None:
        self._loop, self._busy, self._long = loop, busy, long
        self._look_next: asyncio.TimerHandle | None = None
        self._sample_next: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Look, now that a worker is busy with another call."""
        if self._look_next is None:
            self._look_next = self._loop.call_later(STARTED_AFTER, self._look)
        if self._sample_next is None:
            self._sample_next = self._loop.call_later(SAMPLE_EVERY, self._look_at_memory)

    def close(self) -> None:
        """Look no more."""
        for timer in (self._look_next, self._sample_next):
            if timer is not None:
                timer.cancel()

    def _look(self) -> None:
        self._look_next = None
        now, again = self._loop.time(), False
        for place in self._busy():
            if place.told:
                continue
            if now - place.since < STARTED_AFTER:
                again = True
                continue
            place.told = True
            self._long(place)
        if again:
            self.soon()

    def _look_at_memory(self) -> None:
        self._sample_next = None
        places = {place.pid: place for place in self._busy() if place.pid}
        if not places:
            return
        begin = self._loop.time()
        for pid, memory in tree_memory(places).items():
            places[pid].note_memory(memory)
        pause = max(SAMPLE_EVERY, (self._loop.time() - begin) / SAMPLE_SHARE)
        self._sample_next = self._loop.call_later(pause, self._look_at_memory)
