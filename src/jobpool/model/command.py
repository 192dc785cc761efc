"""A command of a batch system, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["UNREACHABLE", "Command", "Completed"]

UNREACHABLE = 75
"""Exit code of a job whose agent found no way to the server (sysexits.h's EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the batch system, to be run without a shell."""

    argv: tuple[str, ...]
    stdin: str | None = None
    timeout: float = 60.0
    """Seconds. Above the 10-18 s that SLURM's commands take to give up on a frozen controller."""
    environment: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """All variables that it runs with. None: those of the process that runs it, without those by which a user changes
    what SLURM's commands do (``SCANCEL_STATE``). Not printed: they may hold secrets."""


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
