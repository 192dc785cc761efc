"""What this machine has for a lab: programs, cores, memory, cgroups, free ports; and what a lab leaves on it."""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from jobpool.model.errors import BatchSystemUnavailable
from jobpool.model.units import Memory
from jobpool.testing.labs.daemon import wait_gone, wait_until
from jobpool.testing.labs.slurm_config import Cgroups, Node

__all__ = [
    "cgroup_version",
    "end_processes",
    "find_program",
    "free_ports",
    "lab_missing",
    "machine_node",
    "missing_advice",
    "name_is_loopback",
    "processes_of",
    "remove_cgroups",
    "user_name",
]

_PACKAGES = {
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd", "slurmstepd"),
    "slurm-client": ("sbatch", "squeue", "scancel", "scontrol", "sinfo"),
    "munge": ("munged",),
}
_ACCOUNTING_PACKAGES = {
    "slurmdbd": ("slurmdbd",),
    "slurm-client": ("sacct", "sacctmgr"),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
}
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where Debian puts the daemons; an ordinary user's PATH does not lead there."""

_PORTS = range(20000, 32000)
"""Below Linux's range for outgoing connections (32768 up), so that none of those takes a port in between."""

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def lab_missing(*, accounting: bool = False) -> list[str]:
    """List the Debian packages that a lab needs and this machine lacks, by looking for their programs."""
    needed = [*_PACKAGES.items(), *(_ACCOUNTING_PACKAGES.items() if accounting else ())]
    missing = [package for package, programs in needed if not all(_which(program) for program in programs)]
    return list(dict.fromkeys(missing))


def missing_advice(packages: Iterable[str]) -> str:
    """Say how to install them."""
    return f"on Debian or Ubuntu: sudo apt-get install --no-install-recommends {' '.join(packages)}"


def find_program(name: str) -> str:
    """Return the full path of a program, the system's own directories included.

    Raises :class:`~jobpool.model.errors.BatchSystemUnavailable` when there is none.
    """
    if path := _which(name):
        return path
    missing = lab_missing(accounting=True)
    raise BatchSystemUnavailable(f"the program {name!r} is not on this machine", advice=missing_advice(missing))


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def user_name() -> str:
    """Name the user of this process; the number, which SLURM takes too, for one who has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def free_ports(count: int) -> list[int]:
    """Choose TCP ports that are free on all addresses, at random, so that labs started together do not meet."""
    with ExitStack() as taken:
        return [_free_port(taken) for _ in range(count)]


def _free_port(taken: ExitStack) -> int:
    while True:
        port = random.choice(_PORTS)
        trial = socket.socket()
        try:
            trial.bind(("", port))
        except OSError:
            trial.close()
            continue
        taken.enter_context(trial)  # held until all are chosen
        return port


def name_is_loopback() -> bool:
    """Say whether the machine's own name leads to 127.0.0.1, as in a container; Debian gives 127.0.1.1 to it."""
    try:
        return socket.gethostbyname(socket.gethostname()) == "127.0.0.1"
    except OSError:
        return False


def machine_node(share: int) -> Node:
    """Describe a node as large as this machine, with ``1 / share`` of its memory: that many run side by side."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    done = subprocess.run([find_program("slurmd"), "-C"], env=environment, capture_output=True, text=True, check=True)
    seen = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", done.stdout)}
    return Node(
        name="machine",
        port=0,
        sockets=seen["SocketsPerBoard"] * seen.get("Boards", 1),
        cores=seen["CoresPerSocket"],
        threads=seen["ThreadsPerCore"],
        memory=Memory(seen["RealMemory"] // share * 2**20),
    )


def cgroup_version() -> Cgroups | None:
    """Say which cgroups can hold jobs here; None: not root, or the file system is read-only (a container)."""
    if os.geteuid() != 0:
        return None
    if all(os.access(_CGROUP_ROOT / controller, os.W_OK) for controller in ("memory", "cpuset", "freezer", "cpuacct")):
        return "v1"
    if (_CGROUP_ROOT / "cgroup.controllers").exists() and os.access(_CGROUP_ROOT, os.W_OK):
        return "v2"
    return None


def processes_of(marks: Iterable[str]) -> list[psutil.Process]:
    """Find the processes whose environment holds one of these ``NAME=value``, and all their descendants.

    A job's processes are in sessions of their own and have no parent that we know; the environment stays with them.
    """
    wanted = [b"\0%b\0" % os.fsencode(mark) for mark in marks]
    found = dict.fromkeys(pid for pid in psutil.pids() if _bears(pid, wanted))
    if found:
        parents = _parents()
        while below := [pid for pid, parent in parents.items() if parent in found and pid not in found]:
            found.update(dict.fromkeys(below))
    processes = []
    for pid in found:
        with suppress(psutil.Error):  # it has just ended
            processes.append(psutil.Process(pid))
    return processes


def _bears(pid: int, marks: Sequence[bytes]) -> bool:
    """Say whether the environment of a process holds one of these variables, each between two zero bytes."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - a third of the time
            environment = b"\0" + file.read()
    except OSError:  # it has ended, or is another user's
        return False
    return any(mark in environment for mark in marks)


def _parents() -> dict[int, int]:
    """Return the parent of each process of this machine: read once, and not once for each process."""
    parents = {}
    for pid in psutil.pids():
        with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a third of the time
            # The name, in brackets, may hold blanks and brackets itself. Then: state, parent, ... (proc(5)).
            parents[pid] = int(file.read().rpartition(b")")[2].split(maxsplit=2)[1])
    return parents


def _stepds_of(directory: Path) -> list[psutil.Process]:
    """Find the slurmstepds that write to a lab's logs. SLURM 26.05 writes their title over their environment."""
    found = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error, OSError):
            if process.info["name"].startswith("slurmstepd") and any(
                Path(file.path).is_relative_to(directory) for file in process.open_files()
            ):
                found.append(process)
    return found


def end_processes(marks: Iterable[str], lab: Path | None = None) -> None:
    """Kill the processes that :func:`processes_of` finds, and the slurmstepds of a lab, until there are none."""
    marks = list(marks)

    def none_left() -> bool:
        left = [process for process in processes_of(marks) if process.pid != os.getpid()]
        left += _stepds_of(lab) if lab else []
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in left:
            wait_gone(process)
        return not left

    wait_until(none_left, timeout=10)


def remove_cgroups(nodes: Sequence[Node]) -> None:
    """Remove the cgroup directories that slurmd made for these nodes; their processes have ended before."""
    for directory in _cgroups_of(nodes):
        wait_until(lambda root=directory: _remove_tree(root), timeout=5)  # type: ignore[misc]


def _cgroups_of(nodes: Sequence[Node]) -> list[Path]:
    names = {f"slurm_{node.name}" for node in nodes} | {f"{node.name}_slurmstepd.scope" for node in nodes}  # v1, v2
    return [Path(place, name) for place, below, _ in os.walk(_CGROUP_ROOT) for name in names.intersection(below)]


def _remove_tree(root: Path) -> bool:
    # The kernel keeps a group busy for a moment after the end of its last process.
    for directory, _, _ in os.walk(root, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()
    return not root.exists()
