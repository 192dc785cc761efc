"""More memory, or a longer walltime, for a call that its job was too small for; within what the site allows.

A grown request is a request of its own: its jobs are asked for beside the others, as many as there are calls for it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check, partitions_of

__all__ = ["LONGER", "longer", "roomier"]

LONGER = 2.0
"""A call that had a whole walltime gets one this many times as long."""

_GRAIN = 2**20
"""Bytes: the grain of the batch systems."""


def roomier(request: Request, used: int, retry: Retry, limits: Limits) -> Request | None:
    """Return a request with more memory for one worker, alone in its job. None: there is none, or it is not wanted.

    ``used`` is what the call was seen to use, in bytes.
    """
    if retry.memory_growth is None:
        return None
    asked = request.memory or 0
    wanted = math.ceil(max(asked, used) * retry.memory_growth / _GRAIN) * _GRAIN
    for most in (retry.max_memory, limits.max_memory):
        if isinstance(most, Memory):
            wanted = min(wanted, most)
    grown = replace(request, memory=Memory(wanted), workers_per_job=1)
    for problem in check(grown, limits):
        if isinstance(problem.nearest, Memory):
            grown = replace(grown, memory=problem.nearest)
    if check(grown, limits) or grown.memory is None or grown.memory <= asked:
        return None
    return grown


def longer(request: Request, limits: Limits) -> Request | None:
    """Return a request with a longer walltime. None: the partition allows none, or nobody knows what it allows."""
    found = [
        _longer(request, partition.default_time, partition.max_time) for partition in partitions_of(request, limits)
    ]
    walltime = max((walltime for walltime in found if walltime is not None), default=None)
    if walltime is None:
        return None
    grown = replace(request, walltime=walltime)
    return None if check(grown, limits) else grown


def _longer(request: Request, default: Duration | None, most: Duration | None) -> Duration | None:
    had = request.walltime or default
    if had is None:
        return None
    walltime = Duration(had * LONGER if most is None else min(had * LONGER, most))
    return walltime if walltime > had else None
