"""A command of a batch system, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["UNREACHABLE", "Command", "Completed", "Unset"]

UNREACHABLE = 75
"""Exit code of a job whose agent found no way to the server (sysexits.h's EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Unset:
    """Variables of a batch system by which a user's profile, or a job, would change what its commands do or print."""

    prefixes: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    """Names that begin so and stay: the way to the batch system."""

    def cleaned(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment without these variables."""
        return {
            name: value
            for name, value in environment.items()
            if name in self.kept or not name.startswith(self.prefixes)
        }


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the batch system, to be run without a shell."""

    argv: tuple[str, ...]
    stdin: str | None = None
    timeout: float = 60.0
    """Seconds. Above the 10-18 s that SLURM's commands take to give up on a frozen controller."""
    environment: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """All variables that it runs with. None: those of the process that runs it, but for ``unset``. Not printed: they
    may hold secrets."""
    unset: Unset = field(default=Unset(), repr=False)
    """What it does not see of the variables of the process that runs it."""
    host: str | None = None
    """The host on which it runs, as ``ssh`` takes it. None: this one."""
    variables: tuple[tuple[str, str], ...] = ()
    """What it sees besides them, by which it answers at once, or in a form that can be read."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of a :class:`Command`. ``returncode`` is None when it did not finish in time or could not start."""

    command: Command
    returncode: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command said that it succeeded."""
        return self.returncode == 0

    @property
    def words(self) -> str:
        """What the batch system said, for a person: stderr, else stdout, stripped."""
        return (self.stderr.strip() or self.stdout.strip())[-4000:]
