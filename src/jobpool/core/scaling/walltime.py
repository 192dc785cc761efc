"""How an agent uses its walltime: until when it takes calls, and which of them.

::

    joined ──────────── takes calls that fit ──────────── closes ── notice ── deadline ─► SIGTERM ── KillWait ─► SIGKILL

From ``closes`` on nothing begins, what has not begun goes elsewhere, and what runs goes on or leaves a checkpoint. The
agent keeps this time by its own clock, so that a server which is slow or cut off costs no call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["FRESH", "LATE", "LEAD_EXTRA", "LEAD_SHARE", "NOTICE", "NOTICE_SHARE", "Span", "notice"]

NOTICE = 60.0
"""Seconds before the deadline when an agent takes its leave: a checkpoint of some GB gets through in them, and SLURM's
own signals are as early at times. Calls end until the deadline, so only what would have begun in them is lost."""

NOTICE_SHARE = 0.1
"""Part of a walltime that the notice is at most: of the one minute that SLURM has at least, 54 seconds are left."""

FRESH = 0.1
"""Part of its time that an agent may have used up when it takes a call that no whole walltime is expected to be enough
for. Such a call gets its chance, but not what somebody else has left over."""

LATE = 0.1
"""Part of its walltime that a job should have left when its agent connects. One with less would be gone before it had
served, and the next one too: what its script does before takes too long, or a clock is wrong."""

LEAD_SHARE = 0.25
"""Part of a walltime that a job is replaced ahead of its end at most: where jobs wait in the queue for longer, the new
one would have too many idle beside it when it came early."""

LEAD_EXTRA = 2.0
"""Seconds between the decision that a job is missing and its submission, at most (``settle_at_most``, and a tick)."""


def notice(walltime: float) -> float:
    """Return how long before its deadline an agent with so many seconds takes its leave."""
    return min(NOTICE, NOTICE_SHARE * walltime)


@dataclass(frozen=True, slots=True)
class Span:
    """The time that an agent has for calls."""

    joined: float
    closes: float = math.inf

    @classmethod
    def until(cls, deadline: float | None, *, joined: float) -> Span:
        """Return the time of an agent that joined then. None: it has no end."""
        if deadline is None:
            return cls(joined)
        return cls(joined, deadline - notice(max(0.0, deadline - joined)))

    @property
    def whole(self) -> float:
        """Seconds from beginning to end."""
        return self.closes - self.joined

    @property
    def endless(self) -> bool:
        """Whether it has no end."""
        return self.closes == math.inf

    def fits(self, need: float, time: float) -> bool:
        """Whether a call that needs so many seconds may begin now. One that needs more than any has may at first."""
        if need < self.closes - time:
            return True
        return need >= self.whole and self.joined <= time <= self.joined + FRESH * self.whole
