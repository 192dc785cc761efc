"""How often the batch system is asked."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.core.settings import CoreSettings

__all__ = ["Cadence"]


@dataclass(frozen=True, slots=True)
class Cadence:
    """When to ask the batch system next: soon after a change, and ever more rarely while nothing changes."""

    due: float
    interval: float

    def quiet(self, now: float, slowest: float, settings: CoreSettings) -> Cadence:
        """Go on after an answer that told nothing new."""
        interval = min(slowest, self.interval * settings.poll_growth)
        return Cadence(now + interval, interval)

    def hurry(self, now: float, interval: float) -> Cadence:
        """Ask within ``interval`` seconds."""
        return Cadence(self.due if now < self.due < now + interval else now + interval, interval)
