"""The kernel's count of processes that it killed for memory, in the cgroup of this job.

A process that the kernel kills for memory dies of SIGKILL like any other; the only evidence that a program without
privileges can read is a counter of its memory cgroup: ``oom_kill`` in ``memory.oom_control`` (v1, Linux 4.13) or
``memory.events`` (v2). Sources: the kernel's admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from jobpool.host.linux import read

__all__ = ["OomCounter", "files_that_fill", "find_counter", "memory_limit"]

_NO_LIMIT = 2**60
"""Bytes from which a limit of a cgroup (v1) means that there is none."""

FILLED = 0.5
"""Share of a job's memory from which files in memory fill it: calls would be killed for what others have left."""

_SHMEM = re.compile(rb"^(total_|)shmem (\d+)$", re.MULTILINE)
_KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


class OomCounter:
    """Tells of kills for memory that nothing explains yet."""

    def __init__(self, file: Path | None = None) -> None:
        path = find_counter() if file is None else file
        self._file = str(path) if path else None
        self._before = self._explained = self._read()

    @property
    def total(self) -> int:
        """How many kills there were since this was made."""
        return self._read() - self._before

    def open(self) -> bool:
        """Return whether there were more kills than were claimed."""
        return self._read() > self._explained

    def claim(self) -> bool:
        """Take one kill as explained. False: there is none."""
        if not self.open():
            return False
        self._explained += 1
        return True

    def forget(self) -> None:
        """Ask no more for what explains the kills until now."""
        self._explained = self._read()

    def _read(self) -> int:
        found = _KILLS.search(read(self._file)) if self._file else None
        return int(found[1]) if found else 0


def find_counter(cgroups: str | None = None, mounts: str | None = None) -> Path | None:
    """Return the file with the counter, from /proc/self/cgroup and /proc/self/mountinfo. None: there is none."""
    cgroups = Path("/proc/self/cgroup").read_text() if cgroups is None else cgroups
    mounts = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    paths = {}
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    # A machine that mounts both has the memory controller in one of them: v1 names it, v2 has the empty name.
    if "memory" in paths:
        return _below(mounts, "cgroup", "memory", paths["memory"], "memory.oom_control")
    return _below(mounts, "cgroup2", "", paths[""], "memory.events") if "" in paths else None


def memory_limit(counter: Path | None = None) -> int | None:
    """Return the smallest limit, in bytes, of this process's memory cgroup and those above it. None: there is none."""
    counter = counter or find_counter()
    if counter is None:
        return None
    name = "memory.max" if counter.name == "memory.events" else "memory.limit_in_bytes"
    found = []
    for folder in counter.parents:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _NO_LIMIT:
            found.append(int(text))
    return min(found, default=None)


def files_that_fill(counter: Path | None = None) -> int:
    """Return the bytes of files in memory (``/dev/shm``, a tmpfs) that count for this job, when they fill it; else 0.

    They stay when the process that wrote them is gone, and leave too little room for whatever comes then.
    """
    counter = counter or find_counter()
    if counter is None or (limit := memory_limit(counter)) is None:
        return 0
    # v1 has a sum of its own for what is below the cgroup; v2 always tells that.
    found = dict(_SHMEM.findall(read(str(counter.with_name("memory.stat")))))
    files = int(found.get(b"total_") or found.get(b"") or 0)
    return files if files > FILLED * limit else 0


def _below(mounts: str, kind: str, option: str, path: str, file: str) -> Path | None:
    """Return the file of the cgroup ``path`` below its hierarchy's mount point."""
    for line in mounts.splitlines():
        fields, _, tail = line.partition(" - ")
        fstype, _, options = tail.split(" ", 2)
        if fstype == kind and (not option or option in options.split(",")):
            root, mount = fields.split(" ")[3:5]
            return Path(mount, os.path.relpath(path, root), file)
    return None
