"""The record of a run: what the report shows, ``jobpool report NAME --json`` prints, and ``record.json`` keeps.

All times are seconds since the run began, where it is not said otherwise; all sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from jobpool.model.public_data import PublicData
from jobpool.model.status import PoolStatus

__all__ = [
    "Bar",
    "Cell",
    "MemoryFigures",
    "RunCall",
    "RunFigures",
    "RunFunction",
    "RunJob",
    "RunRecord",
    "RunRequest",
    "RunSeries",
    "RunStep",
    "RunTimeline",
    "Station",
    "TimeFigures",
]


class Station(NamedTuple):
    """A state of a job."""

    state: str
    """``submitting``, ``pending``, ``starting``, ``serving``, ``draining``, ``silent``, ``closing`` or ``ended``."""
    begin: float
    """When it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob(PublicData):
    """One job of a run."""

    key: tuple[str, int]
    """The name of its submission, and its place in it, from 0."""
    request: str
    """Key of its request in :attr:`RunFigures.requests`."""
    stations: tuple[Station, ...]
    """Its states in their order: the first, and the last 29."""
    id: str | None
    """The batch system's id. None: it is not known."""
    node: str | None
    ending: str
    """Kind of its ending (``completed``, ``timed out``, ...). Empty: it has not ended."""
    words: str
    """What the batch system said of its ending, unchanged."""
    ours: bool
    """Whether the pool ended it, because it was not needed any more."""
    calls: int
    """Calls that ended in it."""
    busy: float
    """Seconds of its calls, added up."""
    cpu: float
    """CPU seconds of its calls, added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest(PublicData):
    """What was asked for one kind of worker, and how long its jobs were in which state, added up."""

    cores: int
    """Cores of one worker."""
    memory: int | None
    """Bytes of one worker. None: it was not asked for."""
    gpus: int
    """GPUs of one worker."""
    walltime: float | None
    """Seconds of one job. None: it was not asked for."""
    workers_per_job: int
    partition: str | None
    jobs: float
    """Number of its jobs."""
    waiting: float
    """Seconds in the queue."""
    starting: float
    """Seconds from a job's start until its workers could take calls."""
    serving: float
    """Seconds in which workers could take calls."""
    held: float
    """Seconds on nodes."""
    longest: float
    """Seconds of the job that was on its node for longest."""
    worker_seconds: float
    """``serving``, for each worker of a job."""
    core_seconds: float
    """``held``, for each core of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFigures(PublicData):
    """How long the calls of a function took, in seconds. None: no call has ended."""

    total: float
    mean: float | None
    median: float | None
    most: float | None
    """99 % of the calls took no longer."""
    largest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures(PublicData):
    """How much memory the calls of a function used at their peak, in bytes. None: no call has ended."""

    median: int | None
    most: int | None
    """99 % of the calls used no more."""
    largest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFunction(PublicData):
    """The calls of one function for one request."""

    name: str
    request: str
    """Key of the request in :attr:`RunFigures.requests`."""
    open: int
    """Calls that have not ended."""
    done: int
    failed: int
    cpu: float
    """CPU seconds, added up."""
    cpus: float | None
    """CPUs that a call kept busy, on average. None: no call has ended."""
    threads: int
    """Threads of a worker at the end of a call, at most."""
    wall: TimeFigures
    memory: MemoryFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall(PublicData):
    """One call of a run: a slow one, or one that failed."""

    name: str
    """Of its function."""
    job: str
    """The batch system's id of its job; empty where it is not known any more."""
    key: tuple[str, int]
    """Of its job."""
    end: float
    wall: float
    """Seconds that it took."""
    cpu: float
    """CPU seconds."""
    peak_memory: int
    """Bytes. 0: not known."""
    threads: int
    words: str
    """What it raised."""
    log: str
    """What it wrote to stdout and stderr: the last 2000 bytes."""


class Bar(NamedTuple):
    """A run of a call that is drawn as a bar of its own."""

    job: int
    """Number of its job in :attr:`RunFigures.jobs`, from 0."""
    name: int
    """Number of its function's name in :attr:`RunTimeline.names`, from 0."""
    begin: float
    seconds: float
    calls: int
    """More than one: rows of a map that came back together."""
    outcome: str
    """``done``, ``raised``, ``killed``, ``ran again``, ``left a checkpoint`` or ``runs``."""
    words: str
    """What is said of it."""


class Cell(NamedTuple):
    """What short calls of one job kept busy in one step of time."""

    job: int
    """Number of the job in :attr:`RunFigures.jobs`, from 0."""
    step: int
    """Number of the step, from 0. Each takes :attr:`RunTimeline.grain` seconds."""
    seconds: float
    """Seconds of calls, added up."""
    calls: int
    """Calls that ended in it."""
    troubled: int
    """How many of them raised, were killed, or ran again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimeline(PublicData):
    """When calls ran."""

    grain: float
    """Seconds: calls that took less are in cells."""
    bars: tuple[Bar, ...]
    cells: tuple[Cell, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep(PublicData):
    """What happened in one step of time."""

    done: int
    """Calls that returned."""
    failed: int
    """Calls that raised, or were given up."""
    looks: int
    """How often the next three were added up."""
    busy: int
    """Workers that ran a call."""
    workers: int
    """Connected workers."""
    waiting: int
    """Calls that waited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeries(PublicData):
    """How a run went over time, in at most 300 steps."""

    width: float
    """Seconds of one step."""
    steps: tuple[RunStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures(PublicData):
    """What happened in a run, as far as the pool's core knows it."""

    seconds: float
    """How long the run has taken."""
    requests: Mapping[str, RunRequest]
    """By the keys of the requests; that of the pool's own is empty."""
    functions: tuple[RunFunction, ...]
    jobs: tuple[RunJob, ...]
    """The last 1000, in the order in which they were asked for."""
    left_out: int
    """How many jobs are not in ``jobs``."""
    timeline: RunTimeline
    series: RunSeries
    slowest: tuple[RunCall, ...]
    """The slowest 200 calls, the slowest first."""
    failed: tuple[RunCall, ...]
    """The first 50 calls that failed, and the last 50."""
    again: Mapping[str, int]
    """By cause, how many calls ran and had to run again."""
    given_up: Mapping[str, int]
    """By the first line of the error, how many calls were given up."""
    done: int
    """Calls that returned."""
    failed_calls: int
    """Calls that raised, or were given up."""
    unresolved: int
    """Calls that have not ended."""
    notices: tuple[str, ...]
    """The last sentences for the user, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(RunFigures):
    """The record of a run."""

    name: str
    """The pool's name."""
    system: str
    """The batch system."""
    host: str
    """The host of the pool's server."""
    ended_at: float
    """When this was made, in seconds since the epoch."""
    logs: Path
    """The directory of the jobs' logs."""
    status: PoolStatus | None = None
    """The status of that time. None: this is the answer of a server that runs."""
    over: bool | None = None
    """Whether the pool has ended in good order. None: this is the answer of a server that runs."""
    server_log: Path | None = None
    """The server's log. None: this is the answer of a server that runs."""

    @classmethod
    def of(cls, run: RunFigures, **more: Any) -> RunRecord:
        """Return the figures of a run with what is said of the pool (``more``: the other fields)."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(run)}, **more)

    def as_data(self) -> dict[str, Any]:
        """Return the same as dicts, lists, strings and numbers, as ``jobpool report NAME --json`` prints it.

        ``status``, ``over`` and ``server_log`` are left out when they are None.
        """
        data = RunFigures.as_data(self)
        data["status"] = None if self.status is None else self.status.as_data()
        optional = ("status", "over", "server_log")
        about = ("name", "system", "host", "ended_at", "logs")
        first = {name: data[name] for name in about}
        return first | {name: entry for name, entry in data.items() if name not in optional or entry is not None}
