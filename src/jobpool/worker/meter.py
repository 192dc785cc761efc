"""What a call uses: measured by its worker for each call, and by the agent, over the whole process tree, for long ones.

The worker's part costs about 4 us a call: two getrusage(2) before and after, one write to /proc/self/clear_refs, which
sets the peak of the resident memory back to what it is now (proc(5), value 5; it walks no pages), so that getrusage's
``ru_maxrss`` is the peak of this call and not of the process's life.
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

    @property
    def fresh(self) -> bool:
        """Whether peaks are those of calls; else of the process's life, where the kernel cannot set them back."""
        return self._peak is not None

    def stop(self) -> tuple[float, float, int, int]:
        """End it and return (wall seconds, CPU seconds, peak memory in bytes, threads)."""
        wall = time.perf_counter() - self._wall
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime - self._cpu
        # The directory of a process's threads has a link for each of them, besides . and ..
        threads = os.fstat(self._tasks).st_nlink - 2 if self._tasks is not None else 1
        return wall, cpu, own.ru_maxrss * 1024, threads


def tree_memory(root: int) -> dict[int, int]:
    """Return the memory in bytes that a process and each of its descendants holds now, by process id.

    That is what cannot be had back without ending them: anonymous and shared memory, not the pages of mapped files,
    which the kernel drops when it needs room. Empty when the root is gone. Costs about 30 us for each process.
    """
    if (own := _held(root)) is None:
        return {}
    return {root: own} | {pid: memory for pid in descendants(root) if (memory := _held(pid)) is not None}


def shared_out(tree: Mapping[int, int]) -> int:
    """Return what the processes of a tree hold together, each page counted once: PSS.

    A call that forks a pool of ten processes does not use ten times its memory. PSS walks page tables, about 10 ms for
    a GiB.
    """
    return sum(_share(pid, held) for pid, held in tree.items())


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, be it waited for or not."""
    return _held(pid) is None


def own_memory() -> tuple[int, int]:
    """Return the resident bytes of this process, and those of them that are its own: anonymous memory."""
    _, resident, shared, *_ = read("/proc/self/statm").split()
    return int(resident) * _PAGE, (int(resident) - int(shared)) * _PAGE


def _held(pid: int) -> int | None:
    """Return None when the process is gone, or a zombie."""
    text = read(f"/proc/{pid}/status")
    found = dict(_HELD.findall(text))
    if b"Anon" in found:
        return (int(found[b"Anon"]) + int(found.get(b"Shmem", 0))) * 1024
    resident = _RESIDENT.search(text)  # before Linux 4.5 there is nothing finer
    return int(resident[1]) * 1024 if resident else None


def _share(pid: int, held: int) -> int:
    text = read(f"/proc/{pid}/smaps_rollup")
    found = dict(_SHARES.findall(text))
    if b"_Anon" in found:
        return (int(found[b"_Anon"]) + int(found.get(b"_Shmem", 0))) * 1024
    if b"" in found:  # before Linux 5.9 mapped files are in it
        return min(held, int(found[b""]) * 1024)
    return held  # ended just now, another user's (setuid), or a kernel before 4.14


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
