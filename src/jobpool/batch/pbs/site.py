"""What a PBS says of itself beyond its limits: its job history, whether jobs are held to what they ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from jobpool.batch.explainer import SiteFacts
from jobpool.batch.pbs.answers import table_of
from jobpool.batch.pbs.environment import command
from jobpool.model.command import Command, Completed

__all__ = ["commands", "parse"]

_WORDS = {"Q": "queued", "H": "held", "W": "waiting", "R": "running", "E": "exiting", "S": "suspended", "B": "arrays"}


def commands() -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command("qstat", "-Bf", "-F", "json", timeout=20.0),
        command("sh", "-c", 'exec qstat -u "$(id -un)"', timeout=20.0),
    )


def parse(done: Sequence[Completed]) -> SiteFacts:
    """Read their answers."""
    server, queue = done
    table = table_of(server, "Server")
    row = None if isinstance(table, str) else next(iter(table.values()), {})
    history = None
    keeps = ""
    if row is not None:
        history = "" if str(row.get("job_history_enable")) == "True" else "job_history_enable is off"
        keeps = f"job_history_duration={row['job_history_duration']}" if "job_history_duration" in row else ""
    return SiteFacts(accounting=history, forgets_after=keeps, own_jobs=_own(queue))


def _own(done: Completed) -> Counter[str] | None:
    """Count the lines of ``qstat -u``, of which the last cell but one is the state."""
    if not done.ok:
        return None
    letters = [line.split()[-2] for line in done.stdout.splitlines() if line[:1].isdigit() and len(line.split()) > 3]
    return Counter(_WORDS.get(letter, letter) for letter in letters)
