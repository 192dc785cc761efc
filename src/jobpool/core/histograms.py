"""What the calls of a pool used, counted so that a million of them take no more room than a hundred.

A value goes into a bucket whose width is a sixteenth of its power of two, so a quantile is right to 6 %; the largest
value is kept as it is. Everything costs O(1) for each outcome, which may be of many rows.
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
"""Functions that are told apart; a script that makes new ones for ever shall not fill the server's memory."""

OTHERS = "(others)"

BRIEF = 0.010
"""Seconds: shorter calls that come back in one message are counted with what they took on average. To count each of a
million alone would cost a third of what the core takes for it."""


class Histogram:
    """How often values of each size came; values are above 0, or 0."""

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count a value so many times."""
        self.count += count
        self.total += value * count
        if value > self.largest:
            self.largest = value
        mantissa, exponent = math.frexp(value)  # value = mantissa * 2 ** exponent, mantissa in [0.5, 1)
        bucket = exponent * _STEPS + int(mantissa * (2 * _STEPS)) - _STEPS if value else _ZERO
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def merge(self, other: Histogram) -> None:
        """Count all that another one has."""
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    @property
    def mean(self) -> float | None:
        """The mean; None: nothing was counted."""
        return self.total / self.count if self.count else None

    def quantile(self, part: float) -> float | None:
        """Return a value that this part of all values do not exceed, up to 6 % too large. None: there are none."""
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
    """The calls of one function for one request."""

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
    """Of one call, at most."""
    wall: Histogram = field(default_factory=Histogram)
    """Seconds."""
    memory: Histogram = field(default_factory=Histogram)
    """Bytes, at the peak."""

    def add(self, count: int, failures: int, usage: Usage | None) -> None:
        """Count what came of calls. The usage is of all of them together."""
        self.done += count - failures
        self.failed += failures
        if usage is not None:
            self.cpu += usage.cpu
            self.threads = max(self.threads, usage.threads)
            self.wall.add(usage.wall / count, count)
            self.memory.add(int(usage.peak_memory), count)  # plain: it travels

    def merge(self, other: FunctionStatistics) -> None:
        """Add what another one has."""
        self.open += other.open
        self.done += other.done
        self.failed += other.failed
        self.cpu += other.cpu
        self.threads = max(self.threads, other.threads)
        self.wall.merge(other.wall)
        self.memory.merge(other.memory)

    @property
    def cpus(self) -> float | None:
        """CPUs that a call kept busy on average. None: nothing is known, or it took no time."""
        return self.cpu / self.wall.total if self.wall.total > 0 else None


@dataclass(slots=True)
class Sum:
    """Outcomes of one message that are counted together."""

    tally: FunctionStatistics
    calls: int = 0
    failures: int = 0
    count: int = 0
    """Calls of which the usage is known, and what they used together."""
    wall: float = 0.0
    cpu: float = 0.0
    notable: list[Outcome] = field(default_factory=list)
    """Those that were not short, or failed."""
    brief: int = 0
    """Calls of them that were short, and what these took together."""
    brief_wall: float = 0.0
    brief_cpu: float = 0.0
    peak: int = 0
    threads: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add what came of a call, or of rows."""
        count = outcome.rows or 1
        self.calls += count
        if (usage := outcome.usage) is None:
            self._add_notable(count, outcome)
            return
        wall = usage.wall
        self.count += count
        self.wall += wall
        self.cpu += usage.cpu
        if wall > BRIEF * count or outcome.failures:
            self._add_notable(count, outcome)
            return
        self.brief += count
        self.brief_wall += wall
        self.brief_cpu += usage.cpu
        if usage.peak_memory > self.peak:
            self.peak = usage.peak_memory
        if usage.threads > self.threads:
            self.threads = usage.threads

    def _add_notable(self, count: int, outcome: Outcome) -> None:
        self.tally.add(count, outcome.failures, outcome.usage)
        self.failures += outcome.failures
        self.notable.append(outcome)

    def close(self) -> None:
        """Count the short ones: all with the largest peak among them."""
        if self.brief:
            usage = Usage(wall=self.brief_wall, cpu=self.brief_cpu, peak_memory=Memory(self.peak), threads=self.threads)
            self.tally.add(self.brief, 0, usage)


class Statistics:
    """All tallies of a pool."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], FunctionStatistics] = {}
        self._by_name: dict[tuple[str, str], FunctionStatistics] = {}

    def of(self, function: str, request: str) -> FunctionStatistics:
        """Return the tally for the calls of a function, by its key, and a request."""
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
