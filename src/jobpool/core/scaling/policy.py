"""How many jobs to request, and when. Pure: numbers in, numbers out.

A job has ``workers_per_job`` workers, so that the last job may bring more than ``max_workers``. The scheduler leaves
the workers above ``max_workers`` idle, so that never more calls run at once.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from jobpool.core.settings import CoreSettings
from jobpool.model.site import Limits

__all__ = ["Backoff", "Demand", "Settling", "chunks", "jobs_wanted"]


class Demand(Struct, frozen=True, kw_only=True):
    """The demand for one request, in workers."""

    calls: int
    """Calls that wait or run."""
    tasks: int = 0
    """Tasks of Dask graphs."""
    min_workers: int = 0
    max_workers: int = 1
    held: int | None = None
    """The ``n`` of ``scale(n)``: exactly so many, whatever the demand and ``max_workers``."""

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
        """Whether more calls would not increase the demand."""
        return self.workers >= self.ceiling


def jobs_wanted(demand: Demand, *, workers_per_job: int, limits: Limits) -> int:
    """Return how many jobs give these workers, rounded up, within the site's limit of jobs."""
    jobs = -(-demand.workers // workers_per_job)
    return jobs if limits.max_jobs is None else min(jobs, max(1, limits.max_jobs))


def chunks(jobs: int, limits: Limits, array_size: int | None = None) -> list[int]:
    """Cut a number of jobs into submissions that the site's array limit, and the user's (None: none), allow."""
    most = min(limits.max_array_size or jobs, array_size or jobs)
    return [min(most, jobs - start) for start in range(0, jobs, max(1, most))]


class Settling(Struct, frozen=True):
    """Waits while the demand grows: jobs are requested when it is stable, or has grown for long enough."""

    wanted: int = 0
    first: float = 0.0
    changed: float = 0.0

    def step(self, wanted: int, now: float) -> Settling:
        """Note how many jobs are wanted now."""
        if self.wanted == 0:
            return Settling(wanted, now, now)
        return self if wanted == self.wanted else replace(self, wanted=wanted, changed=now)

    def due(self, settings: CoreSettings) -> float:
        """Return when to request jobs."""
        return min(self.changed + settings.settle, self.first + settings.settle_at_most)


class Backoff(Struct, frozen=True):
    """A back-off after refusals and failures: no jobs before a time, and a maximum number of jobs in a submission."""

    until: float = 0.0
    step: float = 0.0
    """The last pause in seconds; 0: none yet."""
    most: int | None = None
    """Maximum number of jobs in the next submission; None: no maximum."""

    def longer(self, now: float, settings: CoreSettings) -> Backoff:
        """Return a back-off that waits twice as long as this one."""
        step = min(settings.backoff_last, self.step * 2 or settings.backoff_first)
        return replace(self, step=step, until=max(self.until, now + step))

    def refused(self, count: int, now: float, settings: CoreSettings) -> Backoff:
        """Return the back-off after a temporary refusal of ``count`` jobs.

        A submit limit refuses a whole array even if a part of it would be accepted. So the pool soon tries half of the
        jobs, and waits only after the refusal of a single job. Jobs of many small submissions are refused together, of
        which each was made before the pause began: they do not make it longer.
        """
        if count > 1:
            return replace(self, most=count // 2, until=max(self.until, now + settings.halving_gap))
        longer = self if self.most is not None and now < self.until else self.longer(now, settings)
        return replace(longer, most=1)

    def accepted(self, count: int) -> Backoff:
        """Return the back-off after an accepted submission: after a refusal, double the maximum again."""
        return Backoff(self.until) if self.most is None else Backoff(self.until, 0.0, max(self.most, 2 * count))
