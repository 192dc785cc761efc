"""The state of one request: submissions that were refused, jobs that failed, and the pauses that follow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from jobpool.core.jobs.machine import JobEntry
from jobpool.core.scaling.policy import Backoff, Demand, Settling, chunks, jobs_wanted
from jobpool.core.scaling.walltime import LEAD_EXTRA
from jobpool.core.settings import CoreSettings
from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import JobPoolError, JobsFailed, RequestRefused
from jobpool.model.job import Ending, EndingKind
from jobpool.model.request import Request
from jobpool.model.units import Duration

__all__ = ["RequestState", "jobs_failed", "request_refused"]

_NO_FAULT = frozenset({EndingKind.PREEMPTED, EndingKind.NODE_FAILED})
"""Endings that say nothing about the setup, even if the job never served."""

_UNREACHABLE_STARTS = 2
"""Jobs in a row that could not reach the server before the pool gives up: each has tried for most of a minute."""

_FADING = 0.9
"""Factor by which each faster job reduces the longest time in the queue: half after seven jobs."""


@dataclass(slots=True)
class RequestState:
    """What is known of the jobs for one request."""

    request: Request
    max_workers: int = 1
    settling: Settling = field(default_factory=Settling)
    backoff: Backoff = field(default_factory=Backoff)
    """The back-off after refusals; an accepted submission ends it."""
    caution: Backoff = field(default_factory=Backoff)
    """The back-off after jobs that ended without a result; a new job with a result ends it."""
    surplus_since: float | None = None
    startup: float = 0.0
    """Seconds from a job's submission to the connection of its agent: a maximum that decays, since queues change."""
    failures: int = 0
    """Jobs in a row that ended before they could run a call."""
    losses: int = 0
    """Losses in a row that were counted, without a new job with a result between."""
    learned: float = float("-inf")
    """When the last of them was counted. Jobs that were requested before do not count again: many jobs are lost at the
    same moment when a switch fails."""
    why: str = ""
    """Why no jobs are requested now, during a pause."""
    puzzle: tuple[str, int] = ("", 0)
    """An unknown message of the last submit commands, and how many in a row gave it and left no job."""
    broken: JobPoolError | None = None
    """Why no more jobs are requested for it."""

    def wanted(self, demand: Demand, settings: CoreSettings) -> int:
        """Return how many jobs the demand needs."""
        return jobs_wanted(demand, workers_per_job=self.request.workers_per_job, limits=settings.limits)

    def due(self, wanted: int, *, full: bool, now: float, settings: CoreSettings) -> float:
        """Return when to request the missing jobs. ``full``: the demand cannot grow any more."""
        self.settling = self.settling.step(wanted, now)
        settled = now if full else self.settling.due(settings)
        return max(settled, self.backoff.until, self.caution.until)

    def submissions(self, missing: int, settings: CoreSettings) -> list[int]:
        """Return the sizes of the submissions to make now."""
        self.settling = Settling()
        return chunks(min(missing, self.backoff.most or missing), settings.limits, settings.array_size)

    def puzzled(self, words: str) -> int:
        """Note that a submit command gave this message and left no job. Return how often in a row; numbers may
        differ."""
        same = re.sub(r"\d+", "0", words)
        self.puzzle = same, self.puzzle[1] + 1 if self.puzzle[0] == same else 1
        return self.puzzle[1]

    def joined(self, job: JobEntry, now: float) -> None:
        """Learn from the connection of a job's agent how long another job would take to start."""
        if not (job.proven or job.connected):
            self.startup = max(now - job.asked, _FADING * self.startup)

    @property
    def lead(self) -> float:
        """Seconds before the end of a job at which its successor should be requested."""
        return self.startup + LEAD_EXTRA

    def served(self, *, fruitful: bool = False) -> None:
        """Note that one more job runs calls; ``fruitful``: one of its calls has ended.

        Only new jobs count: one good job among failing ones must not end the pauses between them.
        """
        self.failures = 0
        if fruitful:
            self.losses, self.caution = 0, Backoff()

    def lost(self, job: JobEntry, ending: Ending, now: float, settings: CoreSettings) -> tuple[bool, str]:
        """Note that a job ended and the pool had not asked it to.

        Return whether the pool should give up the request, and the message on a pause that begins now.
        """
        innocent = ending.kind in _NO_FAULT
        failing, patience = False, settings.failed_starts
        if not (job.proven or innocent):
            self.failures += 1
            enough = _UNREACHABLE_STARTS if ending.exit_code == UNREACHABLE else settings.failed_starts
            failing, patience = self.failures >= enough, 1
        if (job.proven and innocent) or job.asked < self.learned:
            return failing, ""
        self.losses, self.learned = self.losses + 1, now
        if self.losses <= patience:
            return failing, ""
        self.caution = self.caution.longer(now, settings)
        where = f" on {job.node}" if job.node else ""
        return failing, self.pausing(
            f"several jobs in a row have ended, most recently job {job.id}{where}: {ending.message}", now
        )

    def pausing(self, why: str, now: float) -> str:
        """Note why no jobs are requested now. Return the message, with the length of the pause."""
        self.why = why
        return f"no jobs are requested in the next {Duration(round(self.paused(now)))}: {why}"

    def paused(self, now: float) -> float:
        """Return the seconds during which no jobs are requested; 0: there is no pause."""
        return max(0.0, max(self.backoff.until, self.caution.until) - now)


def jobs_failed(job: JobEntry, ending: Ending, failures: int) -> JobsFailed:
    """Return the error that several jobs in a row failed, with the last one as an example."""
    return JobsFailed(
        f"{failures} jobs in a row ended before they could run a call; no more jobs are requested",
        job=job.id,
        node=job.node,
        words=ending.message,
        ending=ending.kind.value,
        exit_code=ending.exit_code,
        advice=_UNREACHABLE_ADVICE if ending.exit_code == UNREACHABLE else _ADVICE,
    )


_ADVICE = (
    "read the log of the job; check that its Python (python=, setup=) exists on the nodes, and that they share the home"
)

_UNREACHABLE_ADVICE = (
    "the nodes cannot reach this host; the log of the job names each address that the agent tried: set addresses= to "
    "one that the nodes can reach, or ask the administrator to open this host's ports to the nodes"
)


def request_refused(words: str) -> RequestRefused:
    """Return the error that the batch system refused the request."""
    return RequestRefused(
        "the batch system refused the jobs",
        words=words,
        advice="change the setting that the message names; `jobpool config` shows where each setting came from",
    )
