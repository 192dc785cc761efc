"""One request's standing with the batch system: what was asked for, refused, and came to nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from jobpool.core.jobs.machine import Job
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
"""Jobs in a row that found no way to the server, after which there is none: each has tried for most of a minute."""

_FADING = 0.9
"""What is left of the longest way through the queue with each job that was faster: half of it after seven."""


@dataclass(slots=True)
class RequestState:
    """What is known of the jobs for one request."""

    request: Request
    max_workers: int = 1
    settling: Settling = field(default_factory=Settling)
    backoff: Backoff = field(default_factory=Backoff)
    """Restraint after refusals; a submission that is taken ends it."""
    caution: Backoff = field(default_factory=Backoff)
    """Restraint after jobs that came to nothing; a new job with a result ends it."""
    surplus_since: float | None = None
    startup: float = 0.0
    """Seconds from a job's submission to its first word: a maximum that fades, since queues grow and shrink."""
    failures: int = 0
    """Jobs in a row that came to nothing, without one that served between."""
    losses: int = 0
    """Lessons in a row that were drawn from lost jobs, without a new one that gave a result between."""
    learned: float = float("-inf")
    """When the last of them was drawn. What was asked for before says the same again: many jobs are lost at one moment
    when a switch fails."""
    why: str = ""
    """Why none are asked for now, if it is a pause."""
    puzzle: tuple[str, int] = ("", 0)
    """Words of the last submits, which nobody knows, and how many of them in a row said so and left no job."""
    broken: JobPoolError | None = None
    """Why there will be no more jobs for it."""

    def wanted(self, demand: Demand, settings: CoreSettings) -> int:
        """Return how many jobs the demand is worth."""
        return jobs_wanted(demand, workers_per_job=self.request.workers_per_job, limits=settings.limits)

    def due(self, wanted: int, *, full: bool, now: float, settings: CoreSettings) -> float:
        """Return when the missing jobs are to be asked for. ``full``: demand cannot grow any more."""
        self.settling = self.settling.step(wanted, now)
        settled = now if full else self.settling.due(settings)
        return max(settled, self.backoff.until, self.caution.until)

    def submissions(self, missing: int, settings: CoreSettings) -> list[int]:
        """Return the sizes of the submissions to make now."""
        self.settling = Settling()
        return chunks(min(missing, self.backoff.most or missing), settings.limits)

    def puzzled(self, words: str) -> int:
        """Note that a submit left no job and these words. Returns how often in a row it was so; numbers may differ."""
        same = re.sub(r"\d+", "0", words)
        self.puzzle = same, self.puzzle[1] + 1 if self.puzzle[0] == same else 1
        return self.puzzle[1]

    def joined(self, job: Job, now: float) -> None:
        """Learn from the first word of a job's agent how long another one would take."""
        if not (job.proven or job.connected):
            self.startup = max(now - job.asked, _FADING * self.startup)

    @property
    def lead(self) -> float:
        """Seconds before a job is missed when its successor should be asked for."""
        return self.startup + LEAD_EXTRA

    def served(self, *, fruitful: bool = False) -> None:
        """Note that one more job works; ``fruitful``: its first call came back.

        Only new jobs tell something new: one good job among bad ones must not have them asked for without a pause.
        """
        self.failures = 0
        if fruitful:
            self.losses, self.caution = 0, Backoff()

    def lost(self, job: Job, ending: Ending, now: float, settings: CoreSettings) -> tuple[bool, str]:
        """Note that a job ended that was not told to.

        Returns whether the setup has to count as failing, and what is to be told of a pause that begins now.
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
        """Note why no jobs are asked for now. Returns what is to be told, with how long."""
        self.why = why
        return f"no jobs are requested in the next {Duration(round(self.paused(now)))}: {why}"

    def paused(self, now: float) -> float:
        """Return the seconds in which no jobs are asked for; 0: there is no pause."""
        return max(0.0, max(self.backoff.until, self.caution.until) - now)


def jobs_failed(job: Job, ending: Ending, failures: int) -> JobsFailed:
    """Say that job after job came to nothing, with the last one as the example."""
    return JobsFailed(
        f"{failures} jobs in a row ended before they could run a call; no more are asked for",
        job=job.id,
        node=job.node,
        words=ending.message,
        ending=ending.kind.value,
        exit_code=ending.exit_code,
        advice=_UNREACHABLE_ADVICE if ending.exit_code == UNREACHABLE else _ADVICE,
    )


_ADVICE = "look into the log of the job; is its Python (python=, setup=) there on the nodes, and the home shared?"

_UNREACHABLE_ADVICE = (
    "the nodes cannot reach this host; the log of the job names each address that was tried: give one that they can "
    "reach with addresses=, or have its ports opened to them"
)


def request_refused(words: str) -> RequestRefused:
    """Say that the batch system refused the request."""
    return RequestRefused(
        "the batch system refused the jobs",
        words=words,
        advice="change what it names; `jobpool config` shows where each setting came from",
    )
