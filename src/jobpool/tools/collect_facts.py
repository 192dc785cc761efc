"""Collects what is known of a process and its machine: in the user's process, and in a call."""

from __future__ import annotations

import multiprocessing
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
from typing import Any

import psutil

from jobpool.agent.binding import thread_siblings
from jobpool.agent.cgroup import memory_limit
from jobpool.batch.explainer import Surroundings
from jobpool.diagnose.facts import Folder, Side
from jobpool.model.units import Memory

__all__ = ["collect"]

_SCRATCH = re.compile(r"\w*SCRATCH(?:_?DIR)?|WORK")
"""Variables by which sites name a folder for large files."""

FILES, READ_FOR = 100, 2.0
"""Files of packages to read, and seconds to read them for, at most."""

_TOLD = re.compile(
    r"(?i:https?_proxy|no_proxy|ftp_proxy|all_proxy)|PMI_.*|PMIX_.*|OMPI_.*|OMP_NUM_THREADS"
    r"|LD_PRELOAD|PYTHONHOME|PYTHONPATH|PYTHONSTARTUP|TMPDIR"
)


def collect(home: str, project: str, marks: Mapping[str, str], around: Surroundings) -> Side:
    """Return what is known here.

    ``home`` and ``project`` are the user's, so that both sides look at the same; ``marks`` are names of files that were
    put into these folders; ``around`` names the batch systems' variables.
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
        environment=dict(_variables(around.variables)),
        home=_folder(home, marks.get(home)),
        project=_folder(project, marks.get(project)),
        temp=_folder(temp),
        scratch={name: _folder(path) for name, path in os.environ.items() if _is_scratch(name, path, around.scratch)},
        installed=_folder(installed),
        read=_seconds_to_read(Path(installed)),
        main=getattr(sys.modules["__main__"], "__file__", None) or "",
        start_method=multiprocessing.get_all_start_methods()[0],
        time=time.time(),
    )


def _variables(beginnings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if _TOLD.fullmatch(name) or name.startswith(beginnings):
            yield name, "set" if name.lower().endswith("_proxy") else value


def _is_scratch(name: str, path: str, known: tuple[str, ...]) -> bool:
    return (name in known or _SCRATCH.fullmatch(name) is not None) and path.startswith("/")


def _limit(name: str) -> int | None:
    soft = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _folder(path: str, mark: str | None = None) -> Folder:
    try:
        status, room = Path(path).stat(), os.statvfs(path)
    except OSError:
        return Folder(path=path, there=False)
    part = _mounted(path)
    return Folder(
        path=path,
        kind=part.fstype if part else "",
        mount=part.mountpoint if part else "",
        device=part.device if part else "",
        inode=status.st_ino,
        marked=None if mark is None else Path(path, mark).exists(),
        free=Memory(room.f_bavail * room.f_frsize),
        files=room.f_favail if room.f_files else None,
    )


def _mounted(path: str) -> Any:
    """Return the mount that holds a path, as psutil describes it; None when there is none."""
    here, best = os.path.realpath(path), None
    for part in psutil.disk_partitions(all=True):
        inside = here == part.mountpoint or here.startswith(part.mountpoint.rstrip("/") + "/")
        # A later mount on the same place hides the earlier one.
        if inside and len(part.mountpoint) >= len(best.mountpoint if best else ""):
            best = part
    return best


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
