"""How much of its walltime a job has left."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from jobpool.host.home import process_started
from jobpool.model.bounded import LONGEST
from jobpool.model.units import Duration

__all__ = ["clock_note", "process_age", "seconds_left"]

ODD = 30.0
"""Seconds that a clock may be off before somebody is told. Hosts with NTP differ by some milliseconds."""


def process_age() -> float:
    """Return the seconds since this process began: as the job's script, which became the agent."""
    started = process_started(os.getpid())
    assert started is not None  # it is this process
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def seconds_left(
    walltime: float | None, *, began: float | None, ends: float | None, clocks: Sequence[float], age: float
) -> float | None:
    """Return the seconds until the batch system ends the job; None: nobody says.

    Some batch systems say when that is (``began``, ``ends``), by their master's clock, and count what was done before
    the script began. How long that took, each of ``clocks`` tells: this node's, and that of the server's host.
    One that is off tells less than nothing, or too much; so the least is believed, unless it takes half of the time or
    more. Elsewhere, and for local jobs, the script's age alone tells.
    """
    if ends is not None and began is not None:
        walltime = ends - began
    if walltime is None:
        by_clock = [ends - now for now in clocks] if ends is not None else []
        return max((min(left, LONGEST) for left in by_clock if left > 0), default=None)
    left = walltime - age
    if ends is not None:
        before = [now - age - (ends - walltime) for now in clocks]
        likely = min((seconds for seconds in before if seconds >= 0), default=0.0)
        left -= likely if likely < left / 2 else 0.0
    return min(max(0.0, left), LONGEST)


def clock_note(ahead: float) -> str:
    """Say that this node's clock is off by so many seconds; empty when it is not by much."""
    if abs(ahead) < ODD:
        return ""
    off = Duration(max(1, round(abs(ahead) / 60)) * 60)
    which = "ahead of" if ahead > 0 else "behind"
    return f"the clock is {off} {which} that of the script's host; times in logs and of files differ by as much"
