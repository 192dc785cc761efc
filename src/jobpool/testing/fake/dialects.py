"""How batch systems speak and what they do with jobs: one record of habits each, for the fake cluster to take on.

No dialect in ``DIALECTS`` is a copy of one batch system. Each puts together habits that real ones have and SLURM has
not, so that a pool meets all of them; who has which habit is said beside it. Those in ``IMITATED`` are of real ones,
whose commands answer in their own words.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobpool.model.job import JobId

__all__ = ["DIALECTS", "FULL_SUITE", "IMITATED", "SLURM", "VARIABLE", "Dialect"]

VARIABLE = "JOBPOOL_FAKE_DIALECT"
"""The variable that tells jobpool which dialect the fake cluster speaks, of which there is one on the PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The habits of one batch system. The defaults are SLURM's."""

    name: str
    scheduler: str = "slurm"
    """The word in ``scheduler=`` of the batch system that has these habits: its commands are those of the cluster."""
    plain: str = "{base}"
    """The id of a job that is no element of an array. ``base`` is the number of the submission."""
    element: str = "{base}_{number}"
    """The id of an array's element: ``number`` is its place, ``raw`` a number that no other job has."""
    array: str = "{base}"
    """What the submit command calls a whole array. Empty: it lists the ids of all elements (OAR)."""
    first: int = 0
    """The number of an array's first element (Grid Engine, LSF and OAR count from 1)."""
    array_of_one: bool = True
    """Whether there are arrays of one element (PBS refuses them)."""
    accounting: bool = True
    """Whether a command tells how jobs ended (OAR, and PBS without history, have none)."""
    shows_ended: bool = True
    """Whether the listing shows jobs that have ended (PBS and Grid Engine drop them at once)."""
    lists_all: bool = False
    """The listing takes no names and shows all jobs of the user (PBS, Grid Engine)."""
    finds_names: bool = True
    """Whether jobs can be cancelled by their submission's name."""
    ids_per_cancel: int | None = None
    """More ids than this in one cancel bring the batch system down (PBS: 1). None: there is no such limit."""
    notice: int | None = signal.SIGTERM
    """The signal before SIGKILL, when a job is cancelled or its walltime is over. None: there is none (OAR)."""
    kill_wait: float = 3.0
    """Seconds between the two: ``KillWait`` of the practice SLURM (default 30)."""
    tells_log: bool = True
    """Whether it writes into a job's log why it ends it."""
    holds_failed_starts: bool = False
    """A job whose script cannot be started is held for good, and does not end (PBS, Grid Engine's ``Eqw``)."""
    described: bool = False
    """What a job needs stands in a file beside its script, and not in it (HTCondor)."""
    hangs: int | None = None
    """Of so many commands of one kind the last does its work and hangs (PBS, Grid Engine). That which tells the limits
    never does: without them nothing is refused before it is submitted."""
    patience: float = 60.0
    """Seconds after which jobpool gives up on a command."""
    programs: tuple[str, ...] = ("sbatch", "squeue", "scancel", "sacct", "scontrol", "sinfo", "sacctmgr")
    """Its commands; the first is the one that submits."""

    def id_of(self, base: int, number: int | None, raw: int) -> JobId:
        """Return the id of a job."""
        return JobId((self.plain if number is None else self.element).format(base=base, number=number, raw=raw))

    def base_of(self, told: str) -> int | None:
        """Return the number of a submission from what the submit command calls it; None where that is no id."""
        for template in (self.array, self.plain):
            if template and (found := re.fullmatch(_pattern(template), told)):
                return int(found["base"])
        return None

    def number_of(self, id: JobId) -> int | None:
        """Return the number of an array's element as its id tells it; None for other jobs, and where ids do not."""
        found = re.fullmatch(_pattern(self.element), id)
        return int(found["number"]) if found and "number" in found.groupdict() else None


def _pattern(template: str) -> str:
    parts = re.split(r"\{(base|number|raw)\}", template)
    return "".join(re.escape(part) if place % 2 == 0 else f"(?P<{part}>[0-9]+)" for place, part in enumerate(parts))


SLURM = Dialect(name="slurm")

_NEUTRAL: dict[str, Any] = {
    "scheduler": "fake",
    "programs": ("fake-submit", "fake-list", "fake-cancel", "fake-account", "fake-limits"),
    "tells_log": False,
}

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="brackets",
            plain="{base}.node1",
            element="{base}[{number}].node1",
            array="{base}[].node1",
            first=1,
            array_of_one=False,
            accounting=False,
            shows_ended=False,
            lists_all=True,
            finds_names=False,
            ids_per_cancel=1,
            holds_failed_starts=True,
            **_NEUTRAL,
        ),
        Dialect(
            name="abrupt",
            element="{base}.{number}",
            first=1,
            accounting=True,
            shows_ended=False,
            lists_all=True,
            notice=None,
            holds_failed_starts=True,
            **_NEUTRAL,
        ),
        Dialect(
            name="numbered",
            element="{raw}",
            array="",
            first=1,
            accounting=False,
            shows_ended=False,
            finds_names=False,
            notice=None,
            holds_failed_starts=True,
            **_NEUTRAL,
        ),
        Dialect(
            name="hanging",
            plain="{base}.0",
            element="{base}.{number}",
            accounting=True,
            notice=signal.SIGUSR2,
            described=True,
            hangs=3,
            patience=2.0,
            **_NEUTRAL,
        ),
    )
}
"""The dialects of batch systems that there are not, by name: ``scheduler="fake"``."""

_PBS = Dialect(
    name="pbs",
    scheduler="pbs",
    plain="{base}.node1",
    element="{base}[{number}].node1",
    array="{base}[].node1",
    array_of_one=False,
    accounting=False,  # a job history, which most sites do not keep
    shows_ended=False,
    lists_all=True,
    finds_names=False,
    ids_per_cancel=1,
    tells_log=False,
    holds_failed_starts=True,
    programs=("qsub", "qstat", "qdel", "qselect", "pbsnodes"),
)

_LSF = Dialect(
    name="lsf",
    scheduler="lsf",
    element="{base}[{number}]",
    first=1,
    notice=signal.SIGINT,
    tells_log=False,
    programs=("bsub", "bjobs", "bkill", "bqueues", "bhosts", "lshosts", "bhist", "lsid", "bparams", "bmgroup"),
)

IMITATED: Mapping[str, Dialect] = {dialect.scheduler: dialect for dialect in (_PBS, _LSF)}
"""The dialects of real batch systems other than SLURM, by the word in ``scheduler=``."""

FULL_SUITE = "brackets"
"""The dialect farthest from SLURM: the whole behaviour suite runs on it."""
