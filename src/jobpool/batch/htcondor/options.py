"""Lines of a submit description that are the user's own (``job_extra``), and which ones are the pool's.

======================  ============================================================================================
the pool's              jobs are found, counted, or ended by it: refused, with what to use instead
a keyword's             ``request_memory``, ...: refused where the description says something else already
free                    all others: HTCondor takes them, and warns of those that it does not know
======================  ============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

__all__ = ["key_of", "problems_of_extra"]

_LINE = re.compile(r"\s*((?:\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*)\s*=(.*)", re.IGNORECASE)

_OWNED = {
    "batch_name": "the pool finds its jobs by it; use name=",
    "executable": "the pool writes the script; use setup= for lines of your own",
    "arguments": "the pool writes the script; use setup= for lines of your own",
    "transfer_executable": "the pool writes the script; use setup= for lines of your own",
    "environment": "the script hands your variables on; use setup= for others",
    "input": "the job reads nothing",
    "output": "the pool reads its jobs' logs; use log_directory=",
    "error": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "stream_output": "the pool reads its jobs' logs while they are written",
    "stream_error": "the pool reads its jobs' logs while they are written",
    "transfer_output_files": "results come back over the network, and no files",
    "initialdir": "jobs run in the directory where the pool is made; change to it first",
    "hold": "no job would start",
    "leave_in_queue": "jobs that ended would stay in the queue",
    "periodic_remove": "the pool removes by it what came to its end, and forbids a second run",
    "on_exit_remove": "calls of a lost job run again in another job, and the job does not",
    "max_retries": "calls of a lost job run again in another job, and the job does not",
    "max_materialize": "the pool counts its jobs itself; use max_workers=",
    "kill_sig": "an agent takes its leave when it is sent SIGTERM",
    "universe": "jobs are of the vanilla universe; for a container use 'container_image = ...'",
}
"""Lines that only the pool may write, each with the reason and what to use instead."""

_KEYWORDS = {
    "request_cpus": "cores=",
    "request_memory": "memory=",
    "request_gpus": "gpus=",
    "request_disk": "system_options={'request_disk': ...}",
    "allowed_job_duration": "walltime=",
    "accounting_group": "account=",
    "concurrency_limits": "licenses=",
    "requirements": "constraint= and exclude=",
    "should_transfer_files": "system_options={'should_transfer_files': ...}",
}
"""Lines with a keyword of their own, which say the same where the description has them already."""


def key_of(line: str) -> str | None:
    """Return what a line sets, in lower case. None: it is not of the form ``key = value``."""
    match = _LINE.fullmatch(line)
    return None if match is None else match[1].lower()


def problems_of_extra(extra: Iterable[str], stated: Collection[str]) -> Iterator[str]:
    """Say what is wrong with the user's own lines. ``stated``: the keys of the lines that are there already."""
    for line in extra:
        key = key_of(line)
        if key is None:
            yield f"job_extra={line!r} cannot be used: it is not a line 'key = value' of a submit description"
        elif line.rstrip().endswith("\\"):
            yield f"job_extra={line!r} cannot be used: with a backslash at its end it would go on in the next line"
        elif key in _OWNED:
            yield f"job_extra={line!r} cannot be used: {key} is the pool's own: {_OWNED[key]}"
        elif key in stated:
            use = _KEYWORDS.get(key)
            how = f"use {use}, or leave that out" if use else "leave that out"
            yield f"job_extra={line!r} cannot be used: the description has {key} already; {how} with job_skip=['{key}']"
