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
    from jobpool.executor.executor import JobPoolExecutor
    from jobpool.executor.future import JobFuture
    from jobpool.faces.pool import Pool
    from jobpool.model.errors import (
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
        NotUnpicklable,
        PoolBroken,
        RequestRefused,
    )
    from jobpool.model.request import Retry
    from jobpool.model.status import JobStatus, PoolStatus
    from jobpool.model.units import Duration, Memory
    from jobpool.serialize.random_generators import SameRandomNumbers
    from jobpool.sizing.proposal import Proposal
    from jobpool.tools.check import check
    from jobpool.tools.explain import explain
    from jobpool.tools.explain_script import explain_cluster, explain_script
    from jobpool.tools.profile import Profile

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
    "JobStatus",
    "JobsFailed",
    "Memory",
    "NotPicklable",
    "NotUnpicklable",
    "Pool",
    "PoolBroken",
    "PoolStatus",
    "Profile",
    "Proposal",
    "RequestRefused",
    "Retry",
    "SameRandomNumbers",
    "check",
    "explain",
    "explain_cluster",
    "explain_script",
    "register_joblib",
]

# Loaded when first used: ``import jobpool`` costs a few milliseconds.
_HOMES = {
    "JobPoolExecutor": "jobpool.executor.executor",
    "JobFuture": "jobpool.executor.future",
    "Duration": "jobpool.model.units",
    "JobStatus": "jobpool.model.status",
    "Memory": "jobpool.model.units",
    "Pool": "jobpool.faces.pool",
    "PoolStatus": "jobpool.model.status",
    "Profile": "jobpool.tools.profile",
    "Proposal": "jobpool.sizing.proposal",
    "Retry": "jobpool.model.request",
    "SameRandomNumbers": "jobpool.serialize.random_generators",
    "check": "jobpool.tools.check",
    "explain": "jobpool.tools.explain",
    "explain_cluster": "jobpool.tools.explain_script",
    "explain_script": "jobpool.tools.explain_script",
}


def register_joblib() -> None:
    """Make ``joblib.parallel_config(backend="jobpool")`` known to joblib. Once more does no harm.

    The parameters of the backend are ``executor=``, a :class:`JobPoolExecutor` to use, or the keywords of one that is
    made when it is needed. That one ends when nothing uses the backend any more: after the block of
    ``parallel_config``, and after the last ``Parallel`` or generator of results that was made there.

    Raises:
        ImportError: joblib is not installed.
    """
    try:
        import joblib
    except ImportError as error:
        raise ImportError("joblib is not installed: pip install 'jobpool[joblib]'", name="joblib") from error
    from jobpool.faces.joblib_backend import JobPoolBackend

    joblib.register_parallel_backend("jobpool", JobPoolBackend)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "jobpool.model.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
