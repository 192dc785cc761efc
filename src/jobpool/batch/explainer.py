"""What a batch system tells people: reasons, what is left of limits, facts of the site, and what their scripts ask for.

Pure, as the batch system itself: commands are made here, and run elsewhere. A pool needs none of it to run calls; so it
is a class of its own, which ``registry.explainer`` loads when somebody asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.rules import Rules
from jobpool.model.site import Partition, Quota
from jobpool.model.units import Duration

__all__ = ["Enforcement", "Explainer", "Remark", "SiteFacts", "Surroundings", "Used"]

Used = tuple[str, float, float]
"""What is limited and for whom (``CPU minutes (account 'bio')``), the limit, and how much is used."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence on something that the user may not expect, with what can be done."""

    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Whether jobs are held to what they asked for."""

    loose: tuple[str, ...] = ()
    """What they are not held to: ``cores``, ``memory``."""
    words: str = ""
    """By which setting, in the batch system's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """What a batch system says of itself beyond its limits."""

    accounting: str | None = None
    """Why there is no accounting, in the batch system's words. Empty: there is. None: not known."""
    forgets_after: str = ""
    """How long the queue shows jobs that ended, in the batch system's words. Empty: not known."""
    enforcement: Enforcement | None = None
    """None: not known."""
    own_jobs: Mapping[str, int] | None = None
    """Jobs of this user in the queue, by state. None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """By what a process sees that a batch system, or its launcher, has started it."""

    variables: tuple[str, ...] = ()
    """Beginnings of the names of variables that change how jobs are asked for, or how programs run in them."""
    step_variables: tuple[str, ...] = ()
    """Beginnings of the names of those that describe one step, or rank, of a job."""
    counts: tuple[str, ...] = ()
    """Variables that tell how many processes the launcher has started."""
    scratch: tuple[str, ...] = ()
    """Variables that name a folder for large files of the job."""
    launchers: tuple[str, ...] = ()
    """Commands that start a program several times at once."""
    starters: tuple[str, ...] = ()
    """Commands by which a program is run inside of a job."""

    def __add__(self, other: Surroundings) -> Surroundings:
        return Surroundings(
            variables=self.variables + other.variables,
            step_variables=self.step_variables + other.step_variables,
            counts=self.counts + other.counts,
            scratch=self.scratch + other.scratch,
            launchers=self.launchers + other.launchers,
            starters=self.starters + other.starters,
        )


_CLOCK: Mapping[int, tuple[int, ...]] = {1: (1,), 2: (60, 1), 3: (3600, 60, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """The answers for a batch system that has none of its own. A subclass in its folder says what it knows better."""

    rules: Rules = field(default_factory=Rules)
    """How it reads a request, and what it allocates for it."""
    surroundings: Surroundings = field(default_factory=Surroundings)
    seconds_of_fields: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """What the fields of a time ``a:b:c`` count, by their number; of those that are missing, the last is a second."""
    dask_cluster: str = ""
    """The class of dask-jobqueue whose scripts :meth:`cluster_script` writes. Empty: none."""
    reads_scripts: bool = False
    """Whether :meth:`read_script` can read a job script of the user's."""

    def explain_reason(self, reason: str) -> str:
        """Say in plain sentences what a pending reason means and what can be done. Empty: nothing is known of it."""
        return ""

    def remarks(self, environment: Mapping[str, str]) -> tuple[Remark, ...]:
        """Say what variables of the user's change about jobs and commands."""
        return ()

    def read_walltime(self, text: str) -> Duration:
        """Read a time as its submit command does. Raises ``ValueError``."""
        text = text.strip()
        if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,2}", text):
            return Duration.parse(text)
        fields = [int(part) for part in text.split(":")]
        sizes = {**_CLOCK, **self.seconds_of_fields}[len(fields)]
        return Duration.parse(sum(field * size for field, size in zip(fields, sizes, strict=True)))

    def read_own_keys(self, section: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
        """Return what keys of dask-jobqueue's section for this batch system alone mean here.

        By setting (``system_options``, or ``job_extra`` for more lines of it): the key there, and the value. Raises
        ``ValueError`` for one that cannot be read.
        """
        return {}

    def job_of_log(self, stem: str) -> tuple[str, JobId, int | None] | None:
        """Return the submission, the id and the index of the job whose log has this name, without its ``.log``.

        The index is None where the name does not tell it. Where it does, the id that the job's agent has written down
        counts, and this one if there is none. None: it is no name of a job's log.
        """
        match = re.fullmatch(r"(jp-.+-[0-9a-f]{8}-\d+)-(.+)", stem)
        return None if match is None else (match[1], JobId(match[2]), None)

    # --------------------------------------------------------------------------------------------------- the site

    def site_commands(self) -> tuple[Command, ...]:
        """Make the commands that tell facts of the site."""
        return ()

    def parse_site(self, done: Sequence[Completed]) -> SiteFacts:
        """Read their answers."""
        return SiteFacts()

    def left_commands(self, user: str) -> tuple[Command, ...]:
        """Make the commands that tell how much of the limits of account and QoS is used."""
        return ()

    def parse_left(
        self, done: Sequence[Completed], *, user: str, uid: int, account: str | None, qos: Sequence[Quota]
    ) -> tuple[Used, ...] | None:
        """Read their answers, for jobs that are charged to this account and run under these QoS. None: not known."""
        return None

    # ------------------------------------------------------------------------------------ job scripts of the user's

    def directs(self, text: str) -> bool:
        """Say whether a script has directives for this batch system."""
        return False

    def read_script(self, text: str) -> ScriptWish:
        """Read a job script. Raises ``ConfigError`` for one whose directives are another batch system's."""
        raise ConfigError("job scripts of this batch system cannot be explained")

    def pitfalls(
        self, asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]
    ) -> tuple[str, ...]:
        """Name what in a script is not as it looks, each with what to write instead.

        ``nodes`` is what it gets on the nodes of the partitions ``places``, where it may run.
        """
        return ()

    def cluster_script(self, arguments: Mapping[str, Any], memory: int) -> str:
        """Write the job script of :attr:`dask_cluster` for these arguments, of which ``memory`` is this many bytes."""
        raise ConfigError("scripts of dask-jobqueue's cluster for this batch system cannot be explained")
