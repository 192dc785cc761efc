"""Which batch systems there are, and which one is here."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable
from pathlib import Path

from jobpool.batch.base import BatchSystem
from jobpool.batch.local import Local
from jobpool.batch.slurm import Slurm
from jobpool.batch.slurm_submit import is_without_cluster
from jobpool.errors import BatchSystemUnavailable
from jobpool.model import Command, Completed

__all__ = ["BUILT", "PLANNED", "detect", "get", "require"]

BUILT = ("local", "slurm")
"""Systems that work."""

PLANNED = {
    "pbs": ("qsub", "pbsnodes"),
    "sge": ("qsub", "qconf"),
    "lsf": ("bsub", "bjobs"),
    "htcondor": ("condor_submit", "condor_q"),
    "oar": ("oarsub", "oarstat"),
}
"""Systems that have their place but are not built yet, with commands that tell them apart (qsub is PBS's and Grid
Engine's)."""

_TITLES = {"slurm": "SLURM", "pbs": "PBS", "sge": "Grid Engine", "lsf": "LSF", "htcondor": "HTCondor", "oar": "OAR"}

_ADVICE = (
    "scheduler='local' runs the work on this machine alone; on a login node, mind the site's rules for long processes"
)


def get(name: str, directory: Path) -> BatchSystem:
    """Return the batch system with this name.

    ``directory`` is the pool's, where ``local`` keeps its records. Raises ``BatchSystemUnavailable`` for a name that is
    unknown, or of a system that is not built yet.
    """
    match name:
        case "slurm":
            return Slurm()
        case "local":
            return Local(directory / "local")
        case _ if name in PLANNED:
            raise _not_built(f"{_TITLES[name]} (scheduler={name!r}) is not supported yet")
        case _:
            close = difflib.get_close_matches(name.lower(), (*BUILT, *PLANNED), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise BatchSystemUnavailable(
                f"there is no batch system named {name!r}.{hint} Known are: {', '.join(map(repr, BUILT))}; "
                f"planned: {', '.join(map(repr, PLANNED))}; 'auto' takes the one that is here"
            )


def require(name: str, which: Callable[[str], str | None] = shutil.which) -> None:
    """Raise ``BatchSystemUnavailable`` when this system is not built yet, or its commands are not on this machine."""
    system = get(name, Path())
    if missing := [command for command in system.commands if which(command) is None]:
        raise BatchSystemUnavailable(
            f"{_TITLES.get(name, name)} was asked for (scheduler={name!r}), but {', '.join(missing)} cannot be found",
            advice="run this where the batch system's commands are on the PATH, or with scheduler='local'",
        )


def detect(which: Callable[[str], str | None] = shutil.which, run: Callable[[Command], Completed] | None = None) -> str:
    """Name the batch system whose commands are here: ``slurm``, or ``local`` where there is none.

    ``which`` finds a program, as :func:`shutil.which`. ``run`` runs a command: SLURM's packages may be installed on a
    machine that belongs to no cluster; without it, they count as one.

    Raises ``BatchSystemUnavailable`` where the commands are those of a system that is not built yet: running everything
    on its login node is not what anybody meant.
    """
    if all(which(command) for command in Slurm().commands):
        done = None if run is None else run(Command(("scontrol", "ping"), timeout=10.0))
        return "local" if done is not None and is_without_cluster(done) else "slurm"
    for name, commands in PLANNED.items():
        if all(which(command) for command in commands):
            raise _not_built(
                f"the batch system here is {_TITLES[name]} ({commands[0]} was found), which is not supported yet"
            )
    return "local"


def _not_built(message: str) -> BatchSystemUnavailable:
    return BatchSystemUnavailable(message, advice=_ADVICE)
