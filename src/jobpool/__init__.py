"""jobpool: an Executor whose workers are batch jobs.

::

    from jobpool import JobPoolExecutor

    with JobPoolExecutor(max_workers=20, cores=2, memory="8 GiB", walltime="5h") as pool:
        for result in pool.map(analyse, videos, progress=True):
            ...
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobpool.errors import (
        BatchSystemUnavailable,
        CallCrashed,
        CallFailed,
        CallOutOfMemory,
        CallTimedOut,
        ConfigError,
        InitializerFailed,
        JobLost,
        JobPoolError,
        JobsFailed,
        NotPicklable,
        PoolBroken,
        RequestRefused,
    )
    from jobpool.executor import JobPoolExecutor
    from jobpool.future import JobFuture
    from jobpool.pool import Pool
    from jobpool.units import Duration, Memory

__all__ = [
    "BatchSystemUnavailable",
    "CallCrashed",
    "CallFailed",
    "CallOutOfMemory",
    "CallTimedOut",
    "ConfigError",
    "Duration",
    "InitializerFailed",
    "JobFuture",
    "JobLost",
    "JobPoolError",
    "JobPoolExecutor",
    "JobsFailed",
    "Memory",
    "NotPicklable",
    "Pool",
    "PoolBroken",
    "RequestRefused",
]

# Loaded when first used: ``import jobpool`` costs a few milliseconds.
_HOMES = {
    "JobPoolExecutor": "jobpool.executor",
    "JobFuture": "jobpool.future",
    "Duration": "jobpool.units",
    "Memory": "jobpool.units",
    "Pool": "jobpool.pool",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "jobpool.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
