"""Processes as the kernel tells them: who lives, who descends from whom, which job one belongs to.

Linux has what it takes to leave nothing behind (a subreaper, a signal at the parent's death, /proc). Elsewhere jobs
run and end all the same, but what they leave behind stays.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "JOB_VARIABLE",
    "Process",
    "adopt_orphans",
    "alive",
    "die_with_parent",
    "kill",
    "marked",
    "start_time",
    "table",
]

JOB_VARIABLE = "JOBPOOL_LOCAL_JOB"
"""Variable with the job's id in the environment of all its processes: how one is recognised whose parents are gone."""

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


class Process(NamedTuple):
    """One row of the process table."""

    pid: int
    parent: int
    session: int
    start: str
    """Clock ticks from the machine's start to the process's: with the pid, this names one process for ever."""


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents die."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent dies, by kill -9 too. Survives exec, not fork."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel knew.
        os.kill(os.getpid(), signal.SIGKILL)


def table() -> dict[int, Process]:
    """Return all processes that are no zombies (none where there is no /proc)."""
    return {process.pid: process for pid in _pids() if (process := _process(pid))}


def start_time(pid: int) -> str:
    """Say when a process started, comparable with itself only; empty when there is no such process."""
    if _LINUX:
        process = _process(pid)
        return process.start if process else ""
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


def alive(pid: int, start: str) -> bool:
    """Tell whether this very process lives, not another one that got its number."""
    return bool(start) and start_time(pid) == start


def marked(pid: int, prefix: str) -> bool:
    """Tell whether a process carries a job's id that begins with ``prefix``."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False
    return f"\0{JOB_VARIABLE}={prefix}".encode() in b"\0" + variables


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal, if there is still somebody to get it."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    if _LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _pids() -> Iterator[int]:
    if _LINUX:
        yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _process(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold blanks and brackets itself. Then: state, parent, group, session, ... (proc(5)).
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), int(fields[3]), fields[19])
