"""The job script that dask-jobqueue's ``SGECluster`` would submit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "SGECluster"


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the directives of dask-jobqueue 0.9 for these arguments. It asks for no memory and no slots by itself."""
    project = arguments.get("project")
    skip = tuple(arguments.get("job_directives_skip") or ())
    lines = [
        "-N dask-worker",
        f"-q {arguments['queue']}" if arguments.get("queue") else "",
        f"-P {project}" if project else "",
        f"-l {arguments['resource_spec']}" if arguments.get("resource_spec") else "",
        f"-l h_rt={arguments.get('walltime') or '00:30:00'}",
        "-cwd",
        "-j y",
        *(arguments.get("job_extra_directives") or ()),
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    prologue = arguments.get("job_script_prologue") or ()
    return "\n".join(["#!/usr/bin/env bash", *(f"#$ {line}" for line in kept), *prologue, "dask worker", ""])
