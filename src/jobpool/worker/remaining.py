"""How much of its walltime a job has left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from jobpool.home import process_started

__all__ = ["process_age", "seconds_left"]


def process_age() -> float:
    """Return the seconds since this process began: as the job's script, which became the agent."""
    started = process_started(os.getpid())
    assert started is not None  # it is this process
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def seconds_left(walltime: float | None, environment: Mapping[str, str], *, now: float, age: float) -> float | None:
    """Return the seconds until the batch system ends the job; None: nobody says.

    SLURM says when that is (since 22.05), by its controller's clock, and counts what was done before the script began.
    The script's age tells it too, whatever this node's clock shows: that is not believed when it leaves more time, or
    less than half of it. Elsewhere, and for local jobs, the age alone tells.
    """
    end, start = environment.get("SLURM_JOB_END_TIME"), environment.get("SLURM_JOB_START_TIME")
    if end is not None and start is not None:
        walltime = float(end) - float(start)
    by_age = None if walltime is None else walltime - age
    by_clock = None if end is None else float(end) - now
    if by_clock is not None and by_clock <= (by_age or 0.0) / 2:
        by_clock = None
    known = [left for left in (by_age, by_clock) if left is not None]
    return max(0.0, min(known)) if known else None
