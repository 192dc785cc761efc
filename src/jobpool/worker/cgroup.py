"""The kernel's count of processes that it killed for memory, in the cgroup of this job.

A process that the kernel kills for memory dies of SIGKILL like any other; the only evidence that a program without
privileges can read is a counter of its memory cgroup: ``oom_kill`` in ``memory.oom_control`` (v1, Linux 4.13) or
``memory.events`` (v2). Sources: the kernel's admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["OomCounter", "find_counter"]


class OomCounter:
    """Tells whether the kernel has killed for memory since it was asked last."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = find_counter() if file is None else file
        self._seen = self._read()

    def rose(self) -> bool:
        """Return whether the count went up since the last call, or since the beginning."""
        now = self._read()
        before, self._seen = self._seen, now
        return now > before

    def _read(self) -> int:
        try:
            lines = self._file.read_text().splitlines() if self._file else []
        except OSError:
            lines = []
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


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


def _below(mounts: str, kind: str, option: str, path: str, file: str) -> Path | None:
    """Return the file of the cgroup ``path`` below its hierarchy's mount point."""
    for line in mounts.splitlines():
        fields, _, tail = line.partition(" - ")
        fstype, _, options = tail.split(" ", 2)
        if fstype == kind and (not option or option in options.split(",")):
            root, mount = fields.split(" ")[3:5]
            return Path(mount, os.path.relpath(path, root), file)
    return None
