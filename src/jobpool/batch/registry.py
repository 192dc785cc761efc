"""Which batch systems there are, and which one is here."""

from __future__ import annotations

import difflib
import importlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobpool.batch.base import BatchSystem, Capabilities
from jobpool.batch.explainer import Explainer
from jobpool.batch.local.system import Local
from jobpool.batch.slurm import environment as slurm_environment
from jobpool.batch.slurm.submit import is_without_cluster, lost_configuration
from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable

__all__ = [
    "BUILT",
    "NAMES",
    "PLANNED",
    "Machine",
    "capabilities",
    "detect",
    "explainer",
    "explainers",
    "for_commands",
    "get",
    "require",
    "title",
]

BUILT = ("local", "slurm")
"""Systems that work."""

NAMES = ("slurm", "pbs", "sge", "lsf", "htcondor", "oar", "local")
"""The words for batch systems, also the names of the sections of a config file."""

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


_EXPLAINERS = {
    "local": ("jobpool.batch.local.explainer", "LocalExplainer"),
    "slurm": ("jobpool.batch.slurm.explainer", "SlurmExplainer"),
}
"""Module and class of the batch systems that explain something in words of their own."""

_SECONDS_OF_FIELDS = {
    "lsf": {1: (60,), 2: (3600, 60), 3: (3600, 60, 1)},
    "oar": {1: (3600,), 2: (3600, 60), 3: (3600, 60, 1)},
}
"""What the fields of a time count for those that are not built yet (the manual pages of bsub and oarsub), where it is
not seconds at the end: their sections of other tools' files are read already."""


def title(name: str) -> str:
    """Return the name of a batch system as people write it."""
    return _TITLES.get(name, name)


def explainer(name: str) -> Explainer:
    """Return what explains this batch system to people. It is loaded when it is asked for: no pool needs it to run."""
    if name in _EXPLAINERS:
        module, cls = _EXPLAINERS[name]
        made: Explainer = getattr(importlib.import_module(module), cls)()
        return made
    fields = _SECONDS_OF_FIELDS.get(name)
    return Explainer() if fields is None else Explainer(seconds_of_fields=fields)


def explainers() -> dict[str, Explainer]:
    """Return those of all batch systems that are built, by name: a machine may show traces of each."""
    return {name: explainer(name) for name in BUILT}


def capabilities(name: str) -> Capabilities:
    """Return what jobs of this batch system can rely on; of one that is not built, what they can on most."""
    return get(name, Path()).capabilities if name in BUILT else Capabilities()


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that would change what a batch system's commands do or print."""
    return slurm_environment.for_commands(environment)


@dataclass(frozen=True, slots=True)
class Machine:
    """What may be known of the machine that this runs on. The defaults know no more than which programs there are."""

    which: Callable[[str], str | None] = shutil.which
    """Finds a program, as :func:`shutil.which`."""
    run: Callable[[Command], Completed] | None = None
    """Runs a command; without it, SLURM's packages count as a cluster."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_there: Callable[[str], bool] = bool
    """Says whether there is such a file."""


def require(name: str, machine: Machine | None = None) -> None:
    """Raise ``BatchSystemUnavailable`` when this system is not built yet, or cannot be used on this machine."""
    machine = machine or Machine()
    system = get(name, Path())
    asked = f"{_TITLES.get(name, name)} was asked for (scheduler={name!r}), but"
    if missing := [command for command in system.commands if machine.which(command) is None]:
        raise BatchSystemUnavailable(
            f"{asked} {', '.join(missing)} cannot be found",
            advice="run this where the batch system's commands are on the PATH, or with scheduler='local'",
        )
    if name == "slurm" and (done := _without_cluster(machine)):
        raise BatchSystemUnavailable(
            f"{asked} its commands find no configuration: this machine belongs to no cluster",
            words=done.words,
            advice="run this on a login node, set SLURM_CONF to the cluster's slurm.conf, or use scheduler='local'",
        )


def detect(machine: Machine | None = None) -> str:
    """Name the batch system whose commands are here: ``slurm``, or ``local`` where there is none.

    SLURM's packages may be installed on a machine that belongs to no cluster: that is ``local``.

    Raises ``BatchSystemUnavailable`` where the commands are those of a system that is not built yet, or of a SLURM
    whose configuration is lost: running everything on its login node is not what anybody meant.
    """
    machine = machine or Machine()
    if all(machine.which(command) for command in Slurm().commands):
        return "local" if _without_cluster(machine) else "slurm"
    for name, commands in PLANNED.items():
        if all(machine.which(command) for command in commands):
            raise _not_built(
                f"the batch system here is {_TITLES[name]} ({commands[0]} was found), which is not supported yet"
            )
    return "local"


def _without_cluster(machine: Machine) -> Completed | None:
    """Return what SLURM says where its packages are but no cluster. Raises when its configuration is lost."""
    # Not left to SLURM: each of its commands would wait a minute for the file to come.
    if lost := lost_configuration(machine.environment, machine.is_there):
        raise BatchSystemUnavailable(
            f"SLURM_CONF is {lost!r}, and there is no such file: SLURM's commands cannot find their cluster",
            advice="unset SLURM_CONF, which a lab that was brought down leaves in its shell, or set it anew",
        )
    done = None if machine.run is None else machine.run(Command(("scontrol", "ping"), timeout=10.0))
    return done if done is not None and is_without_cluster(done) else None


def _not_built(message: str) -> BatchSystemUnavailable:
    return BatchSystemUnavailable(message, advice=_ADVICE)
