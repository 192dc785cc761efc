"""Notices that this process has stood still: it was stopped, by a batch system that suspends jobs or by a person.

The clocks of a process go on meanwhile, and everything that was due comes at once when it goes on. What counts in its
time and not in theirs has to be put off: a walltime, which SLURM extends by the time in which a job is suspended, and
the timeouts of calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["BEAT", "STILL", "Standstill"]

BEAT = 1.0
"""Seconds between two looks at the clock."""

STILL = 10.0
"""Seconds by which a look must be late to count: a busy machine may hold one up for some."""


class Standstill:
    """``went_on(seconds)`` is called as the first thing after the process has stood still for so long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, went_on: Callable[[float], None]) -> None:
        self._loop, self._went_on = loop, went_on
        self._due = loop.time() + BEAT
        loop.call_at(self._due, self._look)

    def _look(self) -> None:
        # What else has become due is later than this, and so it runs after it.
        late = self._loop.time() - self._due
        self._due = self._loop.time() + BEAT
        self._loop.call_at(self._due, self._look)
        if late >= STILL:
            self._went_on(late)
