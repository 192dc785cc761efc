"""Gives freed memory back to the system between calls, and notices what calls have left.

A call that freed a GiB in small blocks leaves it with malloc, where neither its neighbours in the job nor the kernel's
limit see that it is free. To ask malloc for it (malloc_trim(3)) takes up to some ten milliseconds for a GiB, so it is
done after calls that took much more than the process held before. The peak that is measured anyway tells which did: a
small call pays for one comparison.
"""

from __future__ import annotations

import gc

from jobpool.host.linux import trim_malloc
from jobpool.worker.meter import own_memory
from jobpool.worker.shared_page import BASE, IDLE

__all__ = ["MemoryTrimmer"]

STEP = 32 * 2**20
"""Bytes by which the peak must be above what is held, or the held memory have grown, for a look: to take and free so
much takes 10 ms."""


class MemoryTrimmer:
    """Looks after the memory of the process it is made in. ``growth``: bytes that calls may leave; None: any."""

    def __init__(self, words: memoryview, growth: int | None) -> None:
        self._words = words
        self._growth = growth
        self._step = STEP if growth is None else min(STEP, max(growth // 4, 2**20))
        self._base: int | None = None
        self._resident = 0
        self.above = 0
        """Resident bytes; a call whose peak was above is to be followed by :meth:`look`."""

    def look(self, peak: int, *, fresh: bool) -> int:
        """Give back what is free; return how many bytes the process has grown by, if that is too much, or 0.

        ``fresh``: the peak was that of a call, and not of the process's life.
        """
        resident, held = own_memory()
        if resident > self._resident + self._step:
            resident, held = _trimmed()
        if self._base is None:
            self._base = self._words[BASE] = held
        grown = held - self._base
        if self._growth is not None and grown > self._growth:
            gc.collect()  # what waits for the collector is not lost
            resident, held = _trimmed()
            grown = held - self._base
        self._words[IDLE] = max(held, self._base)
        self._resident = resident
        self.above = max(resident, 0 if fresh else peak) + self._step
        return grown if self._growth is not None and grown > self._growth else 0


def _trimmed() -> tuple[int, int]:
    trim_malloc()
    return own_memory()
