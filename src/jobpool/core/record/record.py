"""The record of a run, for its report: the states of each job, slow and failed calls, and sums of all others.

The record of a million calls in thousands of jobs stays small: each part has a limit, and what is left out is counted.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobpool.core.events import JobKey
from jobpool.core.histograms import FunctionStatistics, Histogram, Sum
from jobpool.core.jobs.machine import Ended, JobEntry, Submitting
from jobpool.core.record.series import Recent, Series
from jobpool.core.record.timeline import DONE, PIECES, RAISED, RUNS, Interval, Timeline
from jobpool.model.call import Outcome
from jobpool.model.request import Request
from jobpool.model.run_record import (
    MemoryFigures,
    RunCall,
    RunFigures,
    RunFunction,
    RunJob,
    RunRequest,
    Station,
    TimeFigures,
)

__all__ = ["JobRecord", "Record", "whole_bytes"]

JOBS = 1000
"""Jobs that are kept with their states: more than a picture has lines."""

STATES = 30
"""States that are kept of one job, which may be requeued again and again."""

SLOWEST = 200
FAILED = 50
"""Failed calls that are kept: so many of the first, and so many of the last."""

LOG = 2000
"""Bytes of a call's output that are kept."""

MESSAGE = 200
"""Characters that are kept of a call's message in the timeline."""


@dataclass(slots=True)
class JobRecord:
    """One job."""

    key: JobKey
    request: str
    states: list[tuple[str, float]]
    """Each state, with the time when it began."""
    id: str | None = None
    node: str | None = None
    ending: str = ""
    message: str = ""
    ours: bool = False
    """The pool ended it because it was not needed any more."""
    calls: int = 0
    busy: float = 0.0
    """Sum of the seconds of its calls."""
    cpu: float = 0.0

    def seconds(self, now: float) -> dict[str, float]:
        """Return the seconds that the job spent in each state."""
        spent: dict[str, float] = defaultdict(float)
        ends = [*(time for _, time in self.states[1:]), now]
        for (state, begin), end in zip(self.states, ends, strict=True):
            spent[state] += end - begin
        return spent


@dataclass(frozen=True, slots=True, order=True)
class CallRecord:
    """One call."""

    wall: float
    number: int
    """Orders calls of the same duration."""
    name: str
    job: JobKey
    end: float
    cpu: float
    peak_memory: int
    threads: int
    message: str = ""
    log: bytes = field(default=b"", repr=False)


class Record:
    """The record of a run."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.series = Series(now)
        self.recent = Recent()
        self.jobs: dict[JobKey, JobRecord] = {}
        self.again: Counter[str] = Counter()
        """By cause: the number of calls that ran and had to run again."""
        self.slowest: list[CallRecord] = []
        self.failed_first: list[CallRecord] = []
        self.failed_last: deque[CallRecord] = deque(maxlen=FAILED)
        self.given_up: Counter[str] = Counter()
        """By the first line of the error: the number of calls that were given up."""
        self.left_out = 0
        """The number of jobs that are not in ``jobs`` any more."""
        self.timeline = Timeline(now)
        """When the calls of these jobs ran."""
        self._spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._numbers = itertools.count()

    # ------------------------------------------------------------------------------------------------------- jobs

    def job(self, before: JobEntry, after: JobEntry, now: float) -> None:
        """Note a job's change."""
        record = self.jobs.get(after.key)
        if record is None:
            begin = before.state.since if isinstance(before.state, Submitting) else now
            record = JobRecord(after.key, after.request, [(_word(before), begin)])
            self.jobs[after.key] = record
            self._make_room()
        record.id, record.node = after.id, after.node or record.node
        if (word := _word(after)) != record.states[-1][0]:
            record.states.append((word, now))
            del record.states[1 : max(1, len(record.states) - STATES)]
        if isinstance(after.state, Ended) and not record.ending:
            ending = after.state.ending
            record.ending, record.message, record.ours = ending.kind.value, ending.message, after.state.ours
            self._spend(self._spent[record.request], record, now)

    def _make_room(self) -> None:
        if len(self.jobs) > JOBS:
            ended = next((key for key, job in self.jobs.items() if job.ending), None)
            if ended is not None:
                del self.jobs[ended]
                self.timeline.forget(ended)
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
        """Return the seconds that the jobs of a request spent waiting, starting, serving, and on nodes altogether."""
        total = defaultdict(float, self._spent[request])
        for job in self.jobs.values():
            if job.request == request and not job.ending:
                self._spend(total, job, now)
        names = ("jobs", "waiting", "starting", "serving", "held", "longest")
        return {name: total[name] for name in names}

    # ------------------------------------------------------------------------------------------------------ calls

    def calls(self, job: JobKey, sums: Iterable[Sum], now: float) -> None:
        """Note calls that have ended."""
        record, step = self.jobs.get(job), self.series.at(now)
        for total in sums:
            self.recent.add(total.calls, now)
            step.done += total.calls - total.failures
            step.failed += total.failures
            if record is not None:
                record.calls += total.calls
                record.busy += total.wall
                record.cpu += total.cpu
            if total.short:
                self.timeline.spread(job, now - total.short_wall, total.short_wall, total.short)
            for outcome in total.notable:
                self._notable(job, total.statistics.name, outcome, now)

    def _notable(self, job: JobKey, name: str, outcome: Outcome, now: float) -> None:
        usage = outcome.usage
        wall = 0.0 if usage is None else usage.wall / (outcome.rows or 1)
        seconds, kind = wall * (outcome.rows or 1), RAISED if outcome.failures else DONE
        self.timeline.add(job, Interval(name, now - seconds, seconds, outcome.rows or 1, kind, outcome.words[:MESSAGE]))
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
            message=outcome.words,
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

    def cut(self, job: JobKey, name: str, begin: float, outcome: str, message: str, now: float) -> None:
        """Note that a call began in a job and did not end there."""
        end = now
        for state, time in reversed(self.jobs[job].states if job in self.jobs else []):
            if state in ("serving", "draining"):
                break
            end = time  # the core decided on the call later than the agent left
        self.timeline.add(
            job, Interval(name, begin, max(0.0, end - begin), 1, outcome, message.partition("\n")[0][:MESSAGE])
        )

    def gave_up(self, message: str, count: int, now: float) -> None:
        """Note calls that the pool gave up with an error of its own."""
        self.series.at(now).failed += count
        self.recent.add(count, now)
        if message in self.given_up or len(self.given_up) < FAILED:
            self.given_up[message] += count

    # ---------------------------------------------------------------------------------------------------- figures

    def figures(
        self,
        requests: Mapping[str, Request],
        all_statistics: Sequence[FunctionStatistics],
        running: Iterable[tuple[JobKey, str, float]],
        now: float,
        *,
        done: int,
        failed: int,
        unresolved: int,
        notices: Iterable[str],
    ) -> RunFigures:
        """Return all that is kept, and the counts that others keep.

        Args:
            requests: By their keys.
            all_statistics: The statistics of the functions.
            running: Calls that run now: job, function, since when.
            now: On the core's clock.
            done: Calls that returned.
            failed: Calls that raised, or were given up.
            unresolved: Calls that have not ended.
            notices: The last sentences for the user.
        """
        indexes = {key: index for index, key in enumerate(self.jobs)}
        running = itertools.islice(running, PIECES)
        intervals = [(job, Interval(name, begin, max(0.0, now - begin), 1, RUNS)) for job, name, begin in running]
        return RunFigures(
            seconds=now - self.began,
            requests={key: _request(request, self.spent(key, now)) for key, request in requests.items()},
            functions=tuple(map(function_figures, all_statistics)),
            jobs=tuple(map(self._run_job, self.jobs.values())),
            left_out=self.left_out,
            timeline=self.timeline.pieces(indexes, intervals),
            series=self.series.kept(),
            slowest=tuple(map(self._run_call, sorted(self.slowest, reverse=True))),
            failed=tuple(map(self._run_call, (*self.failed_first, *self.failed_last))),
            again=dict(self.again),
            given_up=dict(self.given_up),
            done=done,
            failed_calls=failed,
            unresolved=unresolved,
            notices=tuple(notices),
        )

    def _run_job(self, job: JobRecord) -> RunJob:
        return RunJob(
            key=job.key,
            request=job.request,
            stations=tuple(Station(state, time - self.began) for state, time in job.states),
            id=job.id,
            node=job.node,
            ending=job.ending,
            words=job.message,
            ours=job.ours,
            calls=job.calls,
            busy=job.busy,
            cpu=job.cpu,
        )

    def _run_call(self, call: CallRecord) -> RunCall:
        record = self.jobs.get(call.job)
        return RunCall(
            name=call.name,
            job=(record and record.id) or "",
            key=call.job,
            end=call.end - self.began,
            wall=call.wall,
            cpu=call.cpu,
            peak_memory=call.peak_memory,
            threads=call.threads,
            words=call.message,
            log=call.log.decode(errors="replace"),
        )


def function_figures(statistics: FunctionStatistics) -> RunFunction:
    """Return the figures of a function."""
    wall, memory = statistics.wall, statistics.memory
    return RunFunction(
        name=statistics.name,
        request=statistics.request,
        open=statistics.open,
        done=statistics.done,
        failed=statistics.failed,
        cpu=statistics.cpu,
        cpus=statistics.cpus,
        threads=statistics.threads,
        wall=TimeFigures(
            total=wall.total,
            mean=wall.mean,
            median=wall.quantile(0.5),
            most=wall.quantile(0.99),
            largest=_largest(wall),
        ),
        memory=MemoryFigures(
            median=whole_bytes(memory.quantile(0.5)),
            most=whole_bytes(memory.quantile(0.99)),
            largest=whole_bytes(_largest(memory)),
        ),
    )


def whole_bytes(size: float | None) -> int | None:
    """Return a size in whole bytes: that of a quantile has a fraction."""
    return None if size is None else int(size)


def _largest(values: Histogram) -> float | None:
    return values.largest if values.count else None


def _request(request: Request, spent: dict[str, float]) -> RunRequest:
    workers, cores = request.workers_per_job, request.job_cores
    return RunRequest(
        cores=request.cores,
        memory=None if request.memory is None else int(request.memory),
        gpus=request.gpus,
        walltime=None if request.walltime is None else float(request.walltime),
        workers_per_job=workers,
        partition=request.partition,
        jobs=spent["jobs"],
        waiting=spent["waiting"],
        starting=spent["starting"],
        serving=spent["serving"],
        held=spent["held"],
        longest=spent["longest"],
        worker_seconds=spent["serving"] * workers,
        core_seconds=spent["held"] * cores,
    )


def _word(job: JobEntry) -> str:
    return type(job.state).__name__.lower()
