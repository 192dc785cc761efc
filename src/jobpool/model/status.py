"""The status of a pool at one time: what ``pool.status()`` returns and ``jobpool status`` shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jobpool.model.public_data import PublicData

__all__ = [
    "CallCounts",
    "FunctionStatus",
    "JobStatus",
    "JobWord",
    "Notice",
    "Phase",
    "PoolStatus",
    "RequestStatus",
    "Snapshot",
]

JobWord = Literal["submitting", "pending", "starting", "serving", "draining", "silent", "suspended", "closing", "ended"]
"""The state of a job."""

Phase = Literal["open", "finishing", "closing", "finished", "broken", "died", "does not answer"]
"""What a pool does. ``open``; ``finishing``: it takes no new calls; ``closing``: its jobs are being cancelled;
``finished``; ``broken``: it cannot go on. Of a pool whose server does not run, ``died``; of one whose server runs and
cannot be reached, ``does not answer``."""


class Notice(NamedTuple):
    """A sentence for the user of a pool."""

    text: str
    warning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus(PublicData):
    """One job of a pool."""

    key: tuple[str, int]
    """The name of its submission, and its place in it, from 0. It identifies the job before its id is known."""
    request: str
    """Key of the request (:attr:`RequestStatus.key`) whose calls it runs."""
    id: str | None
    """The batch system's id (``1343_7``). None: it is not known yet."""
    state: JobWord
    reason: str
    """Why it is in this state, in the batch system's own words; empty where nothing is known."""
    node: str | None
    """None before it has started."""
    age: float
    """Seconds in this state."""
    workers: int
    """Its workers that calls may have."""
    busy: int
    """How many of them run a call."""
    log: Path | None = None
    """The job's own log. None: it is not known where it is."""
    starts: float | None = None
    """With ``status(start=True)``: when a pending job may start, in seconds since the epoch, as ``time.time()`` counts.
    None: it was not asked for, the job is not pending, or the batch system has no estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts(PublicData):
    """How many calls are in which state."""

    waiting: int
    """Those that did not start, also where they are at a job already."""
    running: int
    done: int
    """Those that returned."""
    failed: int
    """Those that raised, or were given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatus(PublicData):
    """The calls of one function for one request, and what they used. None: no call has ended yet.

    Of calls below 10 ms, those that come back together count as all alike.
    """

    name: str
    """The function's qualified name."""
    request: str
    """Key of the request (:attr:`RequestStatus.key`)."""
    waiting: int
    running: int
    done: int
    failed: int
    seconds: float | None
    """Seconds that a call takes, on average."""
    cpus: float | None
    """CPUs that a call keeps busy, on average."""
    memory: int | None
    """Bytes that 99 % of the calls do not exceed."""
    largest_memory: int | None
    """Bytes of the call that used most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStatus(PublicData):
    """What is asked for one kind of worker, and what its calls use of it. None: nothing was asked for, or no call has
    ended yet."""

    key: str
    """Empty for the pool's own request; ``request 1``, ... for those of ``with_request``."""
    workers: int
    """Connected workers that calls may have."""
    busy: int
    """How many of them run a call."""
    cores: int
    """Cores that were asked for each worker."""
    memory: int | None
    """Bytes that were asked for each worker."""
    cpus: float | None
    """CPUs that a call keeps busy, on average."""
    used_memory: int | None
    """Bytes that 99 % of the calls do not exceed."""
    largest_memory: int | None
    """Bytes of the call that used most."""
    core_hours: float
    """Core-hours of all its jobs, from their start on."""
    pause: float
    """Seconds in which no jobs are asked for. 0: there is no pause."""
    pause_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(PublicData):
    """The jobs and calls of a pool at one time."""

    time: float
    """Seconds on the clock of the pool's server, which counts from any time on."""
    jobs: tuple[JobStatus, ...]
    """The living jobs, and the last 100 that ended."""
    calls: CallCounts
    functions: tuple[FunctionStatus, ...]
    requests: tuple[RequestStatus, ...]
    rate: float | None
    """Calls that ended in a second, in the last three minutes. None: it is not known yet."""
    left: float | None
    """Seconds until all calls have ended, about, with the workers that are there. None: it is not known."""
    held: int | None
    """Workers at most, as ``scale(n)`` said. None: as many as there is work for."""
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus(Snapshot):
    """The status of a pool."""

    name: str
    """The pool's name."""
    system: str
    """The batch system: ``slurm``, ``local``, ..."""
    host: str
    """The host on which the pool's server runs."""
    pid: int
    """The process of the pool's server on that host."""
    logs: Path
    """The directory of the jobs' logs."""
    notices: tuple[Notice, ...]
    """The last sentences for the user, oldest first."""
    as_of: float | None = None
    """When this was written down, in seconds since the epoch, for a pool whose server does not answer. None: it is the
    answer of the server."""

    @classmethod
    def of(cls, snapshot: Snapshot, **more: Any) -> PoolStatus:
        """Return a snapshot with what is said of the pool (``more``: the other fields)."""
        return cls(**{field.name: getattr(snapshot, field.name) for field in fields(snapshot)}, **more)

    def as_data(self) -> dict[str, Any]:
        """Return the same as dicts, lists, strings and numbers, as ``jobpool status NAME --json`` prints it.

        ``as_of`` is left out when it is None.
        """
        data = Snapshot.as_data(self)
        if self.as_of is None:
            del data["as_of"]
        about = ("name", "system", "host", "pid", "logs")
        return {name: data[name] for name in about} | data
