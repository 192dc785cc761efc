"""How many jobs to ask for, and when. Pure: numbers in, numbers out.

A job holds ``workers_per_job`` workers, so their number may pass ``max_workers`` in the last job; ``tasks`` then leaves
the workers above it idle, so that never more than ``max_workers`` calls run at once.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from jobpool.core.settings import CoreSettings
from jobpool.model.site import Limits

__all__ = ["Backoff", "Demand", "Settling", "chunks", "jobs_wanted"]


class Demand(Struct, frozen=True, kw_only=True):
    """What is wanted of one request, in workers."""

    calls: int
    """Calls that wait or run."""
    tasks: int = 0
    """Tasks of Dask graphs."""
    min_workers: int = 0
    max_workers: int = 1
    held: int | None = None
    """``scale(n)``: exactly so many, whatever the demand and ``max_workers``."""

    @property
    def ceiling(self) -> int:
        """Workers that may be in use at once."""
        return self.max_workers if self.held is None else self.held

    @property
    def workers(self) -> int:
        """Workers to have."""
        if self.held is not None:
            return self.held
        return min(self.max_workers, max(self.min_workers, self.calls + self.tasks))

    @property
    def full(self) -> bool:
        """Whether more calls would not make it more."""
        return self.workers >= self.ceiling


def jobs_wanted(demand: Demand, *, workers_per_job: int, limits: Limits) -> int:
    """Return how many jobs give these workers, rounded up, within the site's number of jobs."""
    jobs = -(-demand.workers // workers_per_job)
    return jobs if limits.max_jobs is None else min(jobs, max(1, limits.max_jobs))


def chunks(jobs: int, limits: Limits) -> list[int]:
    """Cut a number of jobs into submissions that the site's array limit allows."""
    most = limits.max_array_size or jobs
    return [min(most, jobs - start) for start in range(0, jobs, max(1, most))]


class Settling(Struct, frozen=True):
    """Demand on its way up: jobs are asked for when it stands still, or has grown for long enough."""

    wanted: int = 0
    first: float = 0.0
    changed: float = 0.0

    def step(self, wanted: int, now: float) -> Settling:
        """Note how many jobs are wanted now."""
        if self.wanted == 0:
            return Settling(wanted, now, now)
        return self if wanted == self.wanted else replace(self, wanted=wanted, changed=now)

    def due(self, settings: CoreSettings) -> float:
        """Return the time when jobs are to be asked for."""
        return min(self.changed + settings.settle, self.first + settings.settle_at_most)


class Backoff(Struct, frozen=True):
    """Restraint after refusals and failures: not before a time, and not more than so many jobs at once."""

    until: float = 0.0
    step: float = 0.0
    """The last pause in seconds; 0: none yet."""
    most: int | None = None
    """Jobs in the next submission at most; None: as many as wanted."""

    def longer(self, now: float, settings: CoreSettings) -> Backoff:
        """Wait, and twice as long as the last time."""
        step = min(settings.backoff_last, self.step * 2 or settings.backoff_first)
        return replace(self, step=step, until=max(self.until, now + step))

    def refused(self, count: int, now: float, settings: CoreSettings) -> Backoff:
        """Draw the lesson from a refusal that may lift, of ``count`` jobs.

        A submit limit refuses an array as a whole although a part of it would fit. So half of it is tried soon, and
        only a single job's refusal means to wait.
        """
        if count > 1:
            return replace(self, most=count // 2, until=max(self.until, now + settings.halving_gap))
        return replace(self.longer(now, settings), most=1)

    def accepted(self, count: int) -> Backoff:
        """Draw the lesson from a submission that was taken: after a refusal, feel the way up again."""
        return Backoff(self.until) if self.most is None else Backoff(self.until, 0.0, max(self.most, 2 * count))
