"""What the core is told: the events. What the core asks for in return is in :mod:`~jobpool.core.actions`.

Events carry the time at which they happened (seconds of a clock that never goes back), so that the core needs no clock.
An event may come late, twice, or after the job or call that it names is gone: the core copes with that, and the server
need not.

A :class:`JobKey`, (submission, index), names a job. It is known before the batch system's id, and a requeued job keeps
it.
The nouns that agents use as well are the model's, and belong to this language too: they can be imported from here.
"""

from __future__ import annotations

from msgspec import Struct

from jobpool.model.call import Call
from jobpool.model.call import Death as Death
from jobpool.model.call import Outcome as Outcome
from jobpool.model.errors import JobPoolError
from jobpool.model.job import Ending, JobId, JobState, Seen
from jobpool.model.job import JobKey as JobKey
from jobpool.model.request import Request

# --------------------------------------------------------------------------------------------------- nouns


class Hello(Struct, frozen=True, kw_only=True):
    """What an agent says of itself when it joins."""

    job: JobKey
    id: JobId
    node: str
    workers: int
    pid: int
    deadline: float | None = None
    """Time of the job's walltime on the core's clock, if it has one."""


# -------------------------------------------------------------------------------------------------- events


class CallsArrived(Struct, frozen=True):
    """A client submitted calls. Ids are unique and never used again; a repeated id is ignored."""

    time: float
    calls: tuple[Call, ...]


class CallsCancelled(Struct, frozen=True):
    """A client cancelled calls; their futures are resolved. Waiting ones never run, running ones are stopped."""

    time: float
    ids: tuple[int, ...]


class RequestAdded(Struct, frozen=True):
    """A client wants another kind of worker under this key (``with_request``), at most so many at once."""

    time: float
    key: str
    request: Request
    max_workers: int | None = None
    """None: as many as of the pool's own."""


class ScaleAsked(Struct, frozen=True):
    """``pool.scale(n)``: hold n workers from now on, busy or not. None: elastic again."""

    time: float
    workers: int | None


class DaskDemand(Struct, frozen=True):
    """How many tasks of Dask graphs wait for or use a worker now (``pool.client``)."""

    time: float
    tasks: int


class JobsSubmitted(Struct, frozen=True):
    """The batch system took a submission: ids in the order of the index."""

    time: float
    submission: str
    ids: tuple[JobId, ...]


class SubmitRefused(Struct, frozen=True):
    """The batch system said no; or, with ``error``, it was not asked, since no job could work any more."""

    time: float
    submission: str
    words: str
    temporary: bool
    error: JobPoolError | None = None


class SubmitDoubtful(Struct, frozen=True):
    """Nobody knows whether the submission exists."""

    time: float
    submission: str
    words: str
    unclear: bool = False
    """The command ended by itself, and its words are none that are known: perhaps they mean no."""


class Polled(Struct, frozen=True):
    """The batch system was asked for all submissions in ``names`` and showed these jobs. Also answers a look-up."""

    time: float
    names: tuple[str, ...]
    seen: tuple[Seen, ...]


class PollFailed(Struct, frozen=True):
    """The batch system could not be asked. Says nothing about jobs."""

    time: float
    words: str


class Accounted(Struct, frozen=True):
    """How the jobs ended, or how they live, as far as the accounting, or the jobs' own exit files, tell by now.

    ``None``: there is neither.
    """

    time: float
    names: tuple[str, ...]
    known: dict[JobId, Ending | JobState] | None


class AgentJoined(Struct, frozen=True):
    """An agent connected and is ready for bundles."""

    time: float
    hello: Hello


class AgentLeaving(Struct, frozen=True):
    """An agent begins no more calls and ends after those that run: its time is nearly over, or it got a signal."""

    time: float
    job: JobKey
    why: str
    planned: bool
    """It is the walltime, of which nobody needs to be asked."""


class AgentSuspended(Struct, frozen=True):
    """An agent was told that the batch system suspends its job: it stands still in a moment."""

    time: float
    job: JobKey


class AgentWentOn(Struct, frozen=True):
    """An agent goes on after it stood still. ``deadline``: when its job's walltime ends now, if it has one."""

    time: float
    job: JobKey
    deadline: float | None = None


class AgentLeft(Struct, frozen=True):
    """The connection to an agent ended. ``last_word``: what it said before, if anything (``SIGTERM``, ``idle``)."""

    time: float
    job: JobKey
    last_word: str = ""
    pid: int = 0
    """Its ``Hello.pid``: a requeued job's new agent may join before the old one's end is noticed. 0: not known."""


class AgentTrouble(Struct, frozen=True):
    """A job's script ran, but its agent cannot work (environment mismatch, initializer's exception).

    ``fatal`` is the exception that every future of the pool gets; None: only this job is of no use.
    """

    time: float
    job: JobKey
    words: str
    fatal: JobPoolError | None = None


class CallsStarted(Struct, frozen=True):
    """These calls run now."""

    time: float
    job: JobKey
    ids: tuple[int, ...]


class CallsDone(Struct, frozen=True):
    """Results came back."""

    time: float
    job: JobKey
    outcomes: tuple[Outcome, ...]


class CallCheckpointed(Struct, frozen=True):
    """A call stopped and left what is to run in its place, as a function and a payload: for the same future."""

    time: float
    job: JobKey
    call: int
    function: str
    payload: bytes


class CallsReturned(Struct, frozen=True):
    """The agent gives back calls that it never started (their worker died first, it drains, or they were cancelled)."""

    time: float
    job: JobKey
    ids: tuple[int, ...]


class CallsCut(Struct, frozen=True):
    """The agent has cut rows in two: the first ``at`` of them keep the id, the others have their own first one now."""

    time: float
    job: JobKey
    call: int
    at: int


class WorkerDied(Struct, frozen=True):
    """A worker died while it ran this call; None: while it ran none. The agent has replaced the worker already."""

    time: float
    job: JobKey
    call: int | None
    death: Death


class SlotsTaken(Struct, frozen=True):
    """So many of the agent's workers are busy with tasks of Dask graphs now."""

    time: float
    job: JobKey
    count: int


class ShutdownAsked(Struct, frozen=True):
    """Finish the calls that are there, or drop the waiting ones, or (``kill``) the running ones too; then end."""

    time: float
    cancel_waiting: bool = False
    kill: bool = False


class Tick(Struct, frozen=True):
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
