"""Which batch systems there are, and which one is here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobpool.batch.base import BatchSystem, Capabilities, Machine
from jobpool.batch.elsewhere import at
from jobpool.model.errors import BatchSystemUnavailable

if TYPE_CHECKING:
    from jobpool.batch.explainer import Explainer

__all__ = [
    "NAMES",
    "SYSTEMS",
    "Entry",
    "Found",
    "Machine",
    "capabilities",
    "detect",
    "explainer",
    "explainers",
    "find",
    "get",
    "require",
    "title",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One batch system, as far as it is known before it is used: its module is imported by :func:`get` alone."""

    title: str
    """As a sentence calls it."""
    commands: tuple[str, ...] = ()
    """Programs that are all there where it is, and tell it from others (qsub is PBS's and Grid Engine's)."""
    module: str
    """Has ``make(directory)``, which returns the :class:`~.base.BatchSystem`."""
    explainer: str | None = None
    """Has ``make()``, which returns the :class:`~.explainer.Explainer`. None: nothing is explained in its words."""
    listed: bool = True
    """Whether users are told of it."""


SYSTEMS = {
    "local": Entry(
        title="this machine",
        module="jobpool.batch.local.system",
        explainer="jobpool.batch.local.explainer",
    ),
    "slurm": Entry(
        title="SLURM",
        commands=("sbatch", "squeue", "scancel", "scontrol", "sinfo"),
        module="jobpool.batch.slurm.system",
        explainer="jobpool.batch.slurm.explainer",
    ),
    "fake": Entry(
        title="the fake cluster",
        commands=("fake-submit", "fake-list", "fake-cancel"),
        module="jobpool.testing.fake.system",
        listed=False,
    ),
    "pbs": Entry(
        title="PBS",
        commands=("qsub", "qstat", "qdel", "pbsnodes"),
        module="jobpool.batch.pbs.system",
        explainer="jobpool.batch.pbs.explainer",
    ),
    "sge": Entry(
        title="Grid Engine",
        commands=("qsub", "qstat", "qdel", "qconf"),
        module="jobpool.batch.sge.system",
        explainer="jobpool.batch.sge.explainer",
    ),
    "lsf": Entry(
        title="LSF",
        commands=("bsub", "bjobs", "bkill", "bqueues", "lsid"),
        module="jobpool.batch.lsf.system",
        explainer="jobpool.batch.lsf.explainer",
    ),
    "htcondor": Entry(
        title="HTCondor",
        commands=("condor_submit", "condor_q"),
        module="jobpool.batch.htcondor.system",
        explainer="jobpool.batch.htcondor.explainer",
    ),
    "oar": Entry(
        title="OAR",
        commands=("oarsub", "oarstat"),
        module="jobpool.batch.oar.system",
        explainer="jobpool.batch.oar.explainer",
    ),
}
"""All of them by the word in ``scheduler=``, in the order in which they are looked for."""

NAMES = (*(name for name, entry in SYSTEMS.items() if entry.listed and name != "local"), "local")
"""The words in ``scheduler=`` that users are told of, in the order in which a sentence lists them."""


def get(name: str, directory: Path, *, host: str | None = None) -> BatchSystem:
    """Return the batch system with this name.

    ``directory`` is the pool's, where ``local`` keeps its records. ``host``: its commands run there, by ssh. Raises
    ``BatchSystemUnavailable`` for a name that is unknown.
    """
    if (entry := SYSTEMS.get(name)) is None:
        raise _unknown(name)
    return at(cast(BatchSystem, importlib.import_module(entry.module).make(directory)), host)


def title(name: str) -> str:
    """Return the name of a batch system as a sentence calls it."""
    return SYSTEMS[name].title if name in SYSTEMS else name


def capabilities(name: str) -> Capabilities:
    """Return what jobs of this batch system can rely on; of one that is not known, what they can on most."""
    return get(name, Path()).capabilities if name in SYSTEMS else Capabilities()


def explainer(name: str) -> Explainer:
    """Return what explains this batch system to people. It is loaded when it is asked for: no pool needs it to run."""
    from jobpool.batch.explainer import Explainer

    entry = SYSTEMS.get(name)
    if entry is None or entry.explainer is None:
        return Explainer()
    return cast(Explainer, importlib.import_module(entry.explainer).make())


def explainers() -> dict[str, Explainer]:
    """Return those of all batch systems, by name: a machine may show traces of each."""
    return {name: explainer(name) for name in NAMES}


def require(name: str, machine: Machine | None = None) -> None:
    """Raise ``BatchSystemUnavailable`` when this system cannot be used on this machine."""
    machine = machine or Machine()
    system, entry = get(name, Path()), SYSTEMS[name]
    asked = f"{entry.title} was asked for (scheduler={name!r}), but"
    if missing := [command for command in entry.commands if machine.which(command) is None]:
        raise BatchSystemUnavailable(
            f"{asked} {', '.join(missing)} cannot be found",
            advice="run this where the batch system's commands are on the PATH, name such a host (submit_host=), or "
            "use scheduler='local'",
        )
    if (absent := system.presence(machine)) is not None:
        raise BatchSystemUnavailable(f"{asked} {absent.why}", words=absent.words, advice=absent.advice)


@dataclass(frozen=True, slots=True)
class Found:
    """The batch system that is taken on a machine."""

    name: str
    why: str = ""
    """Where there was a choice: why it is this one, and how another one is taken, for the user. Else empty."""


def find(machine: Machine | None = None) -> Found:
    """Find the batch system that has a cluster here: of those whose commands are here, the first one in the table.

    The packages of several may be installed, of which one has a cluster, or none: that is ``local``.

    Raises ``BatchSystemUnavailable`` where none has a cluster, but one cannot be used since its configuration is lost
    or its commands are of another make: running everything on its login node is not what anybody meant.
    """
    machine = machine or Machine()
    here = [
        name
        for name, entry in SYSTEMS.items()
        if entry.listed and entry.commands and all(map(machine.which, entry.commands))
    ]
    there: list[str] = []
    absent: dict[str, str] = {}
    unusable: list[BatchSystemUnavailable] = []
    for name in here:
        try:
            lacking = get(name, Path()).presence(machine)
        except BatchSystemUnavailable as error:  # those after it may have a cluster all the same
            unusable.append(error)
            absent[name] = f"{title(name)}: {error.message}"
            continue
        if lacking is None:
            there.append(name)
        else:
            absent[name] = f"{title(name)}: {lacking.why}"
    if not there:
        if unusable:
            raise unusable[0]
        return Found("local", _why_local(absent))
    name = there[0]
    passed_over = [why for other, why in absent.items() if here.index(other) < here.index(name)]
    return Found(name, _why_first(there, passed_over))


def _why_local(absent: Mapping[str, str]) -> str:
    if not absent:
        return ""
    return (
        "scheduler='auto' found commands of batch systems, but no cluster behind them, and runs the work on this "
        f"machine ({'; '.join(absent.values())})"
    )


def _why_first(there: list[str], passed_over: list[str]) -> str:
    name, *others = there
    said = []
    if passed_over:
        said.append(f"there is no cluster behind the commands of others ({'; '.join(passed_over)})")
    if others:
        listed = " and ".join(f"{title(other)} (scheduler={other!r} takes it)" for other in others)
        said.append(f"there is also {listed}")
    return f"scheduler='auto' took {title(name)}: {'; '.join(said)}" if said else ""


def detect(machine: Machine | None = None) -> str:
    """Name the batch system that :func:`find` finds. Raises as that does."""
    return find(machine).name


def _unknown(name: str) -> BatchSystemUnavailable:
    listed = [word for word, entry in SYSTEMS.items() if entry.listed]
    close = difflib.get_close_matches(name.lower(), listed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    known = ", ".join(map(repr, listed))
    return BatchSystemUnavailable(
        f"there is no batch system named {name!r}.{hint} Known are: {known}; 'auto' takes the one that is here"
    )
