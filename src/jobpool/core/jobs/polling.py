"""When to ask the batch system about the jobs: one question at a time, and politely."""

from __future__ import annotations

from jobpool.core.jobs.cadence import Cadence
from jobpool.core.settings import CoreSettings

__all__ = ["Polling"]

_COMPLAIN_AFTER = 3
"""Polls without an answer before a person is told."""

_SLOWEST_AT_END = 5.0
"""Seconds between two polls at most while somebody waits for the shutdown."""

_SLOWEST_AT_START = 10.0
"""Seconds between two polls at most while an agent is awaited: its script may fail late, and then nothing serves."""


_SLOWEST_HELD = 1800.0
"""Seconds between two polls at most while all jobs are held: a job that is released tells it by its agent."""

_HELD_GROWTH = 30
"""Part of the time since anything changed that passes between two of these polls."""


class Polling:
    """The state of the poll."""

    def __init__(self, settings: CoreSettings, now: float) -> None:
        self._settings = settings
        self._cadence = Cadence(now, settings.poll_fast)
        self._asked: float | None = None
        self._last = float("-inf")
        self._news = False
        self._changed = now
        self._again = False
        self._unanswered = 0
        self.ending = False
        """A person waits for the jobs to go: ask more often."""

    @property
    def under_way(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked is not None

    @property
    def due(self) -> float:
        """When to ask next."""
        return self._cadence.due

    def hurry(self, now: float, *, at_once: bool = False) -> None:
        """Note a change: the next answer will be worth having."""
        self._news, self._changed = True, now
        fast = self._fast
        # At once, but for one thing: when many agents leave one after the other, each would bring a question.
        soonest = max(now, self._last + fast)
        self._cadence = Cadence(soonest, fast) if at_once else self._cadence.hurry(now, fast)
        self._again |= at_once and self.under_way  # the answer under way will not tell of it

    def ask(self, now: float) -> None:
        """Note that the question goes out."""
        self._asked, self._last, self._news = now, now, False

    def answered(self) -> float:
        """Note that an answer came. Returns when it was asked for: what happened since then is newer."""
        asked, self._asked = self._asked, None
        self._unanswered = 0
        return float("-inf") if asked is None else asked

    def rest(self, now: float, *, pressing: bool, starting: bool, held: bool = False) -> None:
        """Set the time of the next question, after an answer was read.

        ``pressing``: something is open that only the batch system can answer. ``starting``: so it is when a script
        fails before its agent is there. ``held``: nothing will happen before a person acts.
        """
        if self._again:
            self._cadence = Cadence(max(now, self._last + self._fast), self._fast)
        elif pressing or self._news:
            self._cadence = Cadence(now + self._fast, self._fast)
        else:
            slowest = min(self._slow, _SLOWEST_AT_START) if starting else self._slow
            if held and not self.ending:
                slowest = max(slowest, min(_SLOWEST_HELD, (now - self._changed) / _HELD_GROWTH))
            self._cadence = self._cadence.quiet(now, slowest, self._settings)
        self._again = False

    def failed(self, now: float) -> bool:
        """Note that the batch system could not be asked. Returns whether it is time to tell a person."""
        self._asked = None
        self._unanswered += 1
        self._cadence = self._cadence.quiet(now, self._slow, self._settings)
        return self._unanswered == _COMPLAIN_AFTER

    @property
    def _fast(self) -> float:
        return self._settings.poll_at_end if self.ending else self._settings.poll_fast

    @property
    def _slow(self) -> float:
        return _SLOWEST_AT_END if self.ending else self._settings.poll_slow
