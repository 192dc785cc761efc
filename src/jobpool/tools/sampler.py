"""Measures a call from beside it, in the process that runs it: what its whole process tree uses, many times a second.

A thread looks; it cannot while the call keeps the GIL in C code. Nothing is lost by that but detail: CPU time, and
bytes read and written, are sums that the kernel keeps, and it keeps the peak of this process's memory.
"""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobpool.host.linux import descendants, read
from jobpool.serialize.pickling import dumps_result
from jobpool.sizing.sizing import Look, Measured
from jobpool.worker.meter import shared_out, tree_memory

__all__ = ["measured"]

EVERY = 0.02
"""Seconds between two looks, to begin with."""

LOOKS = 256
"""Looks that are kept. When there are more, each two become one, and the pause doubles: an hour has one for 14 s."""

SHARE = 0.02
"""Share of a CPU that looking may cost: the kernel walks the page tables of a large process tree."""

_MAPPED = re.compile(rb"^RssFile:\s+(\d+) kB", re.MULTILINE)

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def measured(function: Callable[[Any], Any], value: Any) -> Measured:
    """Call ``function(value)``, drop its result, and return what that used. Raises what it raises.

    The result is pickled, as that of any call is: it takes time and memory.
    """
    probe = _Probe()
    probe.begin()
    try:
        dumps_result(function(value))
    finally:
        probe.end()
    return probe.result()


class _Probe:
    """Looks at this process and its descendants until it is told to end."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="jobpool-probe", daemon=True)
        self._looks: list[Look] = []
        self._every = EVERY
        self._peak = self._threads = self._processes = self._mapped = 0
        self._own_io = 0, 0

    def begin(self) -> None:
        self._before = self._memory()
        self._io = _io(os.getpid())
        self._began, self._cpu = time.perf_counter(), _cpu()
        self._last = self._began, self._cpu
        self._thread.start()

    def end(self) -> None:
        ended, used = time.perf_counter(), _cpu(descendants(os.getpid()))
        self._over.set()
        self._thread.join()
        self._after_io = _io(os.getpid())
        self._look()
        self._wall, self._used = ended - self._began, used - self._cpu
        self._after = self._memory()

    def result(self) -> Measured:
        got = put = None
        if self._io is not None and self._after_io is not None:
            got, put = (
                max(0, after - before - own)
                for before, after, own in zip(self._io, self._after_io, self._own_io, strict=True)
            )
        return Measured(
            worker=f"{os.uname().nodename} {os.getpid()}",
            wall=self._wall,
            cpu=max(0.0, self._used),
            before=self._before,
            # The kernel's own peak, of this process alone, misses nothing between two looks; but pages of mapped files
            # are in it, which do not count as memory.
            peak=max(self._peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - self._mapped),
            after=self._after,
            threads=max(1, self._threads),
            processes=max(1, self._processes),
            read=got,
            written=put,
            looks=tuple(self._looks),
        )

    def _watch(self) -> None:
        pause = self._every
        while not self._over.wait(pause):
            took = self._look()
            pause = max(self._every, took / SHARE)
        own = _io(os.getpid(), f"task/{threading.get_native_id()}/io")
        self._own_io = own or (0, 0)  # this thread's reading of /proc is not the call's

    def _memory(self) -> int:
        """Return what the tree holds now, and take note of the pages of mapped files, which are resident, too."""
        if mapped := _MAPPED.search(read("/proc/self/status")):
            self._mapped = max(self._mapped, int(mapped[1]) * 1024)
        tree = tree_memory(os.getpid())
        return shared_out(tree) if len(tree) > 1 else sum(tree.values())

    def _look(self) -> float:
        """Look once, and return the seconds that it took."""
        now = time.perf_counter()
        pids = [os.getpid(), *descendants(os.getpid())]
        used, memory = _cpu(pids[1:]), self._memory()
        threads = sum(_threads(pid) for pid in pids) - 1  # without the one that looks
        seconds = now - self._last[0]
        if seconds > 0:
            # A process that was not waited for takes its time with it; time does not run backwards.
            spent = max(0.0, used - self._last[1])
            self._looks.append(Look(now - self._began, spent / seconds, memory, threads))
            self._last = now, max(used, self._last[1])
        self._peak, self._threads = max(self._peak, memory), max(self._threads, threads)
        self._processes = max(self._processes, len(pids))
        if len(self._looks) > LOOKS:
            self._looks = _halved(self._looks)
            self._every *= 2
        return time.perf_counter() - now


def _halved(looks: list[Look]) -> list[Look]:
    """Join each two looks: the mean of CPU use, the most of memory and threads."""
    joined, begin = [], 0.0
    for one, two in zip(looks[::2], looks[1::2], strict=False):
        length = two.at - begin
        cpus = (one.cpus * (one.at - begin) + two.cpus * (two.at - one.at)) / length
        joined.append(Look(two.at, cpus, max(one.memory, two.memory), max(one.threads, two.threads)))
        begin = two.at
    return [*joined, *looks[2 * len(joined) :]]


def _cpu(others: list[int] | None = None) -> float:
    """Return the CPU seconds of this process and those it has waited for, and of ``others`` that live."""
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(map(_cpu_of, others or ()))


def _cpu_of(pid: int) -> float:
    try:
        # After the name, which may hold anything but ends with the last bracket: utime, stime, and the same of those
        # that it has waited for are fields 14 to 17 (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * _TICK


def _threads(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/task").stat().st_nlink - 2
    except OSError:
        return 0


def _io(pid: int, file: str = "io") -> tuple[int, int] | None:
    """Return the bytes that a process, and those it has waited for, has read and written.

    Through system calls, from a cache or not; or from and to a disk, where that is more (a file that is mapped).
    """
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return None
    counts = {name: int(count) for name, _, count in (line.partition(": ") for line in lines)}
    read = max(counts.get("rchar", 0), counts.get("read_bytes", 0))
    return read, max(counts.get("wchar", 0), counts.get("write_bytes", 0))
