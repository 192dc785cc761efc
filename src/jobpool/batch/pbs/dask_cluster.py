"""The job script that dask-jobqueue's ``PBSCluster`` would submit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "PBSCluster"


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the directives of dask-jobqueue 0.9 for these arguments, of which ``memory`` is this many bytes."""
    account = arguments.get("account") or arguments.get("project")
    skip = tuple(arguments.get("job_directives_skip") or ())
    spec = arguments.get("resource_spec") or f"select=1:ncpus={arguments['cores']}:mem={_size(memory)}"
    lines = [
        f"-N {arguments.get('job_name') or arguments.get('name') or 'dask-worker'}",
        f"-q {arguments['queue']}" if arguments.get("queue") else "",
        f"-A {account}" if account else "",
        f"-l {spec}",
        f"-l walltime={arguments.get('walltime') or '00:30:00'}",
        *(arguments.get("job_extra_directives") or ()),
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    prologue = arguments.get("job_script_prologue") or ()
    return "\n".join(["#!/usr/bin/env bash", *(f"#PBS {line}" for line in kept), *prologue, "dask worker", ""])


def _size(size: int) -> str:
    """Write a size as dask-jobqueue's ``pbs_format_bytes_ceil``: rounded up, at most four digits."""
    if size >= 10 * 1024**3:
        return f"{math.ceil(size / 1024**3)}GB"
    if size >= 10 * 1024**2:
        return f"{math.ceil(size / 1024**2)}MB"
    return f"{math.ceil(size / 1024)}kB" if size >= 10 * 1024 else f"{size}B"
