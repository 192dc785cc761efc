"""The job script that dask-jobqueue's ``OARCluster`` would submit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "OARCluster"


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the directives of dask-jobqueue 0.9 for these arguments, of which ``memory`` is this many bytes."""
    cores = int(arguments.get("job_cpu") or arguments["cores"])
    skip = tuple(arguments.get("job_directives_skip") or ())
    spec = arguments.get("resource_spec") or f"/nodes=1/core={cores}"
    lines = [
        "-n dask-worker",
        f"-q {arguments['queue']}" if arguments.get("queue") else "",
        f"--project {arguments['project']}" if arguments.get("project") else "",
        f"-l {spec},walltime={arguments.get('walltime') or '00:30:00'}",
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    extra = [str(line) for line in arguments.get("job_extra_directives") or ()]
    properties = _memory(arguments.get("memory_per_core_property_name"), cores, memory, extra)
    prologue = arguments.get("job_script_prologue") or ()
    directives = (f"#OAR {line}" for line in (*kept, *extra, *properties))
    return "\n".join(["#!/usr/bin/env bash", *directives, *prologue, "dask worker", ""])


def _memory(name: Any, cores: int, memory: int, extra: list[str]) -> list[str]:
    """Write the property for memory, beside the last one of the user's own: OAR heeds the last ``-p`` alone."""
    if name in (None, "", "not_applicable"):
        return []
    wanted = f"{name}>={-(-memory // (cores * 2**20))}"
    own = next((line.replace("-p ", "") for line in reversed(extra) if line.startswith("-p")), None)
    return [f"-p {wanted}" if own is None else f"-p '{own} AND {wanted}'"]
