"""A job: its id, its state, and its ending."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, NewType

from jobpool.model.units import Memory

__all__ = ["Ending", "EndingKind", "Hold", "JobId", "JobKey", "JobState", "Seen"]

JobId = NewType("JobId", str)
"""The batch system's own id of one job, as its commands take it; an array's element is its own job (``1343_7``)."""


class JobKey(NamedTuple):
    """One job of this pool: the submission's name, and the job's place in it (``Seen.index``, from 0)."""

    submission: str
    element: int


class JobState(enum.Enum):
    """The state of a job in the batch system, the same for all batch systems."""

    PENDING = "pending"
    """In the queue, held, or waiting to be run again."""
    RUNNING = "running"
    """Its script runs, or is about to run (SLURM's CONFIGURING)."""
    COMPLETING = "completing"
    """Its processes are being ended."""
    SUSPENDED = "suspended"
    """Stopped by the batch system, which may resume it."""
    ENDED = "ended"
    """It will not run again. ``Seen.ending`` says why."""
    UNKNOWN = "unknown"
    """A state this version does not know. An observation, not an ending."""


class EndingKind(enum.Enum):
    """Why a job has ended."""

    COMPLETED = "completed"
    """Its script returned 0."""
    FAILED = "failed"
    """Its script returned another code, or died of a signal of its own."""
    LAUNCH_FAILED = "launch failed"
    """The batch system could not start the script (output directory missing, node without the user, ...)."""
    OUT_OF_MEMORY = "out of memory"
    """It was killed for memory."""
    TIMED_OUT = "timed out"
    """Its walltime ended."""
    CANCELLED = "cancelled"
    """It was cancelled: by the pool, the user, or an administrator."""
    PREEMPTED = "preempted"
    """A job with more priority took its place."""
    NODE_FAILED = "node failed"
    """The node died, was drained by force, or failed to boot."""
    LOST = "lost"
    """It is not in the queue any more, and nothing says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a job has ended, with the evidence."""

    kind: EndingKind
    message: str = ""
    """The batch system's own text: state, reason, exit code (``TIMEOUT TimeLimit 0:0``)."""
    exit_code: int | None = None
    signal: int | None = None
    node: str | None = None
    limit: str | None = None
    used: Memory | None = None
    """The memory of the whole job when it was killed for memory, if known."""
    kills: int | None = None
    """How often the kernel killed a process of the job for memory, if known."""
    source: str = ""
    """Where the ending comes from: ``queue``, ``accounting``, ``agent``, ``exit file``, or ``absence``."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job in the queue does not start until somebody acts."""

    advice: str
    """Who has to act, and how."""
    hopeless: bool = False
    """Its starts fail, and those of later jobs would fail as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One job as one poll showed it."""

    id: JobId
    name: str
    """The name of its submission, which is unique: it identifies a job whose id is not known yet."""
    index: int
    """Its place in the submission, from 0; 0 for a job that is not an element of an array."""
    state: JobState
    message: str = ""
    """The batch system's own state and reason, unchanged."""
    reason: str = ""
    """The reason alone (``Resources``, ``QOSMaxJobsPerUserLimit``), empty when there is none."""
    hold: Hold | None = None
    """Present if the job is pending and held."""
    node: str | None = None
    ending: Ending | None = None
    """Present exactly when ``state`` is ENDED."""
