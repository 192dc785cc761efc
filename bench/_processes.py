"""What the processes of one part cost: CPU seconds and memory, by the role of each process.

A part's processes are its children, and all whose home directory is the bench's own, wherever in the tree of processes
they are: a pool may detach its server and its jobs. (Children too, since setproctitle, which Dask uses where it is
installed, overwrites the environment that others see.)
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import psutil

__all__ = [
    "ALL_CPU",
    "HOST_CPU",
    "Cpu",
    "client_threads",
    "idle_seconds",
    "keep_to",
    "peak_mb",
    "reset_peak",
    "resident_mb",
]

HOST_CPU, ALL_CPU = "host CPU s per 10,000", "all CPU us per call"

_ROLES = {
    "jobpool.server.localjobs": "workers",  # stands for slurmd
    "jobpool.server": "server",
    "jobpool.worker.forkserver": "workers",
    "jobpool.worker": "agent",
    "interchange": "server",  # Parsl's
}
"""The role of a process whose command line contains this; the first that fits. Others are workers."""


def _all() -> dict[psutil.Process, str]:
    """Return the running processes of this part with their roles."""
    own = psutil.Process()
    children, found = set(own.children(recursive=True)), {own: "client"}
    for process in psutil.process_iter():
        try:
            if process == own:
                continue
            if process in children or process.environ().get("HOME") == os.environ["HOME"]:
                words = " ".join(process.cmdline())
                found[process] = next((role for part, role in _ROLES.items() if part in words), "workers")
        except psutil.Error:  # ended meanwhile, or not ours to look at
            continue
    return found


def keep_to(count: int) -> set[int]:
    """Keep this process, and those it will start, to so many of the machine's CPUs, and return these."""
    cpus = set(sorted(os.sched_getaffinity(0))[:count])
    os.sched_setaffinity(0, cpus)
    return cpus


def idle_seconds(cpus: Collection[int]) -> float:
    """Return for how long these CPUs have had nothing to do, since the machine began."""
    times = psutil.cpu_times(percpu=True)
    return float(sum(times[cpu].idle + times[cpu].iowait for cpu in cpus))


class Cpu:
    """CPU seconds by role, since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> Counter[tuple[int, str]]:
        seconds: Counter[tuple[int, str]] = Counter()
        for process, role in _all().items():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            seconds[process.pid, role] = times.user + times.system
        return seconds

    def by_role(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for (pid, role), seconds in self._now().items():
            used[role] += seconds - self._before[pid, role]
        return used

    def figures(self, calls: int) -> dict[str, float]:
        """Return what these calls cost the submit host (the client and the server), and all processes."""
        used = self.by_role()
        return {HOST_CPU: (used["client"] + used["server"]) / calls * 1e4, ALL_CPU: used.total() / calls * 1e6}


def client_threads() -> Counter[str]:
    """CPU seconds of this process's threads, by name, since they began."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: Counter[str] = Counter()
    for thread in psutil.Process().threads():
        seconds[names.get(thread.id, "other threads")] += thread.user_time + thread.system_time
    return seconds


def resident_mb(role: str = "client") -> float:
    """Return the resident memory of the processes of a role, in MB."""
    processes = [psutil.Process()] if role == "client" else [process for process, its in _all().items() if its == role]
    return float(sum(process.memory_info().rss for process in processes)) / 1e6


def peak_mb() -> float:
    """Return the peak of this process's resident memory since :func:`reset_peak`, or since it began, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def reset_peak() -> None:
    """Let the peak begin again, at what is resident now (Linux 4.0 and later)."""
    Path("/proc/self/clear_refs").write_text("5")
