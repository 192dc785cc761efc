"""What the doctor says: one thing that was looked at, and how bad it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["GIB", "Finding", "Level", "ok", "worst"]

GIB = 2**30


class Level(enum.IntEnum):
    """How bad a finding is."""

    OK = 0
    """Looked at, and well."""
    NOTE = 1
    """To be known."""
    WARNING = 2
    """It may go wrong, or wastes time."""
    PROBLEM = 3
    """Calls fail, or give wrong results."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at, in a word or two."""
    level: Level
    text: str
    """What is so, with the evidence."""
    cure: str = ""
    """What to do; empty where nothing is to be done."""

    def as_data(self) -> dict[str, str]:
        """Return the same as strings, as ``jobpool doctor --json`` prints it."""
        return {"subject": self.subject, "level": self.level.name.lower(), "text": self.text, "cure": self.cure}


def ok(subject: str, text: str) -> Finding:
    """Make a finding that complains of nothing."""
    return Finding(subject, Level.OK, text)


def worst(findings: list[Finding]) -> Level:
    """Return the highest level."""
    return max((finding.level for finding in findings), default=Level.OK)
