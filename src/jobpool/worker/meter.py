"""Measures what a call uses: the worker measures each call, and the agent measures the process tree of long calls.

The worker's part costs about 4 us for a call: getrusage(2) before and after, and one write to /proc/self/clear_refs,
which resets the peak of the resident memory (proc(5), value 5; it walks no pages), so that getrusage's ``ru_maxrss`` is
the peak of this call and not of the whole process.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Mapping

from jobpool.host.linux import descendants, read

__all__ = ["CallMeter", "is_gone", "own_memory", "shared_out", "tree_memory"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_RESET_PEAK = b"5"
_HELD = re.compile(rb"^Rss(Anon|Shmem):\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(rb"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_SHARES = re.compile(rb"^Pss(|_Anon|_Shmem):\s+(\d+) kB", re.MULTILINE)


class CallMeter:
    """Measures one call after another in the process that runs them."""

    def __init__(self) -> None:
        # These are descriptors of this process: make the meter after the fork.
        self._peak = _open("/proc/self/clear_refs", os.O_WRONLY)
        self._tasks = _open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
        self.start()

    def start(self) -> None:
        """Begin a call."""
        if self._peak is not None:
            try:
                os.pwrite(self._peak, _RESET_PEAK, 0)
            except OSError:
                self._peak = None  # the kernel cannot reset the peak: from now on peaks are those of the whole process
        self._cpu = _cpu()
        self._wall = time.perf_counter()

    @property
    def fresh(self) -> bool:
        """Whether peaks are those of single calls. Otherwise the kernel cannot reset them: they are those of the
        process."""
        return self._peak is not None

    def stop(self) -> tuple[float, float, int, int]:
        """End the call and return (wall seconds, CPU seconds, peak memory in bytes, threads)."""
        wall = time.perf_counter() - self._wall
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime - self._cpu
        cpu = max(0.0, cpu)  # each part is rounded down to microseconds, and their sum may step back
        # The directory of a process's threads has a link for each of them, besides . and ..
        threads = max(1, os.fstat(self._tasks).st_nlink - 2) if self._tasks is not None else 1
        return wall, cpu, own.ru_maxrss * 1024, threads


def tree_memory(root: int) -> dict[int, int]:
    """Return the current memory in bytes of a process and each of its descendants, by process id.

    This is anonymous and shared memory, which is free only when the processes end. Pages of mapped files do not count:
    the kernel drops them when it needs memory. Empty if the root has ended. Costs about 30 us for each process.
    """
    if (own := _held(root)) is None:
        return {}
    return {root: own} | {pid: memory for pid in descendants(root) if (memory := _held(pid)) is not None}


def shared_out(tree: Mapping[int, int]) -> int:
    """Return the memory of a process tree in bytes, with each shared page counted once (PSS).

    A call that forks a pool of ten processes does not use ten times its memory. PSS walks page tables, which takes
    about 10 ms for a GiB.
    """
    return sum(_share(pid, held) for pid, held in tree.items())


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if its parent has not waited for it."""
    return _held(pid) is None


def own_memory() -> tuple[int, int]:
    """Return the resident memory of this process in bytes, and how much of it is anonymous memory."""
    _, resident, shared, *_ = read("/proc/self/statm").split()
    return int(resident) * _PAGE, (int(resident) - int(shared)) * _PAGE


def _held(pid: int) -> int | None:
    """Return the memory of one process in bytes; None if it has ended, or is a zombie."""
    text = read(f"/proc/{pid}/status")
    found = dict(_HELD.findall(text))
    if b"Anon" in found:
        return (int(found[b"Anon"]) + int(found.get(b"Shmem", 0))) * 1024
    resident = _RESIDENT.search(text)  # before Linux 4.5 there are no details
    return int(resident[1]) * 1024 if resident else None


def _share(pid: int, held: int) -> int:
    text = read(f"/proc/{pid}/smaps_rollup")
    found = dict(_SHARES.findall(text))
    if b"_Anon" in found:
        return (int(found[b"_Anon"]) + int(found.get(b"_Shmem", 0))) * 1024
    if b"" in found:  # before Linux 5.9 this includes mapped files
        return min(held, int(found[b""]) * 1024)
    return held  # it ended meanwhile, runs as another user (setuid), or the kernel is older than 4.14


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
