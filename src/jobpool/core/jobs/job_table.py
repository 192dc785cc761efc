"""All jobs of the pool and the submissions they came from: who is asked about in a poll, and what its answer means.

A submission whose command's answer was lost is *doubtful*: it is looked up by its name until it shows, or until several
answered look-ups, some seconds apart, did not show it. It is never repeated blindly.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jobpool.core.events import Accounted, JobKey, Polled
from jobpool.core.jobs.machine import (
    Draining,
    Ended,
    JobEntry,
    Missed,
    Observation,
    Pending,
    Serving,
    Sighted,
    Silent,
    Starting,
    Submitting,
    Told,
    Vouched,
)
from jobpool.core.settings import CoreSettings
from jobpool.model.job import Ending, JobId, JobState, Seen

__all__ = ["Doubt", "JobTable", "Submission", "stem"]

_STEM = 40
"""Characters of the pool's id in a submission's name: 60, less ``jp-``, the run's nine with ``-``, and ``-`` with seven
digits."""

_REMEMBERED = 100
"""Ended jobs kept for the status, beside the living ones."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Nobody knows whether a submission exists."""

    words: str
    unclear: bool = False
    """The words are those of nobody known: they may mean no."""
    misses: int = 0
    """Answered look-ups in a row that did not show it."""
    last: float = 0.0
    """When the last of them was counted."""


@dataclass(slots=True)
class Submission:
    """One submit command."""

    name: str
    request: str
    count: int
    answered: bool = False
    """The command came back, whatever it said."""
    doubt: Doubt | None = None


class JobTable:
    """The jobs that did not end, and the last ones that did."""

    def __init__(self, settings: CoreSettings) -> None:
        self._settings = settings
        self.jobs: dict[JobKey, JobEntry] = {}
        self.ended: dict[JobKey, JobEntry] = {}
        self.submissions: dict[str, Submission] = {}
        """Those with a job that did not end."""
        self.ghosts: dict[str, None] = {}
        """Submissions that were looked up in vain, or lost a job so: in every poll and in the last cancel, should they
        turn up."""
        self._prefix = f"jp-{stem(settings.pool)}-{settings.run}-" if settings.run else f"jp-{stem(settings.pool)}-"
        self._numbered = 0
        self._supply: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._stuck: Counter[str] = Counter()
        self._alive: Counter[str] = Counter()

    def submit(self, request: str, count: int, now: float) -> Submission:
        """Note a new submission under a name that was not used before."""
        self._numbered += 1
        name = f"{self._prefix}{self._numbered}"
        submission = self.submissions[name] = Submission(name, request, count)
        substitutes = self._held[request] - self._stuck[request]
        for element in range(count):
            key, substitute = JobKey(name, element), element < substitutes
            self.put(JobEntry(key=key, request=request, state=Submitting(now), asked=now, substitute=substitute))
        return submission

    def put(self, job: JobEntry) -> None:
        """Store a job after a change."""
        before = self.jobs.get(job.key)
        if before is not None:
            self._count(before, -1)
        if not isinstance(job.state, Ended):
            self.jobs[job.key] = job
            self._count(job, 1)
            return
        self.jobs.pop(job.key, None)
        self.ended[job.key] = job
        if len(self.ended) > _REMEMBERED:
            del self.ended[next(iter(self.ended))]
        self._tidy(job.key.submission)

    def forget(self, submission: Submission) -> None:
        """Remove the jobs of a submission that do not exist. Those that were seen stay."""
        for job in self.of_submission(submission):
            if isinstance(job.state, Submitting):
                self._count(job, -1)
                del self.jobs[job.key]
        submission.answered, submission.doubt = True, None
        self._tidy(submission.name)

    def _tidy(self, name: str) -> None:
        if not self._alive[name]:
            self.submissions.pop(name, None)
            del self._alive[name]

    def _count(self, job: JobEntry, step: int) -> None:
        self._alive[job.key.submission] += step
        if job.supplies:
            self._supply[job.request] += step
        if job.hold is not None:
            self._held[job.request] += step
            self._stuck[job.request] += step * job.substitute

    def supply(self, request: str) -> int:
        """Count the jobs of a request that serve or are expected to."""
        return self._supply[request]

    def held(self, request: str) -> int:
        """Count the jobs of a request that are held in the queue."""
        return self._held[request]

    def stuck(self, request: str) -> int:
        """Count those of them that have been asked for in the place of others that are held."""
        return self._stuck[request]

    def unanswered(self, request: str) -> int:
        """Count the submissions of a request whose submit commands are under way."""
        return sum(not each.answered for each in self.submissions.values() if each.request == request)

    def of(self, request: str) -> list[JobEntry]:
        """Return the jobs of a request that did not end."""
        return [job for job in self.jobs.values() if job.request == request]

    def of_submission(self, submission: Submission) -> list[JobEntry]:
        """Return the jobs of a submission that did not end."""
        keys = (JobKey(submission.name, element) for element in range(submission.count))
        return [self.jobs[key] for key in keys if key in self.jobs]

    # ------------------------------------------------------------------------------------------------- asking

    def names(self) -> tuple[str, ...]:
        """Return the submissions to ask about. One whose submit command is under way is left in peace."""
        known = [name for name, submission in self.submissions.items() if submission.answered or self.seen(submission)]
        return tuple(dict.fromkeys((*known, *self.ghosts)))

    def seen(self, submission: Submission) -> bool:
        """Whether a job of it was seen, by its agent or in a poll."""
        return any(not isinstance(job.state, Submitting) for job in self.of_submission(submission))

    @property
    def under_way(self) -> bool:
        """Whether the answer of a submit command is missing."""
        return any(not submission.answered for submission in self.submissions.values())

    @property
    def pressing(self) -> bool:
        """Whether something is open that only the batch system can answer."""
        return any(submission.doubt for submission in self.submissions.values()) or any(
            0 < job.absent < self._settings.absences or (isinstance(job.state, Silent) and job.suspended is None)
            for job in self.jobs.values()
        )

    @property
    def all_held(self) -> bool:
        """Whether nothing happens before somebody releases a job, as far as the queue shows them all."""
        jobs = self.jobs.values()
        return bool(jobs) and self._held.total() == len(jobs) and not any(job.absent for job in jobs)

    @property
    def starting(self) -> bool:
        """Whether a script runs whose agent is awaited."""
        return any(isinstance(job.state, Starting) for job in self.jobs.values())

    def read_poll(self, polled: Polled, asked: float) -> Iterator[tuple[JobKey, Observation]]:
        """Say what an answer tells of each job that it was asked for."""
        shown = self._shown(polled)
        beside = any(key in self.jobs and seen.state is not JobState.ENDED for key, seen in shown.items())
        for name in polled.names:
            if (submission := self.submissions.get(name)) is None:
                continue
            for job in self.of_submission(submission):
                late = asked < max(_since(job), job.stirred)
                if (seen := shown.get(job.key)) is not None:
                    yield job.key, Sighted(polled.time, seen, late)
                elif not late:
                    yield job.key, Missed(polled.time, beside)

    def _shown(self, polled: Polled) -> dict[JobKey, Seen]:
        """Return the one job in an answer that each key stands for: the one with its id, where that is known.

        One submit command may have brought two of a name: a site's own around it has tried again after a time-out.
        """
        shown: dict[JobKey, Seen] = {}
        for seen in polled.seen:
            key = JobKey(seen.name, seen.index)
            job = self.jobs.get(key)
            if key not in shown or (job is not None and job.id == seen.id):
                shown[key] = seen
        return shown

    def strays(self, polled: Polled) -> list[JobId]:
        """Return jobs of ours in an answer that are in the queue although they should not be."""
        shown = self._shown(polled)
        return [seen.id for seen in polled.seen if seen.ending is None and self._is_stray(seen, shown)]

    def _is_stray(self, seen: Seen, shown: Mapping[JobKey, Seen]) -> bool:
        key = JobKey(seen.name, seen.index)
        if key in self.jobs:
            return shown[key] is not seen  # a second one of the same name
        return seen.name in self.ghosts or key in self.ended

    def look_up(self, polled: Polled, asked: float) -> Iterator[tuple[Submission, Doubt | None]]:
        """Say what an answer tells of each doubtful submission: None when it exists, else the doubt that is left."""
        shown = {seen.name for seen in polled.seen}
        for name in polled.names:
            submission = self.submissions.get(name)
            if submission is None or (doubt := submission.doubt) is None:
                continue
            if name in shown or self.seen(submission):
                yield submission, None
            elif not doubt.misses or asked - doubt.last >= self._settings.lookup_gap:
                submission.doubt = replace(doubt, misses=doubt.misses + 1, last=asked)
                yield submission, submission.doubt

    def read_account(self, accounted: Accounted) -> Iterator[tuple[JobKey, Observation]]:
        """Say what the accounting tells of the jobs that it was asked for."""
        known = accounted.known or {}
        for name in accounted.names:
            if (submission := self.submissions.get(name)) is not None:
                for job in self.of_submission(submission):
                    match None if job.id is None else known.get(job.id):
                        case Ending() as ending:
                            yield job.key, Told(accounted.time, ending)
                        case JobState() as state:
                            yield job.key, Vouched(accounted.time, state)

    def unexplained(self) -> tuple[str, ...]:
        """Return the submissions of jobs that the queue does not show any more: the accounting may know."""
        return tuple(dict.fromkeys(job.key.submission for job in self.jobs.values() if job.absent))


def stem(pool: str) -> str:
    """Return the pool's id as every batch system takes it in a job name; two pools never share one.

    Letters, digits and ``-``, short enough that the name stays below 60 characters with any number of submissions.
    """
    plain = re.sub(r"[^A-Za-z0-9-]", "-", pool)
    if plain == pool and len(pool) <= _STEM:
        return pool
    return f"{plain[: _STEM - 9]}-{hashlib.sha256(pool.encode()).hexdigest()[:8]}"


def _since(job: JobEntry) -> float:
    match job.state:
        case Submitting(since=since) | Pending(since=since) | Starting(since=since):
            return since
        case Serving(since=since) | Draining(since=since) | Silent(since=since):
            return since
        case state:
            return state.at if isinstance(state, Ended) else state.since
