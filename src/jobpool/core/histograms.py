"""Statistics on what the calls of a pool used, in a size that does not grow with the number of calls.

A value is counted in a bucket whose width is a sixteenth of its power of two, so that a quantile is exact to 6 %; the
largest value is kept. Everything costs O(1) for each outcome, which may be that of many rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobpool.model.call import Outcome, Usage
from jobpool.model.units import Memory

__all__ = ["FunctionStatistics", "Histogram", "Statistics", "Sum", "function_name"]

_STEPS = 16
"""Buckets for each power of two."""

_ZERO = -10_000_000
"""The bucket of 0, which is below all others."""

NAMES = 500
"""Functions that are counted separately: a script that makes new functions again and again must not fill the server's
memory."""

OTHERS = "(others)"

SHORT = 0.010
"""Seconds. Shorter calls that come back in one message are counted with their mean duration. To count each call would
add a third to the core's cost for a call."""


class Histogram:
    """Counts values, which are at least 0, by their size."""

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value ``count`` times."""
        self.count += count
        self.total += value * count
        if value > self.largest:
            self.largest = value
        mantissa, exponent = math.frexp(value)  # value = mantissa * 2 ** exponent, mantissa in [0.5, 1)
        bucket = exponent * _STEPS + int(mantissa * (2 * _STEPS)) - _STEPS if value else _ZERO
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    @property
    def mean(self) -> float | None:
        """The mean. None: nothing was counted."""
        return self.total / self.count if self.count else None

    def quantile(self, part: float) -> float | None:
        """Return the value that this part of all values does not exceed, up to 6 % too large. None: there are no
        values."""
        if not self.count:
            return None
        left = math.ceil(self.count * part)
        for bucket, count in sorted(self._buckets.items()):
            left -= count
            if left <= 0 and bucket == _ZERO:
                return 0.0
            if left <= 0:
                exponent, step = divmod(bucket, _STEPS)
                return min(self.largest, math.ldexp((step + 1 + _STEPS) / (2 * _STEPS), exponent))
        return self.largest


@dataclass(slots=True, eq=False)
class FunctionStatistics:
    """The calls of one function for one request, and what they used."""

    name: str
    request: str
    open: int = 0
    """Calls that are not resolved."""
    done: int = 0
    """Calls that returned."""
    failed: int = 0
    """Calls that raised, or were given up."""
    cpu: float = 0.0
    """CPU seconds."""
    threads: int = 0
    """Maximum number of threads of one call."""
    wall: Histogram = field(default_factory=Histogram)
    """Seconds."""
    memory: Histogram = field(default_factory=Histogram)
    """Peak memory in bytes."""

    def add(self, count: int, failures: int, usage: Usage | None) -> None:
        """Count calls that have ended. The usage is that of all these calls together."""
        self.done += count - failures
        self.failed += failures
        if usage is not None:
            self.cpu += usage.cpu
            self.threads = max(self.threads, usage.threads)
            self.wall.add(usage.wall / count, count)
            self.memory.add(int(usage.peak_memory), count)  # a plain int, since it is sent

    def merge(self, other: FunctionStatistics) -> None:
        """Add the counts of another function."""
        self.open += other.open
        self.done += other.done
        self.failed += other.failed
        self.cpu += other.cpu
        self.threads = max(self.threads, other.threads)
        self.wall.merge(other.wall)
        self.memory.merge(other.memory)

    @property
    def cpus(self) -> float | None:
        """CPUs that a call kept busy on average. None: not known, or the calls took no time."""
        return self.cpu / self.wall.total if self.wall.total > 0 else None


@dataclass(slots=True)
class Sum:
    """The outcomes of one function in one message, which are counted together."""

    statistics: FunctionStatistics
    calls: int = 0
    failures: int = 0
    count: int = 0
    """Calls whose usage is known. ``wall`` and ``cpu`` are the sums of these calls."""
    wall: float = 0.0
    cpu: float = 0.0
    notable: list[Outcome] = field(default_factory=list)
    """Outcomes of calls that were not short, or failed."""
    short: int = 0
    """Calls that were short. The next two are the sums of these calls."""
    short_wall: float = 0.0
    short_cpu: float = 0.0
    peak: int = 0
    threads: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a call, or of rows."""
        count = outcome.rows or 1
        self.calls += count
        if (usage := outcome.usage) is None:
            self._add_notable(count, outcome)
            return
        wall = usage.wall
        self.count += count
        self.wall += wall
        self.cpu += usage.cpu
        if wall > SHORT * count or outcome.failures:
            self._add_notable(count, outcome)
            return
        self.short += count
        self.short_wall += wall
        self.short_cpu += usage.cpu
        if usage.peak_memory > self.peak:
            self.peak = usage.peak_memory
        if usage.threads > self.threads:
            self.threads = usage.threads

    def _add_notable(self, count: int, outcome: Outcome) -> None:
        self.statistics.add(count, outcome.failures, outcome.usage)
        self.failures += outcome.failures
        self.notable.append(outcome)

    def close(self) -> None:
        """Count the short calls, all with the largest memory among them."""
        if self.short:
            usage = Usage(wall=self.short_wall, cpu=self.short_cpu, peak_memory=Memory(self.peak), threads=self.threads)
            self.statistics.add(self.short, 0, usage)


class Statistics:
    """The statistics of all functions of a pool."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], FunctionStatistics] = {}
        self._by_name: dict[tuple[str, str], FunctionStatistics] = {}

    def of(self, function: str, request: str) -> FunctionStatistics:
        """Return the statistics of a function, given by its key, for a request."""
        found = self._by_key.get((function, request))
        if found is None:
            name = function_name(function)
            if len(self._by_name) >= NAMES and (name, request) not in self._by_name:
                name = OTHERS
            found = self._by_name.setdefault((name, request), FunctionStatistics(name, request))
            if len(self._by_key) >= 10 * NAMES:
                self._by_key.clear()
            self._by_key[function, request] = found
        return found

    def __iter__(self) -> Iterator[FunctionStatistics]:
        return iter(self._by_name.values())


def function_name(key: str) -> str:
    """Return the name in a function's key."""
    return key.partition(":")[2] or key
