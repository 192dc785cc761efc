"""The job script that dask-jobqueue's ``LSFCluster`` would submit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["CLUSTER", "cluster_script"]

CLUSTER = "LSFCluster"

_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def cluster_script(arguments: Mapping[str, Any], memory: int) -> str:
    """Write the directives of dask-jobqueue 0.9 for these arguments, of which ``memory`` is this many bytes.

    It writes memory as a bare number of the unit in lsf.conf, or of ``lsf_units``; KB where neither is known.
    """
    cores = int(arguments.get("ncpus") or arguments.get("cores") or 1)
    skip = tuple(arguments.get("job_directives_skip") or ())
    unit = str(arguments.get("lsf_units") or "kb").lower()[:1]
    lines = [
        f"-q {arguments['queue']}" if arguments.get("queue") else "",
        f'-P "{arguments["project"]}"' if arguments.get("project") else "",
        f"-n {cores}",
        '-R "span[hosts=1]"' if cores > 1 else "",
        f"-M {math.ceil(int(arguments.get('mem') or memory) / 1000 ** _POWERS.get(unit, 1))}",
        f"-W {arguments.get('walltime') or '00:30'}",
    ]
    kept = [line for line in lines if line and not any(word in line for word in skip)]
    kept += [str(line) for line in arguments.get("job_extra_directives") or ()]
    prologue = arguments.get("job_script_prologue") or ()
    return "\n".join(["#!/usr/bin/env bash", *(f"#BSUB {line}" for line in kept), *prologue, "dask worker", ""])
