"""The submit description that dask-jobqueue's ``HTCondorCluster`` would submit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "HTCondorCluster"


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the lines of dask-jobqueue 0.9 for these arguments, of which ``memory`` is this many bytes.

    It writes ``RequestCpus = MY.DaskWorkerCores`` and the like, an expression; here stand the values.
    """
    lines = {
        "batch_name": str(arguments.get("name") or "dask-worker"),
        "RequestCpus": str(arguments["cores"]),
        "RequestMemory": str(memory // 2**20),
        **{str(key): str(value) for key, value in dict(arguments.get("job_extra_directives") or {}).items()},
    }
    for name in tuple(arguments.get("job_directives_skip") or ()):
        lines.pop(str(name), None)
    written = [f"{key} = {value}" for key, value in lines.items()]
    return "\n".join([*written, "Arguments = \"-c 'dask worker'\"", "Executable = /bin/sh", "Queue", ""])
