"""What a call uses: measured by its worker for each call, and by the agent, over the whole process tree, for long ones.

The worker's part costs about 4 us a call: two getrusage(2) before and after, one write to /proc/self/clear_refs, which
sets the peak of the resident memory back to what it is now (proc(5), value 5; it walks no pages), so that getrusage's
``ru_maxrss`` is the peak of this call and not of the process's life.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Collection
from pathlib import Path

from jobpool.worker.linux import descendants

__all__ = ["CallMeter", "tree_memory"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_RESET_PEAK = b"5"


class CallMeter:
    """Measures one call after the other in the process that runs them."""

    def __init__(self) -> None:
        # Descriptors of this process, so make it after the fork.
        self._peak = _open("/proc/self/clear_refs", os.O_WRONLY)
        self._tasks = _open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
        self.start()

    def start(self) -> None:
        """Begin a call."""
        if self._peak is not None:
            try:
                os.pwrite(self._peak, _RESET_PEAK, 0)
            except OSError:
                self._peak = None  # the kernel has no such reset: peaks are those of the process's life from now on
        self._cpu = _cpu()
        self._wall = time.perf_counter()

    def stop(self) -> tuple[float, float, int, int]:
        """End it and return (wall seconds, CPU seconds, peak memory in bytes, threads)."""
        wall = time.perf_counter() - self._wall
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime - self._cpu
        # The directory of a process's threads has a link for each of them, besides . and ..
        threads = os.fstat(self._tasks).st_nlink - 2 if self._tasks is not None else 1
        return wall, cpu, own.ru_maxrss * 1024, threads


def tree_memory(roots: Collection[int]) -> dict[int, int]:
    """Return the memory in bytes that each process in ``roots`` uses now, with all its descendants.

    Resident memory of a process alone; where there are several, each page is counted in shares (PSS): a pool of ten
    processes that a call forks does not use ten times the call's memory. Costs two small reads for each process, about
    30 us; PSS walks page tables, about 10 ms for a GiB.
    """
    found = {}
    for root in roots:
        resident = {pid: memory for pid in (root, *descendants(root)) if (memory := _resident(pid)) is not None}
        if len(resident) > 1:
            found[root] = sum(_shared_memory(pid, memory) for pid, memory in resident.items())
        elif root in resident:
            found[root] = resident[root]
    return found


def _resident(pid: int) -> int | None:
    """Return the resident memory of a process in bytes; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except OSError:
        return None


def _shared_memory(pid: int, resident: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # ended just now, another user's (setuid), or a kernel before 4.14
    return resident


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
