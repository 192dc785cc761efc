"""What a SLURM says of itself beyond its limits: configuration, accounting, the user's own jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from jobpool.batch.slurm.environment import command
from jobpool.model.command import Command, Completed

__all__ = ["commands", "parse"]

_TOLD = ("TaskPlugin", "ConstrainCores", "ConstrainRAMSpace", "MinJobAge", "SLURM_VERSION", "AccountingStorageType")


def commands() -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command("scontrol", "show", "config"),
        command("sacct", "--noheader", "--allocations", "--starttime=now"),
        command("squeue", "--me", "--noheader", "--array", "--format=%T"),
    )


def parse(done: Sequence[Completed]) -> tuple[Mapping[str, str], str, Mapping[str, int] | None]:
    """Read their answers: configuration; why there is no accounting (empty: there is); own jobs by state."""
    config, account, queue = done
    pairs = (line.partition("=") for line in config.stdout.splitlines()) if config.ok else ()
    told = {name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip() in _TOLD}
    words = "" if account.ok else account.words.splitlines()[0] if account.words else "sacct does not answer"
    return told, words, Counter(queue.stdout.split()) if queue.ok else None
