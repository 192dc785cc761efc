"""What an LSF leaves a user: how many of her job slots, and of the jobs that she may have pending, are taken."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.batch.explainer import Used
from jobpool.batch.lsf import environment
from jobpool.model.command import Command, Completed

__all__ = ["command", "parse"]

_COLUMNS = (
    ("MAX", "NJOBS", "job slots at once, in use or asked for"),
    ("MPEND", "PEND", "job slots of pending jobs"),
    ("MPJOBS", "PJOBS", "pending jobs"),
)
"""Limit, what is used of it, and what it is called. Not all versions have all of them."""


def command(user: str) -> Command:
    """Make the command."""
    return environment.command("busers", "-w", user, timeout=20.0)


def parse(done: Completed, user: str) -> tuple[Used, ...] | None:
    """Read its answer: a table with a dash where there is no limit. None: it does not say."""
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    row = next((line for line in lines if line[0] == user), None)
    if not done.ok or row is None or len(row) != len(lines[0]):
        return None
    return tuple(_limits(dict(zip(lines[0], row, strict=True)), user))


def _limits(row: dict[str, str], user: str) -> Iterator[Used]:
    for limit, used, what in _COLUMNS:
        if row.get(limit, "-").isdecimal() and row.get(used, "-").isdecimal():
            yield f"{what} ({user})", float(row[limit]), float(row[used])
