"""The course of a run over time, in a bounded number of steps, and the recent rate of calls."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from jobpool.model.run_record import RunSeries, RunStep

__all__ = ["Recent", "Series"]

STEPS = 300
"""Maximum number of steps. Then each two become one: a run of a week has steps of about an hour."""

WINDOW = 180.0
"""Seconds over which the rate is measured: long enough for calls of a minute, short enough to show that jobs came or
left."""

GRAIN = 5.0
"""Seconds that are counted together for the rate."""


@dataclass(slots=True)
class Step:
    """Some seconds of a run."""

    done: int = 0
    failed: int = 0
    looks: int = 0
    """How many samples the next three are sums of."""
    busy: int = 0
    workers: int = 0
    waiting: int = 0

    def add(self, other: Step) -> None:
        """Add the counts of the next step."""
        self.done += other.done
        self.failed += other.failed
        self.looks += other.looks
        self.busy += other.busy
        self.workers += other.workers
        self.waiting += other.waiting


class Series:
    """The steps of a run, all of one width."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._steps: list[Step] = []
        self.width = 1.0
        """Seconds of one step."""

    def at(self, time: float) -> Step:
        """Return the step of this time."""
        index = int((time - self._began) / self.width)
        while index >= STEPS:
            self._halve()
            index = int((time - self._began) / self.width)
        while len(self._steps) <= index:
            self._steps.append(Step())
        return self._steps[index]

    def _halve(self) -> None:
        for first, second in zip(self._steps[::2], self._steps[1::2], strict=False):
            first.add(second)
        self._steps = self._steps[::2]
        self.width *= 2

    def kept(self) -> RunSeries:
        """Return the steps."""
        return RunSeries(width=self.width, steps=tuple(map(_kept, self._steps)))


def _kept(step: Step) -> RunStep:
    return RunStep(
        done=step.done,
        failed=step.failed,
        looks=step.looks,
        busy=step.busy,
        workers=step.workers,
        waiting=step.waiting,
    )


class Recent:
    """Counts the calls that ended in the last minutes."""

    def __init__(self) -> None:
        self._counts: deque[list[float]] = deque()
        self._first: float | None = None

    def add(self, count: int, time: float) -> None:
        """Add calls that ended now."""
        grain = time // GRAIN
        if self._first is None:
            self._first = time
        if self._counts and self._counts[-1][0] == grain:
            self._counts[-1][1] += count
        else:
            self._counts.append([grain, count])
            self._drop(time)

    def rate(self, time: float) -> float | None:
        """Return the recent number of calls per second. None: the first call ended less than a second ago."""
        self._drop(time)
        if self._first is None or time - self._first < 1.0:
            return None
        return sum(count for _, count in self._counts) / min(time - self._first, WINDOW)

    def _drop(self, time: float) -> None:
        while self._counts and self._counts[0][0] * GRAIN < time - WINDOW:
            self._counts.popleft()
