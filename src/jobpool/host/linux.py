"""What the kernel tells of processes, and asks to be told: prctl(2) and proc(5), without psutil.

Workers and the fork-server import this; it has to be light.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

__all__ = [
    "descendants",
    "die_with_parent",
    "read",
    "set_child_subreaper",
    "thread_count",
    "total_memory",
    "trim_malloc",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_trim = getattr(_libc, "malloc_trim", None)


def set_child_subreaper() -> None:
    """Make orphaned descendants children of this process rather than of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have this process killed when ``parent``, its parent, dies; exit at once if it is dead already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def thread_count() -> int:
    """Return the number of threads of this process, those of C libraries included."""
    return Path("/proc/self/task").stat().st_nlink - 2


def total_memory() -> int:
    """Return the memory of this machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def trim_malloc() -> None:
    """Have this process's malloc give free memory back to the system; there is no such call in musl."""
    if _trim is not None:
        _trim(0)


def read(path: str) -> bytes:
    """Return what a file of /proc says, empty when it is gone: a third of what ``Path`` takes."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = b""
        while part := os.read(file, 65536):
            data += part
        return data
    except OSError:  # the process ended after the open
        return b""
    finally:
        os.close(file)


def descendants(pid: int) -> list[int]:
    """Return the living descendants of a process, children before grandchildren. Empty when it is gone."""
    found = _children(pid)
    for child in found:  # grows while it is walked
        found += _children(child)
    return found


def _children(pid: int) -> list[int]:
    # One file per thread: a child belongs to the thread that forked it.
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - half the time
    except OSError:
        return []
    return [int(child) for thread in threads for child in read(f"/proc/{pid}/task/{thread}/children").split()]


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl({option})")
