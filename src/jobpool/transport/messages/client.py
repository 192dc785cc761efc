"""Messages between the server and clients, and between the server and command lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from jobpool.model.bounded import Count, Port, Rows, Seconds
from jobpool.model.call import Call, Outcome
from jobpool.transport.messages.base import Answer, ErrorData, Functions, Holder, Message, Question, Refused

# -------------------------------------------------------------------------------------------------------------- answers


class ClientWelcome(Answer, kw_only=True):
    """The answer to :class:`ClientHello`."""

    system: str
    """The batch system's name."""
    logs: str
    """The run's log directory."""


class Facts(Answer, kw_only=True):
    """The answer to :class:`AskStatus` and :class:`AskRecord`: plain data, as ``jobpool status --json`` prints it."""

    facts: dict[str, Any]


class Starts(Answer, kw_only=True):
    """The answer to :class:`AskStarts`: seconds since the epoch by the ids of jobs."""

    starts: dict[str, Seconds | None]


class DaskAddress(Answer, kw_only=True):
    """The answer to :class:`StartDask`."""

    port: Port
    dashboard: tuple[Port, str] | None
    """Port on the loopback, and path. None: there is none, or it was not asked for."""


class Accepted(Answer):
    """The server does, or has done, what it was asked for."""


class JobCancelled(Answer, kw_only=True):
    """The answer to :class:`CancelJob`."""

    known: bool
    """False: this pool has no such job."""


# ----------------------------------------------------------------------------------------------------- client to server


class ClientHello(Question[ClientWelcome]):
    """The client's first message, on each connection. Late: the script waits for its pool.

    The server waits 30 s for a first client. The end of a client's connection is the end of its calls; with the last
    client the pool ends.
    """


class AddKind(Question[Accepted], kw_only=True):
    """Client to server, when the user makes a view of the pool, before its first call. Twice: nothing changes."""

    key: str
    kind: dict[str, Any]
    """A ``CallKind`` as plain data."""


class Calls(Message):
    """Client to server, some time after ``submit`` or ``map``: calls of one kind. Late: they begin later.

    Lost: with the client's connection, and so with its pool. A second call of the same id would never end.
    """

    kind: str
    calls: list[Call]

    def holders(self) -> Sequence[Holder]:
        """Return the calls."""
        return self.calls


class Cancel(Message):
    """Client to server: these calls are not wanted. Late: they run meanwhile. Twice: nothing changes."""

    ids: list[Count]


class CancelRows(Message):
    """Client to server: the rest of a map is not wanted; pairs of a first id and a count. As :class:`Cancel`."""

    spans: list[tuple[Count, Rows]]


class Scale(Message):
    """Client to server, from ``pool.scale``: so many workers; None: as the calls need. The last one holds."""

    workers: Count | None


class Shutdown(Message):
    """Client to server, from ``pool.shutdown``. Lost: the end of the connection ends the pool as well."""

    cancel_waiting: bool
    kill: bool
    """End the calls that run, too."""


class AskStatus(Question[Facts]):
    """Client or command line to server: how is the pool? Changes nothing."""


class AskRecord(Question[Facts]):
    """Client or command line to server: what happened so far? Changes nothing."""


class AskStarts(Question[Starts]):
    """Client or command line to server: when may the pending jobs start? Costs a command of the batch system."""


class StartDask(Question[DaskAddress], kw_only=True):
    """Client to server, at the first use of ``pool.client``: start Dask's Scheduler. Twice: it runs already."""

    dashboard: bool


# ----------------------------------------------------------------------------------------------- command line to server


class CancelJob(Question[JobCancelled], kw_only=True):
    """Command line to server: cancel one job of this pool; its calls run again. Twice: the job ends once."""

    id: str


class Stop(Question[Accepted], kw_only=True):
    """Command line to server: end the pool now, the running calls too. Lost: the user sees that it still runs."""

    why: str


# ----------------------------------------------------------------------------------------------------- server to client


class JobOfCalls(msgspec.Struct, array_like=True, frozen=True):
    """The job in which calls run, for ``future.job``."""

    id: str
    node: str
    log: str | None


class CallsStarted(Message):
    """Server to client: these calls run in this job. Late: ``cancel`` still succeeds, and the worker is killed."""

    job: JobOfCalls
    ids: list[Count]


class CallsDone(Message):
    """Server to client: what came of calls. Late: the futures end later. Each is sent once; lost with the pool."""

    job: JobOfCalls
    outcomes: list[Outcome]

    def holders(self) -> Sequence[Holder]:
        """Return the outcomes."""
        return self.outcomes


class CallsWaitAgain(Message):
    """Server to client: these calls were lost or taken back and wait again. Late: futures say that they run."""

    ids: list[Count]


class CallsFailed(Message):
    """Server to client: these calls end with an error of the pool's. As :class:`CallsDone`."""

    error: ErrorData
    ids: list[Count]


class Broken(Message):
    """Server to client: nothing can run any more; every future ends with this error. Twice: nothing changes."""

    error: ErrorData


class Waiting(Message):
    """Server to client, once a second while calls wait and no worker serves: what for."""

    snapshot: dict[str, Any] | None
    """None: for the same as the last one said, but for times."""


class Notice(Message):
    """Server to client: a sentence for the user, which the client prints. Twice: it is printed twice."""

    text: str
    warning: bool


class Bye(Message):
    """Server to client, the last message: the pool has ended in good order.

    Lost: the client removes what may be left.
    """

    left: list[str]
    """Jobs that could not be removed from the queue."""
    lessons: list[str]
    """Sentences of advice."""


ClientMessage = Functions | Calls | Cancel | CancelRows | Scale | Shutdown
ClientQuestion = AddKind | AskStatus | AskRecord | AskStarts | StartDask
ClientToServer = ClientHello | ClientMessage | ClientQuestion
CommandToServer = AskStatus | AskRecord | AskStarts | CancelJob | Stop

ServerToClient = CallsStarted | CallsDone | CallsWaitAgain | CallsFailed | Broken | Waiting | Notice | Bye
ServerAnswer = Refused | ClientWelcome | Facts | Starts | DaskAddress | Accepted | JobCancelled
