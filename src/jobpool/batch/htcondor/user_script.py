"""What an existing submit description of HTCondor's asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobpool.batch.user_script import ScriptWish
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.units import Duration, Memory

__all__ = ["has_directives", "lines_of", "memory_of", "read_user_script"]

_QUEUE = re.compile(r"\s*queue\b(.*)", re.IGNORECASE)
_LINE = re.compile(r"\s*((?:\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*)\s*=(.*)", re.IGNORECASE)
_ALIASES = {"requestcpus": "request_cpus", "requestmemory": "request_memory", "requestgpus": "request_gpus"}
_UNITS = {"": 20, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def has_directives(text: str) -> bool:
    """Say whether it is a submit description: it has a line ``queue``, and lines ``key = value`` before it."""
    lines = text.splitlines()
    queue = next((place for place, line in enumerate(lines) if _QUEUE.fullmatch(line)), None)
    return queue is not None and "executable" in lines_of("\n".join(lines[:queue]))


def lines_of(text: str) -> dict[str, str]:
    """Return the lines ``key = value`` before the first ``queue``, by key in lower case; of several alike the last."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if _QUEUE.fullmatch(line):
            break
        if not line.lstrip().startswith("#") and (match := _LINE.fullmatch(line)):
            key = match[1].lower().removeprefix("+").removeprefix("my.")
            found[_ALIASES.get(key, key)] = match[2].strip()
    return found


def memory_of(text: str) -> Memory | None:
    """Read ``4GB``, ``500M``, or a number of MiB. None: it is an expression."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    return None if match is None else Memory(float(match[1]) * 2 ** _UNITS[match[2].upper()])


def read_user_script(text: str) -> ScriptWish:
    """Read a submit description, and say what it asks for on one machine.

    Raises ``ConfigError`` for what is none.
    """
    if not has_directives(text):
        raise ConfigError(
            "this is no submit description of HTCondor's: it has no line 'queue' with 'executable = ...' before it",
            advice="what jobpool asks HTCondor for is shown by: jobpool explain",
        )
    lines = lines_of(text)
    body = " ".join(lines.get(key, "") for key in ("executable", "arguments"))
    duration = lines.get("allowed_job_duration") or lines.get("allowed_execute_duration") or ""
    return ScriptWish(
        wish=Wish(
            cpus_per_task=_number(lines.get("request_cpus", "1")) or 1,
            memory=memory_of(lines.get("request_memory", "")),
        ),
        request=Request(
            walltime=Duration(int(duration)) if re.fullmatch(r"\d{1,9}", duration) else None,
            account=lines.get("accounting_group"),
            constraint=lines.get("requirements"),
            licenses=tuple(part.strip() for part in lines.get("concurrency_limits", "").split(",") if part.strip()),
        ),
        gpus=_number(lines.get("request_gpus", "")) or 0,
        steps=re.search(r"\b(mpirun|mpiexec)\b", body) is not None,
        sets_threads=True,  # HTCondor sets OMP_NUM_THREADS and the like to the CPUs of the job
        options=tuple(lines),
        unread=tuple(_unread(lines)),
    )


def _unread(lines: Mapping[str, str]) -> list[str]:
    found = []
    for key in ("request_cpus", "request_memory", "request_gpus"):
        value = lines.get(key, "")
        read = memory_of(value) if key == "request_memory" else _number(value)
        if value and read is None:
            found.append(
                f"'{key} = {value}' is an expression, which is not read; where it is no number, no machine fits"
            )
    return found


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text.strip()) else None
