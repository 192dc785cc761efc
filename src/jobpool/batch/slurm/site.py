"""What a SLURM says of itself beyond its limits: configuration, accounting, the user's own jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jobpool.batch.explainer import Enforcement, SiteFacts
from jobpool.batch.slurm.environment import command
from jobpool.batch.slurm.fields import Fields, pairs_of_lines
from jobpool.model.command import Command, Completed

__all__ = ["commands", "parse"]


def commands() -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command("scontrol", "show", "config"),
        command("sacct", "--noheader", "--allocations", "--starttime=now"),
        command("squeue", "--me", "--noheader", "--array", "--format=%T"),
    )


def parse(done: Sequence[Completed]) -> SiteFacts:
    """Read their answers."""
    config, account, queue = done
    told = pairs_of_lines(config.stdout) if config.ok else {}
    words = "" if account.ok else account.words.splitlines()[0] if account.words else "sacct does not answer"
    return SiteFacts(
        accounting=words,
        forgets_after=told.get("MinJobAge", ""),
        enforcement=_enforcement(told),
        own_jobs=Counter(queue.stdout.split()) if queue.ok else None,
    )


def _enforcement(config: Fields) -> Enforcement | None:
    """Say what jobs are not held to. None: the configuration does not tell."""
    plugins = config.get("TaskPlugin", "")
    limited = (("ConstrainCores", "cores"), ("ConstrainRAMSpace", "memory"))
    loose = tuple(what for key, what in limited if config.get(key, "yes").lower() != "yes")
    if plugins and "cgroup" not in plugins:
        loose = ("cores", "memory")
    return Enforcement(loose, f"TaskPlugin={plugins or 'not told'}") if plugins or loose else None
