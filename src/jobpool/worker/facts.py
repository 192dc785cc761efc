"""Collects what is known of a process and its machine: in the user's process, and in a call."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import psutil

from jobpool.core.facts import Folder, Side
from jobpool.units import Memory
from jobpool.worker.binding import thread_siblings
from jobpool.worker.cgroup import memory_limit

__all__ = ["collect"]

FILES, READ_FOR = 100, 2.0
"""Files of packages to read, and seconds to read them for, at most."""

_TOLD = re.compile(
    r"(?i:https?_proxy|no_proxy|ftp_proxy|all_proxy)|SLURM_.*|SBATCH_.*|PMI_.*|PMIX_.*|OMPI_.*|OMP_NUM_THREADS"
    r"|LD_PRELOAD|PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|TMPDIR"
)


def collect(home: str, project: str, marks: Mapping[str, str]) -> Side:
    """Return what is known here.

    ``home`` and ``project`` are the user's, so that both sides look at the same; ``marks`` are names of files that were
    put into these folders.
    """
    allowed, siblings = os.sched_getaffinity(0), thread_siblings()
    temp, installed = tempfile.gettempdir(), sysconfig.get_path("purelib")
    return Side(
        node=os.uname().nodename,
        user=os.getuid(),
        python=platform.python_version(),
        executable=sys.executable,
        packages={entry.metadata["Name"]: entry.version for entry in metadata.distributions() if entry.metadata},
        cpus=os.cpu_count() or 1,
        allowed=len(allowed),
        cores=len({tuple(siblings.get(cpu, (cpu,))) for cpu in allowed}),
        threads_per_core=max((len(cpus) for cpus in siblings.values()), default=1),
        memory=Memory(psutil.virtual_memory().total),
        memory_limit=None if (limit := memory_limit()) is None else Memory(limit),
        limits={name: _limit(name) for name in ("AS", "CPU", "NOFILE", "NPROC", "STACK", "MEMLOCK")},
        environment=dict(_variables()),
        home=_folder(home, marks.get(home)),
        project=_folder(project, marks.get(project)),
        temp=_folder(temp),
        installed=_folder(installed),
        read=_seconds_to_read(Path(installed)),
        time=time.time(),
    )


def _variables() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if _TOLD.fullmatch(name):
            yield name, "set" if name.lower().endswith("_proxy") else value


def _limit(name: str) -> int | None:
    soft = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _folder(path: str, mark: str | None = None) -> Folder:
    try:
        status, room = Path(path).stat(), os.statvfs(path)
    except OSError:
        return Folder(path=path, there=False)
    return Folder(
        path=path,
        kind=_kind(path),
        inode=status.st_ino,
        marked=None if mark is None else Path(path, mark).exists(),
        free=Memory(room.f_bavail * room.f_frsize),
    )


def _kind(path: str) -> str:
    """Return the type of the file system that holds a path."""
    here, best, kind = os.path.realpath(path), "", ""
    for part in psutil.disk_partitions(all=True):
        inside = here == part.mountpoint or here.startswith(part.mountpoint.rstrip("/") + "/")
        if inside and len(part.mountpoint) >= len(best):  # a later mount on the same place hides the earlier one
            best, kind = part.mountpoint, part.fstype
    return kind


def _seconds_to_read(folder: Path) -> float:
    """Return the mean time to open and read a file of a package. What is cached is quick: that is what imports meet."""
    begin = time.perf_counter()
    count = 0
    for file in folder.glob("*/*.py"):
        try:
            file.read_bytes()
        except OSError:
            continue
        count += 1
        if count == FILES or time.perf_counter() - begin > READ_FOR:
            break
    return (time.perf_counter() - begin) / count if count else 0.0
