"""What the processes of one part cost: CPU seconds and memory, by the role of each process.

A part's processes are those whose home directory is the bench's own, wherever in the tree of processes they are, since
a pool may detach its server and its jobs; and what descends from these, since setproctitle, which Dask uses where it is
installed, overwrites the environment that others see.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
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
    "jobpool.local_jobs.commands": "workers",  # stands for slurmd
    "jobpool.server": "server",
    "jobpool.worker.forkserver": "workers",
    "jobpool.agent": "agent",
    "interchange": "server",  # Parsl's
}
"""The role of a process whose command line contains this; the first that fits. Others are workers."""


def _all() -> dict[psutil.Process, str]:
    """Return the running processes of this part with their roles."""
    running = {process.pid: process for process in psutil.process_iter(["ppid", "environ", "cmdline"])}
    own, found = os.getpid(), {}
    for pid, process in sorted(running.items()):
        line = [pid]
        while (parent := running.get(line[-1])) is not None and parent.info["ppid"] not in (0, None, line[-1]):
            line.append(parent.info["ppid"])
        if any(_at_home(running.get(one)) for one in line):
            words = " ".join(process.info["cmdline"] or ())
            role = next((role for part, role in _ROLES.items() if part in words), "workers")
            found[process] = "client" if pid == own else role
    return found


def _at_home(process: psutil.Process | None) -> bool:
    return process is not None and (process.info["environ"] or {}).get("HOME") == os.environ["HOME"]


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
        self._own = time.process_time()

    @staticmethod
    def _now() -> dict[tuple[int, str], float]:
        seconds: dict[tuple[int, str], float] = {}
        for process, role in _all().items():
            try:
                times = process.cpu_times()
            except psutil.Error:  # ended meanwhile
                continue
            seconds[process.pid, role] = times.user + times.system
        return seconds

    def by_role(self) -> defaultdict[str, float]:
        own = time.process_time() - self._own  # first: to look at all processes costs some, too
        used: defaultdict[str, float] = defaultdict(float)
        for (pid, role), seconds in self._now().items():
            used[role] += seconds - self._before.get((pid, role), 0.0)
        used["client"] = own
        return used

    def figures(self, calls: int) -> dict[str, float]:
        """Return what these calls cost the submit host (the client and the server), and all processes."""
        used = self.by_role()
        return {HOST_CPU: (used["client"] + used["server"]) / calls * 1e4, ALL_CPU: sum(used.values()) / calls * 1e6}


def client_threads() -> defaultdict[str, float]:
    """CPU seconds of this process's threads, by name, since they began."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    seconds: defaultdict[str, float] = defaultdict(float)
    for thread in psutil.Process().threads():
        seconds[names.get(thread.id, "other threads")] += thread.user_time + thread.system_time
    return seconds


def resident_mb(role: str = "client") -> float:
    """Return the resident memory of the processes of a role, in MB."""
    return float(sum(process.memory_info().rss for process in _of(role))) / 1e6


def peak_mb(role: str = "client") -> float:
    """Return the peaks of the resident memory of the processes of a role since :func:`reset_peak`, in MB."""
    peaks = (_status(process, "VmHWM") for process in _of(role))
    return sum(peaks) * 1024 / 1e6


def reset_peak(role: str = "client") -> None:
    """Let the peaks begin again, at what is resident now (Linux 4.0 and later)."""
    for process in _of(role):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def _of(role: str) -> list[psutil.Process]:
    return [psutil.Process()] if role == "client" else [process for process, its in _all().items() if its == role]


def _status(process: psutil.Process, field: str) -> int:
    """Return a field of ``/proc/PID/status``, in KiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
