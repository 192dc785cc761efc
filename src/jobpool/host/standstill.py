"""Detects that this process was stopped, by a batch system that suspends jobs or by a person.

Clocks go on while a process is stopped, so that all timers expire at once when it is continued. Deadlines that count
only the time in which the job ran have to be postponed: the walltime, which SLURM extends by the time of a suspension,
and the timeouts of calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["BEAT", "STILL", "Standstill"]

BEAT = 1.0
"""Seconds between two checks of the clock."""

STILL = 10.0
"""Seconds by which a check must be late to count: a busy machine may delay one by some seconds."""


class Standstill:
    """Calls ``went_on(seconds)`` before any other callback after the process was stopped for so long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, went_on: Callable[[float], None]) -> None:
        self._loop, self._went_on = loop, went_on
        self._due = loop.time() + BEAT
        loop.call_at(self._due, self._look)

    def _look(self) -> None:
        # Everything else that became due meanwhile has a later time, and so it runs after this.
        late = self._loop.time() - self._due
        self._due = self._loop.time() + BEAT
        self._loop.call_at(self._due, self._look)
        if late >= STILL:
            self._went_on(late)
