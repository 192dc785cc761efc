"""The files of a lab: written before its daemons start, removed after their end. For the owner alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from jobpool.testing.labs.daemon import LabFailed
from jobpool.testing.labs.slurm_config import LabPlan, cgroup_conf, gres_conf, plan_to_json, slurm_conf, slurmdbd_conf
from jobpool.testing.labs.slurm_munge import new_key

__all__ = ["check_place", "record_of", "remove_files", "remove_record", "write_files"]

_OWN = ("etc", "log", "state", "devices", "pids", "database", "run")
"""Directories in a lab's own one, see the properties of :class:`~jobpool.testing.labs.slurm_config.LabPlan`."""


def record_of(directory: Path) -> Path:
    """Return the file that holds the plan; its existence says that a lab is in the directory."""
    return directory / "lab.json"


def check_place(directory: Path) -> None:
    """Raise :class:`LabFailed` when a lab cannot be there, or something is that it would overwrite and later remove."""
    if any(char.isspace() for char in str(directory)):
        # Quotes help slurmctld; slurmd and MariaDB's installer still cut the path at the space.
        raise LabFailed(
            f"{str(directory)!r} has a space in its name, which SLURM's daemons cannot read",
            advice="choose another directory for the lab: jobpool lab up --directory DIRECTORY",
        )
    if taken := [name for name in _OWN if os.path.lexists(directory / name)]:
        raise LabFailed(
            f"{directory} holds what is not a lab's: {', '.join(taken)}", advice="choose another directory for the lab"
        )


def write_files(plan: LabPlan) -> None:
    """Write the record, then the configuration, and make the directories that the daemons expect."""
    for place in (plan.directory.parent, plan.directory):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_private(record_of(plan.directory), plan_to_json(plan))
    for place in (plan.etc, plan.log, plan.state, plan.devices, plan.pids, plan.run):
        place.mkdir(mode=0o700, exist_ok=True)
    _write_private(plan.munge_key, new_key())
    _write_private(plan.etc / "slurm.conf", slurm_conf(plan))
    _write_private(plan.etc / "gres.conf", gres_conf(plan))
    _write_private(plan.etc / "cgroup.conf", cgroup_conf(plan))
    if plan.dbd_port:
        _write_private(plan.etc / "slurmdbd.conf", slurmdbd_conf(plan))
    for node in plan.nodes:
        plan.spool(node).mkdir(mode=0o700)
        for i in range(node.gpus):
            (plan.devices / f"gpu{i}").symlink_to(os.devnull)  # slurmd insists on a device


def remove_files(plan: LabPlan) -> None:
    """Remove all but the record and the pid files: by these what is left of a lab is found."""
    for place in (plan.etc, plan.log, plan.state, plan.devices, plan.database, plan.run):
        shutil.rmtree(place, ignore_errors=True)


def remove_record(plan: LabPlan) -> None:
    """Remove the record and the pid files; the directory too, unless it holds files that are not the lab's."""
    shutil.rmtree(plan.pids, ignore_errors=True)
    record_of(plan.directory).unlink(missing_ok=True)
    with suppress(OSError):  # it holds files that are not the lab's
        plan.directory.rmdir()


def _write_private(path: Path, text: str) -> None:
    # In one step: whoever finds the file finds all of it.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # 0600
        file.write(text)
    Path(file.name).replace(path)
