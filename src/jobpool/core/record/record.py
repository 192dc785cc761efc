"""What happened in a run, kept for its report: the jobs' stations, slow and failed calls, the others added up.

A run of a million calls in thousands of jobs fits: what is kept of each has a limit, and what is left out is counted.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobpool.core.events import JobKey
from jobpool.core.histograms import FunctionStatistics, Histogram, Sum
from jobpool.core.jobs.machine import Ended, Job, Submitting
from jobpool.core.record.series import Recent, Series
from jobpool.core.record.timeline import DONE, PIECES, RAISED, RUNS, Interval, Timeline
from jobpool.model.call import Outcome
from jobpool.model.request import Request

__all__ = ["JobRecord", "Record"]

JOBS = 1000
"""Jobs that are kept with their stations: more lines than a picture can have."""

STATIONS = 30
"""Of one job, which may be requeued for ever."""

SLOWEST = 200
FAILED = 50
"""Of each, the first ones and the last ones."""

LOG = 2000
"""Bytes of a call's output that are kept."""

HINT = 200
"""Characters of what is said of a call in the picture of all of them."""


@dataclass(slots=True)
class JobRecord:
    """One job."""

    key: JobKey
    request: str
    stations: list[tuple[str, float]]
    """Each state with the time when it began."""
    id: str | None = None
    node: str | None = None
    ending: str = ""
    words: str = ""
    ours: bool = False
    """It was ended because it was not needed any more."""
    calls: int = 0
    busy: float = 0.0
    """Seconds of its calls, added up."""
    cpu: float = 0.0

    def seconds(self, now: float) -> dict[str, float]:
        """Return how long it was in each state."""
        spent: dict[str, float] = defaultdict(float)
        ends = [*(time for _, time in self.stations[1:]), now]
        for (state, begin), end in zip(self.stations, ends, strict=True):
            spent[state] += end - begin
        return spent


@dataclass(frozen=True, slots=True, order=True)
class CallRecord:
    """One call."""

    wall: float
    number: int
    """Tells equal ones apart."""
    name: str
    job: JobKey
    end: float
    cpu: float
    peak_memory: int
    threads: int
    words: str = ""
    log: bytes = field(default=b"", repr=False)


class Record:
    """All that is kept of a run."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.series = Series(now)
        self.recent = Recent()
        self.jobs: dict[JobKey, JobRecord] = {}
        self.again: Counter[str] = Counter()
        """By cause, the calls that ran and had to run again."""
        self.slowest: list[CallRecord] = []
        self.failed_first: list[CallRecord] = []
        self.failed_last: deque[CallRecord] = deque(maxlen=FAILED)
        self.given_up: Counter[str] = Counter()
        """By the error's first line, the calls that were given up."""
        self.left_out = 0
        """Jobs that are not in ``jobs`` any more."""
        self.bars = Timeline(now)
        """When the calls of these jobs ran."""
        self._spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._numbers = itertools.count()

    # ------------------------------------------------------------------------------------------------------- jobs

    def job(self, before: Job, after: Job, now: float) -> None:
        """Note a job's change."""
        record = self.jobs.get(after.key)
        if record is None:
            begin = before.state.since if isinstance(before.state, Submitting) else now
            record = JobRecord(after.key, after.request, [(_word(before), begin)])
            self.jobs[after.key] = record
            self._make_room()
        record.id, record.node = after.id, after.node or record.node
        if (word := _word(after)) != record.stations[-1][0]:
            record.stations.append((word, now))
            del record.stations[1 : max(1, len(record.stations) - STATIONS)]
        if isinstance(after.state, Ended) and not record.ending:
            ending = after.state.ending
            record.ending, record.words, record.ours = ending.kind.value, ending.words, after.state.ours
            self._spend(self._spent[record.request], record, now)

    def _make_room(self) -> None:
        if len(self.jobs) > JOBS:
            ended = next((key for key, job in self.jobs.items() if job.ending), None)
            if ended is not None:
                del self.jobs[ended]
                self.bars.forget(ended)
                self.left_out += 1

    @staticmethod
    def _spend(total: dict[str, float], job: JobRecord, now: float) -> None:
        seconds = job.seconds(now)
        serving = seconds["serving"] + seconds["draining"]
        total["jobs"] += 1
        total["waiting"] += seconds["submitting"] + seconds["pending"]
        total["starting"] += seconds["starting"]
        total["serving"] += serving
        total["held"] += seconds["starting"] + serving + seconds["silent"] + seconds["closing"]
        total["longest"] = max(total["longest"], seconds["starting"] + serving)

    def spent(self, request: str, now: float) -> dict[str, float]:
        """Return the seconds that the jobs of a request spent waiting, starting, serving, and on nodes at all."""
        total = defaultdict(float, self._spent[request])
        for job in self.jobs.values():
            if job.request == request and not job.ending:
                self._spend(total, job, now)
        names = ("jobs", "waiting", "starting", "serving", "held", "longest")
        return {name: total[name] for name in names}

    # ------------------------------------------------------------------------------------------------------ calls

    def calls(self, job: JobKey, sums: Iterable[Sum], now: float) -> None:
        """Note what came of calls."""
        record, step = self.jobs.get(job), self.series.at(now)
        for total in sums:
            self.recent.add(total.calls, now)
            step.done += total.calls - total.failures
            step.failed += total.failures
            if record is not None:
                record.calls += total.calls
                record.busy += total.wall
                record.cpu += total.cpu
            if total.brief:
                self.bars.spread(job, now - total.brief_wall, total.brief_wall, total.brief)
            for outcome in total.notable:
                self._notable(job, total.tally.name, outcome, now)

    def _notable(self, job: JobKey, name: str, outcome: Outcome, now: float) -> None:
        usage = outcome.usage
        wall = 0.0 if usage is None else usage.wall / (outcome.rows or 1)
        seconds, kind = wall * (outcome.rows or 1), RAISED if outcome.failures else DONE
        self.bars.add(job, Interval(name, now - seconds, seconds, outcome.rows or 1, kind, outcome.words[:HINT]))
        full = len(self.slowest) >= SLOWEST
        if not outcome.failures and full and wall <= self.slowest[0].wall:
            return
        call = CallRecord(
            wall=wall,
            number=next(self._numbers),
            name=name,
            job=job,
            end=now,
            cpu=0.0 if usage is None else usage.cpu / (outcome.rows or 1),
            peak_memory=0 if usage is None else int(usage.peak_memory),
            threads=0 if usage is None else usage.threads,
            words=outcome.words,
            log=outcome.log[-LOG:],
        )
        if not full:
            heapq.heappush(self.slowest, call)
        elif wall > self.slowest[0].wall:
            heapq.heapreplace(self.slowest, call)
        if outcome.failures and len(self.failed_first) < FAILED:
            self.failed_first.append(call)
        elif outcome.failures:
            self.failed_last.append(call)

    def cut(self, job: JobKey, name: str, begin: float, outcome: str, words: str, now: float) -> None:
        """Note that a call did not come to its end in a job."""
        end = now
        for state, time in reversed(self.jobs[job].stations if job in self.jobs else []):
            if state in ("serving", "draining"):
                break
            end = time  # it was decided on later than its agent left
        self.bars.add(job, Interval(name, begin, max(0.0, end - begin), 1, outcome, words.partition("\n")[0][:HINT]))

    def gave_up(self, words: str, count: int, now: float) -> None:
        """Note calls that ended with an error of ours."""
        self.series.at(now).failed += count
        self.recent.add(count, now)
        if words in self.given_up or len(self.given_up) < FAILED:
            self.given_up[words] += count

    # ------------------------------------------------------------------------------------------------------- data

    def as_data(
        self,
        requests: dict[str, Request],
        tallies: Sequence[FunctionStatistics],
        running: Iterable[tuple[JobKey, str, float]],
        now: float,
    ) -> dict[str, Any]:
        """Return all as plain values. Times are seconds since the run began. ``running``: job, function, since when."""
        places = {key: place for place, key in enumerate(self.jobs)}
        running = itertools.islice(running, PIECES)
        bars = [(job, Interval(name, begin, max(0.0, now - begin), 1, RUNS)) for job, name, begin in running]
        failed = [*self.failed_first, *self.failed_last]
        return {
            "seconds": now - self.began,
            "requests": {key: _request(request, self.spent(key, now)) for key, request in requests.items()},
            "functions": [tally_data(tally) for tally in tallies],
            "jobs": [self._job_data(job) for job in self.jobs.values()],
            "left_out": self.left_out,
            "timeline": self.bars.as_data(places, bars),
            "series": self.series.as_data(),
            "slowest": [self._call_data(call) for call in sorted(self.slowest, reverse=True)],
            "failed": [self._call_data(call) for call in failed],
            "again": dict(self.again),
            "given_up": dict(self.given_up),
        }

    def _job_data(self, job: JobRecord) -> dict[str, Any]:
        # By hand: dataclasses.asdict takes several times as long, and calls wait meanwhile.
        return {
            "key": list(job.key),
            "request": job.request,
            "stations": [[state, time - self.began] for state, time in job.stations],
            "id": job.id,
            "node": job.node,
            "ending": job.ending,
            "words": job.words,
            "ours": job.ours,
            "calls": job.calls,
            "busy": job.busy,
            "cpu": job.cpu,
        }

    def _call_data(self, call: CallRecord) -> dict[str, Any]:
        record = self.jobs.get(call.job)
        return {
            "name": call.name,
            "job": (record and record.id) or "",
            "key": list(call.job),
            "end": call.end - self.began,
            "wall": call.wall,
            "cpu": call.cpu,
            "peak_memory": call.peak_memory,
            "threads": call.threads,
            "words": call.words,
            "log": call.log.decode(errors="replace"),
        }


def tally_data(tally: FunctionStatistics) -> dict[str, Any]:
    """Return a function's figures as plain values: seconds and bytes."""
    return {
        "name": tally.name,
        "request": tally.request,
        "open": tally.open,
        "done": tally.done,
        "failed": tally.failed,
        "cpu": tally.cpu,
        "cpus": tally.cpus,
        "threads": tally.threads,
        "wall": {"total": tally.wall.total, "mean": tally.wall.mean, **_quantiles(tally.wall)},
        "memory": {**_quantiles(tally.memory)},
    }


def _quantiles(values: Histogram) -> dict[str, float | None]:
    largest = values.largest if values.count else None
    return {"median": values.quantile(0.5), "most": values.quantile(0.99), "largest": largest}


def _request(request: Request, spent: dict[str, float]) -> dict[str, Any]:
    workers, cores = request.workers_per_job, request.job_cores
    return {
        "cores": request.cores,
        "memory": None if request.memory is None else int(request.memory),
        "gpus": request.gpus,
        "walltime": None if request.walltime is None else float(request.walltime),
        "workers_per_job": workers,
        "partition": request.partition,
        **spent,
        "worker_seconds": spent["serving"] * workers,
        "core_seconds": spent["held"] * cores,
    }


def _word(job: Job) -> str:
    return type(job.state).__name__.lower()
