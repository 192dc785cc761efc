"""The settings of the core, from what the pool is started with and what the site allows."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace

from jobpool.batch.base import BatchSystem
from jobpool.core.scaling.auto_size import GROWTH, generous
from jobpool.core.settings import CoreSettings
from jobpool.host.home import PoolDirectory
from jobpool.model.site import Limits
from jobpool.server.spec import Spec
from jobpool.site.check import choose_partition

__all__ = ["core_settings", "with_partition"]

SHUTDOWN = 30.0
"""Seconds that a shutdown waits for cancelled jobs to go, where the batch system kills them sooner."""

LONGEST_SHUTDOWN = 60.0
"""Seconds that it waits at most where they have more time to end. Whoever waits for a server counts on it:
``event_loop.STOPPING``, ``connection.ABORT_PATIENCE``, ``connection.END_PATIENCE``, ``cli.pools.STOP_PATIENCE``."""


def with_partition(spec: Spec, limits: Limits) -> Spec:
    """Put the best partition in the place of ``"auto"``; for sizes that are to be found, one for what is tried."""
    asked, sizes = spec.settings.request, spec.settings.auto
    tried = generous(asked, sizes, limits) if sizes else asked
    request = replace(asked, partition=choose_partition(tried, limits).partition)
    same = request == asked
    return spec if same else replace(spec, settings=replace(spec.settings, request=request))


def core_settings(directory: PoolDirectory, spec: Spec, system: BatchSystem, limits: Limits) -> CoreSettings:
    """Return what the core of this pool decides by. Each call names a run of its own."""
    settings, retry, trial = spec.settings, spec.retry, None
    if settings.auto:
        trial = generous(settings.request, settings.auto, limits)
    if "memory" in settings.auto and retry.memory_growth is None:
        retry = replace(retry, memory_growth=GROWTH)  # what was found is right for nearly all calls, and not for all
    return CoreSettings(
        pool=directory.name,
        run=secrets.token_hex(4),
        request=settings.request,
        auto=settings.auto,
        trial=trial,
        limits=limits,
        array_size=_array_size(settings.arrays),
        max_workers=settings.max_workers,
        min_workers=settings.min_workers,
        idle_timeout=math.inf if settings.idle_timeout is None else float(settings.idle_timeout),
        settle=system.settle,
        shutdown_patience=min(LONGEST_SHUTDOWN, max(SHUTDOWN, system.notices(limits).after_delete)),
        retry=retry,
    )


def _array_size(arrays: bool | int) -> int | None:
    return (None if arrays else 1) if isinstance(arrays, bool) else arrays
