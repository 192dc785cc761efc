"""The practice batch systems that there are: one line each, and what a shell is told of them.

The record ``lab.json`` in a lab's directory says of which system it is.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, cast

from jobpool.model.errors import ConfigError

__all__ = [
    "KINDS",
    "USUAL",
    "Lab",
    "LabKind",
    "attached",
    "export_line",
    "lab_class",
    "lab_down",
    "lab_up",
    "missing",
    "unset_line",
]


class Lab(Protocol):
    """A practice batch system: real daemons on the loopback address, for one user, that end with their owner."""

    directory: Path

    @classmethod
    def attach(cls, directory: str | Path) -> Self:
        """Take hold of the lab that another process brought up there. Raises ``LabFailed`` when there is none."""
        ...

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands to this lab."""
        ...

    def up(self, *, detached: bool = False) -> None:
        """Bring it up, and return when it can run jobs. ``detached``: it outlives this process."""
        ...

    def down(self) -> None:
        """End all jobs and daemons, and remove all that the lab made. Does nothing when it is not up."""
        ...

    def cancel_jobs(self, timeout: float = 10) -> None:
        """End all jobs, and wait until the queue is empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LabKind:
    """Where the lab of one batch system is made."""

    title: str
    module: str
    """Beside this one."""
    name: str
    """Of the class, which takes a directory and, where it has several nodes, ``nodes``."""
    missing: str
    """A function in the module: lists the Debian packages that the lab needs and this machine lacks."""
    options: frozenset[str] = frozenset()
    """Keywords of the class that ``jobpool lab up`` has options for."""


KINDS: Mapping[str, LabKind] = {
    "slurm": LabKind(
        title="SLURM",
        module="slurm",
        name="SlurmLab",
        missing="lab_missing",
        options=frozenset({"nodes", "accounting"}),
    ),
    "sge": LabKind(title="Grid Engine", module="sge", name="GridEngineLab", missing="sge_missing"),
    "htcondor": LabKind(
        title="HTCondor",
        module="htcondor",
        name="HTCondorLab",
        missing="htcondor_missing",
        options=frozenset({"nodes"}),
    ),
    "oar": LabKind(title="OAR", module="oar", name="OarLab", missing="missing", options=frozenset({"nodes"})),
}
"""By the word in ``scheduler=``."""

USUAL = "slurm"
"""The one that is brought up when none is named: it needs no root."""


def lab_class(system: str) -> Any:
    """Return the class of the labs of a batch system."""
    return getattr(_module(system), KINDS[system].name)


def missing(system: str, **options: Any) -> Sequence[str]:
    """List the Debian packages that such a lab needs and this machine lacks. Raises as :func:`lab_up` for options."""
    _check_options(system, options)
    return cast(Sequence[str], getattr(_module(system), KINDS[system].missing)(**options))


def lab_up(directory: str | Path, *, system: str = "slurm", **options: Any) -> Lab:
    """Bring a lab up that outlives this process; end it with :func:`lab_down`.

    ``options``: ``nodes`` and ``accounting``, where the batch system's lab has them. Raises ``ConfigError`` for others,
    ``LabFailed`` where a lab of another batch system is in the directory, and as the lab's own ``up``.
    """
    from jobpool.testing.labs.daemon import LabFailed

    _check_options(system, options)
    with suppress(FileNotFoundError):
        if (there := _system_of(Path(directory))) != system:
            raise LabFailed(
                f"{Path(directory).absolute()} holds a lab of {KINDS[there].title}",
                advice="bring it down first (jobpool lab down), or choose another directory for this one (--directory)",
            )
    lab = cast(Lab, lab_class(system)(directory, **options))
    lab.up(detached=True)
    return lab


def _check_options(system: str, options: Mapping[str, Any]) -> None:
    if others := sorted(options.keys() - KINDS[system].options):
        raise ConfigError(f"a lab of {KINDS[system].title} has no option {', '.join(others)}")


def lab_down(directory: str | Path) -> None:
    """End the lab in a directory, and its jobs. Raises :class:`~jobpool.testing.LabFailed` when there is none."""
    attached(directory).down()


def attached(directory: str | Path) -> Lab:
    """Take hold of the lab in a directory, of whatever system. Raises ``LabFailed`` when there is none."""
    from jobpool.testing.labs.daemon import LabFailed  # with psutil, which the command line does not load for its help

    try:
        system = _system_of(Path(directory))
    except FileNotFoundError:
        raise LabFailed(f"there is no lab in {Path(directory).absolute()}") from None
    return cast(Lab, lab_class(system).attach(directory))


def _system_of(directory: Path) -> str:
    return str(json.loads((directory / "lab.json").read_text()).get("system", "slurm"))


def export_line(environment: Mapping[str, str]) -> str:
    """Write the line for a shell that leads its commands to a lab."""
    return "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())


def unset_line(directory: Path, environment: Mapping[str, str], lab: Mapping[str, str] | None = None) -> str:
    """Write the line for a shell whose commands are led to the lab in this directory. Empty: they are not.

    ``lab``: the variables of that lab. Those that are no paths, such as a port, go with the others: they would lead the
    shell's commands astray on their way to another cluster.
    """
    if not any(_leads_to(value, directory) for value in environment.values()):
        return ""
    own = {name for name, value in (lab or {}).items() if environment.get(name) == value and ":" not in value}
    inside = [name for name, value in environment.items() if name in own or _leads_to(value, directory)]
    return f"unset {' '.join(inside)}"


def _leads_to(value: str, directory: Path) -> bool:
    # A PATH keeps its other entries: it is not unset.
    return value.startswith("/") and ":" not in value and Path(value).is_relative_to(directory)


def _module(system: str) -> Any:
    return importlib.import_module(f"jobpool.testing.labs.{KINDS[system].module}")
