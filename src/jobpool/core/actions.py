"""What the core asks for: the actions, which the server carries out in order. See :mod:`~jobpool.core.events`."""

from __future__ import annotations

from msgspec import Struct

from jobpool.core.events import JobKey, Outcome
from jobpool.model.call import Call
from jobpool.model.errors import JobPoolError
from jobpool.model.job import JobId
from jobpool.model.request import Request

__all__ = [
    "Action", "AskAccounting", "BreakPool", "CancelJobs", "Fail", "Finished", "Notice", "Poll", "Resolve", "Retract",
    "SendBundle", "StopAgent", "SubmitJobs", "TakeBack", "TellAgain", "TellStarted",
]  # fmt: skip


class SubmitJobs(Struct, frozen=True):
    """Submit ``count`` jobs for this request under a name that is not in use."""

    submission: str
    request: Request
    count: int


class Poll(Struct, frozen=True):
    """Ask the batch system for all jobs of these submissions. One at a time: no other Poll comes before its answer."""

    names: tuple[str, ...]


class AskAccounting(Struct, frozen=True):
    """Ask the accounting how jobs of these submissions ended."""

    names: tuple[str, ...]


class CancelJobs(Struct, frozen=True):
    """Cancel all jobs of the submissions ``names`` and the single jobs ``ids``."""

    names: tuple[str, ...] = ()
    ids: tuple[JobId, ...] = ()


class SendBundle(Struct, frozen=True):
    """Hand these calls, in this order, to the agent of this job: to one worker of it."""

    job: JobKey
    calls: tuple[Call, ...]


class Retract(Struct, frozen=True):
    """Tell the agent to drop these calls: those not started come back as CallsReturned, a running one is killed."""

    job: JobKey
    ids: tuple[int, ...]


class TakeBack(Struct, frozen=True):
    """Ask the agent for the calls that wait behind long ones: those not started come back as CallsReturned."""

    job: JobKey


class StopAgent(Struct, frozen=True):
    """Tell the agent to end. ``drain``: after its running calls (unstarted ones are returned); else at once."""

    job: JobKey
    why: str
    drain: bool


class TellStarted(Struct, frozen=True):
    """Tell the clients that these calls run, and in which job."""

    job: JobKey
    ids: tuple[int, ...]


class TellAgain(Struct, frozen=True):
    """Tell the clients that these calls, which ran, wait again: their job or worker was lost."""

    ids: tuple[int, ...]


class Resolve(Struct, frozen=True):
    """Give the outcomes to the clients. Each call gets exactly one Resolve or Fail in its life, or was cancelled."""

    job: JobKey
    outcomes: tuple[Outcome, ...]


class Fail(Struct, frozen=True):
    """End these calls with this exception (the server adds path and tail of the job's log, where there is a job)."""

    ids: tuple[int, ...]
    error: JobPoolError
    job: JobKey | None = None


class BreakPool(Struct, frozen=True):
    """The pool cannot go on: refuse new calls with this exception. All futures got it, or another one, already."""

    error: JobPoolError


class Notice(Struct, frozen=True):
    """Something a user should read, once: a sentence. ``warning``: it asks for something to be done."""

    text: str
    warning: bool = False


class Finished(Struct, frozen=True):
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
