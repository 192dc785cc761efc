"""What the user's ``setup`` lines print in a job, how long they take, and how long Python takes to start then.

::

    jobpool doctor: setup begins 2026-11-30 12:00:01,250      a line of ours before them
    The module ffmpeg is loaded.
    jobpool doctor: setup ends 2026-11-30 12:00:03,250        and one behind them
    2026-11-30 12:00:04,100 INFO jobpool.agent ... begins     the agent's own first line

All three times are in the words of the node's own clock and time zone, so that only their differences count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobpool.diagnose.finding import Finding, Level, ok
from jobpool.model.units import Duration

__all__ = ["SetupSeen", "findings", "read", "timed"]

_BEGINS, _ENDS = "jobpool doctor: setup begins", "jobpool doctor: setup ends"

_NOW = "$(date '+%Y-%m-%d %H:%M:%S,%3N')"
_TIME = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"

# The last line of what they print may lack its end: ours follows on it then.
_LOG = re.compile(
    rf"^{_BEGINS} {_TIME}\n(?P<said>.*?){_ENDS} {_TIME}\n(?P<between>.*?)(?:^{_TIME} [A-Z]+ jobpool\.agent |\Z)",
    re.MULTILINE | re.DOTALL,
)

_TROUBLE = re.compile(
    r"error|not found|no such file|cannot|can't|unable|unknown|permission denied|failed", re.IGNORECASE
)

_LONGEST = 900.0
"""Seconds between setup and the agent that can be true: in a container, the time zone may be another one."""

SLOW = 30.0
"""Seconds that every job spends before its first call, from which on it is worth a warning."""

MOST_LINES = 5
"""Lines of what setup prints that are shown, the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupSeen:
    """What the log of a job tells."""

    seconds: float
    """From before the first line until after the last one."""
    said: tuple[str, ...]
    """Lines that they printed, on stdout and stderr."""
    python: float | None
    """Seconds from then until the agent had begun. None: not known."""


def timed(setup: Sequence[str]) -> tuple[str, ...]:
    """Return the lines between two of ours that say the time."""
    return (f'echo "{_BEGINS} {_NOW}"', *setup, f'echo "{_ENDS} {_NOW}"')


def read(log: str) -> SetupSeen | None:
    """Read a job's log. None: our lines are not there, or not whole."""
    found = _LOG.search(log)
    if found is None:
        return None
    began, ended = _time(found[1]), _time(found[3])
    python = (_time(found[5]) - ended).total_seconds() if found[5] else None
    return SetupSeen(
        seconds=max(0.0, (ended - began).total_seconds()),
        said=tuple(line for line in found["said"].splitlines() if line.strip()),
        python=python if python is not None and 0 <= python < _LONGEST else None,
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f")


def findings(seen: SetupSeen | None, setup: Sequence[str]) -> Iterator[Finding]:
    """Say what was seen."""
    if seen is None:
        return
    if setup:
        yield _of_setup(seen, setup)
    if seen.python is not None:
        text = f"Python had begun {Duration(round(seen.python, 1))} after the job was set up"
        slow = "each job waits for it: put the environment on a faster file system, or in a container's image"
        yield Finding("python start", Level.WARNING, text, slow) if seen.python > SLOW else ok("python start", text)


def _of_setup(seen: SetupSeen, setup: Sequence[str]) -> Finding:
    lines = f"its {len(setup)} lines" if len(setup) > 1 else "its line"
    text = f"{lines} took {Duration(round(seen.seconds, 1))} in the job, and printed "
    if not seen.said:
        text += "nothing"
    else:
        more = f"; and {len(seen.said) - MOST_LINES} lines before" if len(seen.said) > MOST_LINES else ""
        text += f"{'; '.join(repr(line) for line in seen.said[-MOST_LINES:])}{more}"
    if any(_TROUBLE.search(line) for line in seen.said):
        return Finding("setup", Level.WARNING, text, "an error in setup does not stop a job: mend the line that has it")
    if seen.seconds > SLOW:
        return Finding("setup", Level.WARNING, text, "every job runs them before its first call: do less in them")
    return Finding("setup", Level.NOTE, text) if seen.said else ok("setup", text)
