"""The job script that dask-jobqueue's ``SLURMCluster`` would submit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "SLURMCluster"


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the directives of dask-jobqueue 0.9 for these arguments, of which ``memory`` is this many bytes."""
    account = arguments.get("account") or arguments.get("project")
    skip = tuple(arguments.get("job_directives_skip") or ())
    lines = [
        f"-p {arguments['queue']}" if arguments.get("queue") else "",
        f"-A {account}" if account else "",
        "-n 1",
        f"--cpus-per-task={arguments.get('job_cpu') or arguments['cores']}",
        f"--mem={arguments.get('job_mem') or _size(memory)}",
        f"-t {arguments.get('walltime') or '00:30:00'}",
        *(arguments.get("job_extra_directives") or ()),
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    prologue = arguments.get("job_script_prologue") or ()
    return "\n".join(["#!/usr/bin/env bash", *(f"#SBATCH {line}" for line in kept), *prologue, "dask worker", ""])


def _size(size: int) -> str:
    """Write a size as dask-jobqueue's ``slurm_format_bytes_ceil``: rounded up, in the largest unit that it passes."""
    for unit, letter in ((2**30, "G"), (2**20, "M"), (2**10, "K")):
        if size >= 10 ** {"G": 9, "M": 6, "K": 3}[letter]:
            return f"{-(-size // unit)}{letter}"
    return "1K"
