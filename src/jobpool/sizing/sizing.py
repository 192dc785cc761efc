"""From what a few calls used to what to ask for: arithmetic alone.

What is known is a handful of calls, so the headroom follows from how many they were and how much they differed; the
largest one counts, not a quantile that five calls do not have.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobpool.model.units import Duration, Memory

__all__ = [
    "Growth",
    "Look",
    "Measured",
    "Spread",
    "busiest",
    "busy",
    "cores_for",
    "growth",
    "headroom",
    "job_seconds",
    "margin",
    "serving",
    "slowdown",
    "windows",
]

WINDOW = 0.25
"""Seconds over which CPU use is averaged: the kernel counts other processes' in steps of 0.01 s."""

BUSY = 0.75
"""Part of the cores that calls have to keep busy: idle ones are charged, and other calls could use them."""

LEAK = 64 * 2**10
"""Bytes for each call. Less is 64 MiB in a thousand calls, and cannot be told from an allocator's habits."""

LEAK_STEPS = 3
"""Steps from call to call that show a leak; of fewer, one may be a cache that fills."""


START = 60.0
"""Seconds of a job's walltime for its start: a cold Python on a network file system."""

SERVE = 3600.0
"""Seconds that a job should serve, when nobody says how many calls there will be: its start is then a small part."""

CALLS_IN_A_JOB = 10
"""A call is not begun when too little time is left for it, so the end of a job is idle for up to one call."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a call's process tree did between two looks at it, and used at the second."""

    at: float
    """Seconds since the call began."""
    cpus: float
    """CPU seconds for each second since the look before."""
    memory: int
    """Bytes; shared pages count once."""
    threads: int
    """Threads of all its processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one call used, with all processes that it started."""

    sample: int = 0
    """Which of the samples it was called with, from 0."""
    worker: str = ""
    """Host and process that ran it: growth is of one process."""
    wall: float
    """Seconds that it took."""
    cpu: float
    """CPU seconds."""
    before: int
    """Bytes that the worker held when the call began."""
    peak: int
    """Bytes at its peak, as its limit counts."""
    after: int
    """Bytes that the worker held when result and arguments were gone."""
    threads: int
    """Most of all processes at once."""
    processes: int
    """Most processes at once."""
    read: int | None
    """Bytes read, from a disk or a cache. None: the kernel does not say."""
    written: int | None
    """Bytes written. None: the kernel does not say."""
    looks: tuple[Look, ...] = ()
    """What was seen while it ran, in the order of time."""

    @property
    def cpus(self) -> float:
        """CPUs that it used on average."""
        return self.cpu / self.wall if self.wall > 0 else 0.0

    @property
    def peak_cpus(self) -> float:
        """CPUs that it used over its busiest quarter of a second."""
        return busiest(self.looks) or self.cpus


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of what several calls used."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Make it of at least one value."""
        known = list(values)
        return cls(min(known), statistics.median(known), max(known))

    @property
    def relative(self) -> float:
        """How far the ends are apart, as a part of the larger one: 0 (alike) to 1."""
        return (self.most - self.least) / self.most if self.most > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """How a worker's memory changes from call to call."""

    each: Memory
    """Bytes of the median step; 0 when it does not grow."""
    steps: int
    """Steps that were seen. Of fewer than three nothing can be said, and ``known`` is false."""

    @property
    def known(self) -> bool:
        """Whether enough was seen to tell a leak from a cache that fills."""
        return self.steps >= LEAK_STEPS

    @property
    def leaks(self) -> bool:
        """Whether it is a leak."""
        return self.known and self.each >= LEAK


def growth(calls: Sequence[Measured]) -> Growth:
    """Say how much more memory a worker holds after each call than after the one before."""
    pairs = itertools.pairwise(calls)
    steps = [later.after - earlier.after for earlier, later in pairs if earlier.worker == later.worker]
    if len(steps) < LEAK_STEPS:
        return Growth(Memory(0), len(steps))
    # A leak grows at (nearly) every call; an allocator that settles does not.
    grown = sum(step >= LEAK / 2 for step in steps)
    typical = statistics.median(steps) if grown >= 0.75 * len(steps) else 0
    return Growth(Memory(max(0, int(typical))), len(steps))


def headroom(values: Sequence[float]) -> float:
    """Return the factor on the largest of ``values`` below which nearly all others should stay: 1.15 to 1.4.

    One value says little about the next one, hundred say much: the margin shrinks with the root of their number, and is
    wider where they differ.
    """
    return margin(len(values), Spread.of(values).relative)


def margin(count: int, spread: float) -> float:
    """Return the headroom for so many values that differ by this part of the largest one."""
    return min(1.4, 1.15 + (0.25 + 0.5 * spread) / math.sqrt(count))


def windows(looks: Sequence[Look]) -> list[tuple[float, float]]:
    """Join looks into stretches of at least a window: (seconds, CPUs used in them)."""
    joined: list[tuple[float, float]] = []
    seconds = used = begin = 0.0
    for look in looks:
        length, begin = look.at - begin, look.at
        seconds, used = seconds + length, used + look.cpus * length
        if seconds >= WINDOW:
            joined.append((seconds, used / seconds))
            seconds = used = 0.0
    if seconds > 0 and joined:  # what is left belongs to the last one: alone it would be too short
        last, cpus = joined.pop()
        joined.append((last + seconds, (last * cpus + used) / (last + seconds)))
    elif seconds > 0:
        joined.append((seconds, used / seconds))
    return joined


def busiest(looks: Sequence[Look]) -> float:
    """Return the CPUs used in the busiest window; 0 without looks."""
    return max((cpus for _, cpus in windows(looks)), default=0.0)


def slowdown(call: Measured, cpus: int) -> float:
    """Say how many times as long the call takes with so many CPUs: where it used more, it has to wait."""
    parts = windows(call.looks) or [(call.wall, call.cpus)]
    total = sum(seconds for seconds, _ in parts)
    return sum(seconds * max(1.0, used / cpus) for seconds, used in parts) / total if total > 0 else 1.0


def busy(calls: Sequence[Measured], cpus: int) -> float:
    """Say which part of so many CPUs the calls would keep busy."""
    wall = sum(call.wall * slowdown(call, cpus) for call in calls)
    return min(1.0, sum(call.cpu for call in calls) / (cpus * wall)) if wall > 0 else 0.0


def cores_for(calls: Sequence[Measured], threads_per_core: int, most: int) -> int:
    """Return the largest number of cores that the calls keep busy enough."""
    return max((cores for cores in range(2, most + 1) if busy(calls, cores * threads_per_core) >= BUSY), default=1)


def serving(mean: float) -> float:
    """Return how long a job should serve for calls that take so long."""
    return max(SERVE, CALLS_IN_A_JOB * mean)


def job_seconds(one: float, mean: float, share: float | None) -> float:
    """Return the walltime to ask for.

    Args:
        one: Seconds of the longest call, with its headroom.
        mean: Seconds of a call on average.
        share: Seconds of the calls that each worker will get, with headroom. None: not known.
    """
    return START + max(one, serving(mean) if share is None else min(share, serving(mean)))


def round_memory(size: float) -> Memory:
    """Round up to a grain that adds a few percent: 4 MiB, 16 from 256 MiB on, 64 from a GiB on, 256 from 4 GiB on."""
    mebibytes = size / 2**20
    grain = 4 if mebibytes < 256 else 16 if mebibytes < 1024 else 64 if mebibytes < 4096 else 256
    return Memory(math.ceil(mebibytes / grain) * grain * 2**20)


def round_time(seconds: float) -> Duration:
    """Round up to whole minutes, 5 minutes from an hour on, 30 from six hours on."""
    grain = 60 if seconds < 3600 else 300 if seconds < 6 * 3600 else 1800
    return Duration(math.ceil(seconds / grain) * grain)
