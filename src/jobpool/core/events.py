"""What the core is told, and what it asks for: the whole language between decisions and effects.

Events carry the time they happened (seconds of a clock that never goes back), so that the core has no clock. Actions
are carried out by ``server.control``, in order. Each event may come late, twice, or after what it speaks of is gone;
the core copes with that, the server need not.

Jobs are named by a :class:`JobKey`, (submission, index), known before the batch system's id, and kept in a requeue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from jobpool.model.call import Call, Usage
from jobpool.model.errors import JobPoolError
from jobpool.model.job import Ending, JobId, JobState, Seen
from jobpool.model.request import Request

# --------------------------------------------------------------------------------------------------- nouns


class JobKey(NamedTuple):
    """One job of this pool: the submission's name, and the job's place in it (``Seen.index``, from 0)."""

    submission: str
    element: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What an agent says of itself when it joins."""

    job: JobKey
    id: JobId
    node: str
    workers: int
    pid: int
    deadline: float | None = None
    """Time of the job's walltime on the core's clock, if it has one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker sent back for one call: its result or its own exception, pickled, which only the client opens."""

    call: int
    ok: bool
    """True for rows, whose payload holds results and exceptions."""
    payload: bytes = field(repr=False)
    usage: Usage | None = None
    log: bytes = field(default=b"", repr=False)
    """The last 64 KiB of what the call wrote to stdout and stderr."""
    rows: int = 0
    """How many rows, from ``call`` on, it is of; the others of that call run on. 0: it is of a single call."""
    failures: int = 0
    """How many of the calls raised."""
    words: str = ""
    """What the first of them raised, in one line: the server opens no payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a worker (a child process) died."""

    exit_code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    """The kernel's counters say that the job's cgroup killed a process for memory just then; or see ``limit``."""
    limit: int | None = None
    """Bytes: the agent killed it itself, since its process tree held more than this limit of each worker."""
    child: bool = False
    """Not the worker was killed for memory, but a process that the call had started."""
    innocent: bool = False
    """Perhaps not the call's fault: it was below its worker's limit when the kernel killed for others in the job, or
    would have been below it in a fresh worker, or another job, without what earlier calls had left; or its worker was
    killed for another call, which had ended just before."""
    timed_out: bool = False
    """Its call ran for longer than its own ``timeout``, and the agent killed it."""
    peak_memory: int = 0
    """Bytes, as the meter saw it last. 0: not known."""
    files: int = 0
    """Bytes of files in memory that fill most of the job's, and that its end did not free. 0: they do not."""
    kills: int = 0
    """How often the kernel has killed in the job for memory, until now."""
    tail: str = ""
    """The last lines of its stderr."""


# -------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class CallsArrived:
    """A client submitted calls. Ids are unique and never used again; a repeated id is ignored."""

    time: float
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class CallsCancelled:
    """A client cancelled calls; their futures are resolved. Waiting ones never run, running ones are stopped."""

    time: float
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RequestAdded:
    """A client wants another kind of worker under this key (``with_request``), at most so many at once."""

    time: float
    key: str
    request: Request
    max_workers: int | None = None
    """None: as many as of the pool's own."""


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """``pool.scale(n)``: hold n workers from now on, busy or not. None: elastic again."""

    time: float
    workers: int | None


@dataclass(frozen=True, slots=True)
class DaskDemand:
    """How many tasks of Dask graphs wait for or use a worker now (``pool.client``)."""

    time: float
    tasks: int


@dataclass(frozen=True, slots=True)
class JobsSubmitted:
    """The batch system took a submission: ids in the order of the index."""

    time: float
    submission: str
    ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class SubmitRefused:
    """The batch system said no; or, with ``error``, it was not asked, since no job could work any more."""

    time: float
    submission: str
    words: str
    temporary: bool
    error: JobPoolError | None = None


@dataclass(frozen=True, slots=True)
class SubmitDoubtful:
    """Nobody knows whether the submission exists."""

    time: float
    submission: str
    words: str
    unclear: bool = False
    """The command ended by itself, and its words are none that are known: perhaps they mean no."""


@dataclass(frozen=True, slots=True)
class Polled:
    """The batch system was asked for all submissions in ``names`` and showed these jobs. Also answers a look-up."""

    time: float
    names: tuple[str, ...]
    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The batch system could not be asked. Says nothing about jobs."""

    time: float
    words: str


@dataclass(frozen=True, slots=True)
class Accounted:
    """How jobs ended, or live, as far as the accounting or their exit files tell by now. ``None``: there is neither."""

    time: float
    names: tuple[str, ...]
    known: dict[JobId, Ending | JobState] | None


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent connected and is ready for bundles."""

    time: float
    hello: Hello


@dataclass(frozen=True, slots=True)
class AgentLeaving:
    """An agent begins no more calls and ends after those that run: its time is nearly over, or it got a signal."""

    time: float
    job: JobKey
    why: str
    planned: bool
    """It is the walltime, of which nobody needs to be asked."""


@dataclass(frozen=True, slots=True)
class AgentSuspended:
    """An agent was told that the batch system suspends its job: it stands still in a moment."""

    time: float
    job: JobKey


@dataclass(frozen=True, slots=True)
class AgentWentOn:
    """An agent goes on after it stood still. ``deadline``: when its job's walltime ends now, if it has one."""

    time: float
    job: JobKey
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class AgentLeft:
    """The connection to an agent ended. ``last_word``: what it said before, if anything (``SIGTERM``, ``idle``)."""

    time: float
    job: JobKey
    last_word: str = ""
    pid: int = 0
    """Its ``Hello.pid``: a requeued job's new agent may join before the old one's end is noticed. 0: not known."""


@dataclass(frozen=True, slots=True)
class AgentTrouble:
    """A job's script ran, but its agent cannot work (environment mismatch, initializer's exception).

    ``fatal`` is the exception that every future of the pool gets; None: only this job is of no use.
    """

    time: float
    job: JobKey
    words: str
    fatal: JobPoolError | None = None


@dataclass(frozen=True, slots=True)
class CallsStarted:
    """These calls run now."""

    time: float
    job: JobKey
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CallsDone:
    """Results came back."""

    time: float
    job: JobKey
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class CallCheckpointed:
    """A call stopped and left what is to run in its place, as a function and a payload: for the same future."""

    time: float
    job: JobKey
    call: int
    function: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallsReturned:
    """The agent gives back calls that it never started (their worker died first, it drains, or they were cancelled)."""

    time: float
    job: JobKey
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CallsCut:
    """The agent has cut rows in two: the first ``at`` of them keep the id, the others have their own first one now."""

    time: float
    job: JobKey
    call: int
    at: int


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker died while it ran this call. The agent has a fresh worker in its place already."""

    time: float
    job: JobKey
    call: int
    death: Death


@dataclass(frozen=True, slots=True)
class SlotsTaken:
    """So many of the agent's workers are busy with tasks of Dask graphs now."""

    time: float
    job: JobKey
    count: int


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    """Finish the calls that are there, or drop the waiting ones, or (``kill``) the running ones too; then end."""

    time: float
    cancel_waiting: bool = False
    kill: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. Comes at least once a second, and at the time that ``Core.next_tick()`` names."""

    time: float


Event = (
    CallsArrived
    | CallsCancelled
    | RequestAdded
    | ScaleAsked
    | DaskDemand
    | JobsSubmitted
    | SubmitRefused
    | SubmitDoubtful
    | Polled
    | PollFailed
    | Accounted
    | AgentJoined
    | AgentLeaving
    | AgentSuspended
    | AgentWentOn
    | AgentLeft
    | AgentTrouble
    | CallsStarted
    | CallsDone
    | CallCheckpointed
    | CallsReturned
    | CallsCut
    | WorkerDied
    | SlotsTaken
    | ShutdownAsked
    | Tick
)

# ------------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class SubmitJobs:
    """Submit ``count`` jobs for this request under a name that is not in use."""

    submission: str
    request: Request
    count: int


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the batch system for all jobs of these submissions. One at a time: no other Poll comes before its answer."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskAccounting:
    """Ask the accounting, and look into exit files, how jobs of these submissions ended."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Cancel all jobs of the submissions ``names`` (where that can be) and the single jobs ``ids``: a poll tells."""

    names: tuple[str, ...] = ()
    ids: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class SendBundle:
    """Hand these calls, in this order, to the agent of this job: to one worker of it."""

    job: JobKey
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Retract:
    """Tell the agent to drop these calls: those not started come back as CallsReturned, a running one is killed."""

    job: JobKey
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Ask the agent for the calls that wait behind long ones: those not started come back as CallsReturned."""

    job: JobKey


@dataclass(frozen=True, slots=True)
class StopAgent:
    """Tell the agent to end. ``drain``: after its running calls (unstarted ones are returned); else at once."""

    job: JobKey
    why: str
    drain: bool


@dataclass(frozen=True, slots=True)
class TellStarted:
    """Tell the clients that these calls run, and in which job."""

    job: JobKey
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TellAgain:
    """Tell the clients that these calls, which ran, wait again: their job or worker was lost."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Give the outcomes to the clients. Each call gets exactly one Resolve or Fail in its life, or was cancelled."""

    job: JobKey
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """End these calls with this exception (the server adds path and tail of the job's log, where there is a job)."""

    ids: tuple[int, ...]
    error: JobPoolError
    job: JobKey | None = None


@dataclass(frozen=True, slots=True)
class BreakPool:
    """The pool cannot go on: refuse new calls with this exception. All futures got it, or another one, already."""

    error: JobPoolError


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a user should read, once: a sentence. ``warning``: it asks for something to be done."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """All is done and nothing of this pool is left in the queue (``left``: except these jobs). The server may exit."""

    left: tuple[JobId, ...] = ()


Action = (
    SubmitJobs
    | Poll
    | AskAccounting
    | CancelJobs
    | SendBundle
    | Retract
    | TakeBack
    | StopAgent
    | TellStarted
    | TellAgain
    | Resolve
    | Fail
    | BreakPool
    | Notice
    | Finished
)
