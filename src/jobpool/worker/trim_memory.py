"""Returns freed memory to the system between calls, and measures how much the process has grown.

malloc keeps the memory of small blocks that a call has freed: neither the other workers of the job can use it, nor does
the kernel's limit count it as free. To return it (malloc_trim(3)) takes some ten milliseconds for a GiB, so it is done
only after calls that used much more than the process had before. The peak, which is measured anyway, shows these calls:
a small call costs one comparison.
"""

from __future__ import annotations

import gc

from jobpool.host.linux import trim_malloc
from jobpool.worker.meter import own_memory
from jobpool.worker.shared_page import BASE, IDLE

__all__ = ["MemoryTrimmer"]

STEP = 32 * 2**20
"""Bytes by which the peak must be above the resident memory, or the resident memory must have grown, before the memory
is trimmed. To allocate and free as much takes 10 ms."""


class MemoryTrimmer:
    """Trims the memory of this process. ``growth``: maximum bytes that calls may leave; None: no limit."""

    def __init__(self, words: memoryview, growth: int | None) -> None:
        self._words = words
        self._growth = growth
        self._step = STEP if growth is None else min(STEP, max(growth // 4, 2**20))
        self._base: int | None = None
        self._resident = 0
        self.above = 0
        """Resident bytes. Call :meth:`look` after a call whose peak was above."""

    def look(self, peak: int, *, fresh: bool) -> int:
        """Return free memory to the system. Return the bytes by which the process has grown if they are too many, else
        0.

        ``fresh``: the peak is that of the call, and not of the whole process.
        """
        resident, held = own_memory()
        if resident > self._resident + self._step:
            resident, held = _trimmed()
        if self._base is None:
            self._base = self._words[BASE] = held
        grown = held - self._base
        if self._growth is not None and grown > self._growth:
            gc.collect()  # garbage does not count as growth
            resident, held = _trimmed()
            grown = held - self._base
        self._words[IDLE] = max(held, self._base)
        self._resident = resident
        self.above = max(resident, 0 if fresh else peak) + self._step
        return grown if self._growth is not None and grown > self._growth else 0


def _trimmed() -> tuple[int, int]:
    trim_malloc()
    return own_memory()
