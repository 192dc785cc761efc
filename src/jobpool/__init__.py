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
    from jobpool.checking import check
    from jobpool.core.proposal import Proposal
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
        NotUnpicklable,
        PoolBroken,
        RequestRefused,
    )
    from jobpool.executor import JobPoolExecutor
    from jobpool.explaining import explain
    from jobpool.explaining_scripts import explain_cluster, explain_script
    from jobpool.future import JobFuture
    from jobpool.generators import SameRandomNumbers
    from jobpool.model import Retry
    from jobpool.pool import Pool
    from jobpool.profile import Profile
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
    "NotUnpicklable",
    "Pool",
    "PoolBroken",
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
    "JobPoolExecutor": "jobpool.executor",
    "JobFuture": "jobpool.future",
    "Duration": "jobpool.units",
    "Memory": "jobpool.units",
    "Pool": "jobpool.pool",
    "Profile": "jobpool.profile",
    "Proposal": "jobpool.core.proposal",
    "Retry": "jobpool.model",
    "SameRandomNumbers": "jobpool.generators",
    "check": "jobpool.checking",
    "explain": "jobpool.explaining",
    "explain_cluster": "jobpool.explaining_scripts",
    "explain_script": "jobpool.explaining_scripts",
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
    from jobpool.joblib_backend import JobPoolBackend

    joblib.register_parallel_backend("jobpool", JobPoolBackend)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "jobpool.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
