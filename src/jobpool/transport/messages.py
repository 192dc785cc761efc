"""Every message between the processes of one pool, as a class.

::

    client ───────► server   ClientToServer    ServerToClient
    command line ─► server   CommandToServer   (answers alone)
    agent ────────► server   AgentToServer     ServerToAgent
    agent ────────► worker   AgentToWorker     WorkerToAgent
    agent ────────► fork-server   AgentToForkServer   ForkServerToAgent

Each direction is one connection, which keeps the order, and neither doubles nor loses anything while it stands. So
"late" means that the network or the other process is slow, and "lost" that the connection has ended with the message
on its way; the end itself is an event, and each docstring says what it leaves behind. "Twice" means that the sender
says it again.

A question carries a number, and its answer the same one (:class:`Question`, :class:`Answer`). How a message becomes
bytes is said in ``packing``. Fields may be appended to a class, with a default, and never moved: processes of another
version have to understand at least :class:`AgentHello` and :class:`NotWanted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from jobpool.model.call import Call, Death, Outcome

A = TypeVar("A")

ErrorData = tuple[str, str, dict[str, Any]]
"""What ``JobPoolError.as_data()`` returns."""


class Holder(Protocol):
    """What has a content that may be large: it travels beside the message then."""

    payload: bytes


class Message(msgspec.Struct, array_like=True, tag=True):
    """A message. Its first item on the wire is the name of its class."""

    def holders(self) -> Sequence[Holder]:
        """Return what in it may hold a large content, always in the same order."""
        return ()


class Question(Message, Generic[A], kw_only=True):
    """A message that is answered with one of type ``A``, or with :class:`Refused`."""

    reference: int = 0
    """The link's number of the question."""


class Answer(Message, kw_only=True):
    """What the receiver of a question sends back. Lost: who asks hears that the connection has ended."""

    reference: int = 0
    """That of the question."""


class Function(msgspec.Struct, array_like=True):
    """A pickled function, which only workers open, and its key."""

    key: str
    payload: bytes


# ------------------------------------------------------------------------------------------------ answers of the server


class Refused(Answer):
    """The server cannot do what it was asked for; ``Link.ask`` raises the error."""

    error: ErrorData


class ClientWelcome(Answer):
    """The answer to :class:`ClientHello`."""

    system: str
    """The batch system's name."""
    logs: str
    """The run's log directory."""


class Facts(Answer):
    """The answer to :class:`AskStatus` and :class:`AskRecord`: plain data, as ``jobpool status --json`` prints it."""

    facts: dict[str, Any]


class Starts(Answer):
    """The answer to :class:`AskStarts`: seconds since the epoch by the ids of jobs."""

    starts: dict[str, float | None]


class DaskAddress(Answer):
    """The answer to :class:`StartDask`."""

    port: int
    dashboard: tuple[int, str] | None
    """Port on the loopback, and path. None: there is none, or it was not asked for."""


class Accepted(Answer):
    """The server does, or has done, what it was asked for."""


class JobCancelled(Answer):
    """The answer to :class:`CancelJob`."""

    known: bool
    """False: this pool has no such job."""


class AgentSettings(Answer):
    """The answer to :class:`AgentHello`: the job is wanted, and its workers are to be like this."""

    time: float
    """The clock of the server's host, in seconds since the epoch."""
    dask_port: int | None
    """Dask's Scheduler runs there. None: not yet, and :class:`JoinDask` may come."""
    workers: int
    cores: int
    """Of each worker."""
    gpus: int
    walltime: float | None
    """Seconds from the job's start; the agent may know better from the batch system."""
    grace: float
    """Seconds that the agent may wait for checkpoints after SIGTERM."""
    log_level: int
    umask: int
    threads_per_core: int
    bind: Literal["cores", "threads"] | None
    sys_path: list[str]
    working_directory: str
    initializer: bytes | None
    """A pickle that only workers open."""
    max_tasks_per_child: int | None
    memory: int | None
    """Bytes of one worker. None: no limit of the agent's own."""
    max_memory_growth: int | None
    log_directory: str
    environment: dict[str, str]


class NotWanted(Answer):
    """The answer to :class:`AgentHello` of a job that cannot serve this pool. The agent logs the reason and ends."""

    why: str


# ----------------------------------------------------------------------------------------------------- client to server


class ClientHello(Question[ClientWelcome]):
    """The client's first message, on each connection. Late: the script waits for its pool.

    The server waits 30 s for a first client. The end of a client's connection is the end of its calls; with the last
    client the pool ends.
    """


class Functions(Message):
    """Client to server, before the first calls of these functions; server to agent and agent to worker, likewise.

    Twice: the same content by the same key. A call whose function is not known ends the connection.
    """

    functions: list[Function]

    def holders(self) -> Sequence[Holder]:
        """Return the functions."""
        return self.functions


class AddKind(Question[Accepted]):
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

    ids: list[int]


class CancelRows(Message):
    """Client to server: the rest of a map is not wanted; pairs of a first id and a count. As :class:`Cancel`."""

    spans: list[tuple[int, int]]


class Scale(Message):
    """Client to server, from ``pool.scale``: so many workers; None: as the calls need. The last one holds."""

    workers: int | None


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


class StartDask(Question[DaskAddress]):
    """Client to server, at the first use of ``pool.client``: start Dask's Scheduler. Twice: it runs already."""

    dashboard: bool


# ----------------------------------------------------------------------------------------------- command line to server


class CancelJob(Question[JobCancelled]):
    """Command line to server: cancel one job of this pool; its calls run again. Twice: the job ends once."""

    id: str


class Stop(Question[Accepted]):
    """Command line to server: end the pool now, the running calls too. Lost: the user sees that it still runs."""

    why: str


# ----------------------------------------------------------------------------------------------------- server to client


class JobFacts(msgspec.Struct, array_like=True, frozen=True):
    """The job in which calls run, for ``future.job``."""

    id: str
    node: str
    log: str | None


class CallsStarted(Message):
    """Server to client: these calls run in this job. Late: ``cancel`` still succeeds, and the worker is killed."""

    job: JobFacts
    ids: list[int]


class CallsDone(Message):
    """Server to client: what came of calls. Late: the futures end later. Each is sent once; lost with the pool."""

    job: JobFacts
    outcomes: list[Outcome]

    def holders(self) -> Sequence[Holder]:
        """Return the outcomes."""
        return self.outcomes


class CallsWaitAgain(Message):
    """Server to client: these calls were lost or taken back and wait again. Late: futures say that they run."""

    ids: list[int]


class CallsFailed(Message):
    """Server to client: these calls end with an error of the pool's. As :class:`CallsDone`."""

    error: ErrorData
    ids: list[int]


class Broken(Message):
    """Server to client: nothing can run any more; every future ends with this error. Twice: nothing changes."""

    error: ErrorData


class Waiting(Message):
    """Server to client, once a second while calls wait and no worker serves: what for. Lost: the next one says it."""

    snapshot: dict[str, Any]


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


# ------------------------------------------------------------------------------------------------------ agent to server


class AgentHello(Question[AgentSettings | NotWanted]):
    """The agent's first message. Late: the job does nothing meanwhile. The agent tries for 45 s and then ends.

    It is understood across versions of jobpool, so that the answer can tell which ones do not fit.
    """

    job: tuple[str, int]
    """The submission and the index in it."""
    id: str
    """The batch system's."""
    node: str
    pid: int
    versions: dict[str, str]


class Ready(Message):
    """Agent to server, once: its workers are on their way, and calls may come. Late: the job does nothing meanwhile."""

    workers: int
    left: float | None
    """Seconds until the job's walltime ends."""


class Pong(Message):
    """Agent to server, the answer to :class:`Ping`. After 300 s without any message the agent counts as lost."""


class Started(Message):
    """Agent to server: these calls run now.

    One that is over within milliseconds is reported done without having been started; but an agent's first call is told
    before it begins, and once more when it runs long. Lost with the job: a call may count as not begun though it was.
    """

    ids: tuple[int, ...]


class Done(Message):
    """Agent to server: results. Late: they wait in the agent. Lost with the agent: the calls run again elsewhere."""

    outcomes: list[Outcome]

    def holders(self) -> Sequence[Holder]:
        """Return the outcomes."""
        return self.outcomes


class Returned(Message):
    """Agent to server: these calls will not be run here: retracted before they started, or killed for it, or the agent
    leaves. Lost with the agent, whose calls all come back then."""

    ids: tuple[int, ...]


class Cut(Message):
    """Agent to server: the rows of this call are two now: the first ``at`` of them, and the rest under an own id.

    It comes before any message that names the second.
    """

    call: int
    at: int


class Checkpointed(Message):
    """Worker to agent and agent to server: this call stopped, and goes on with this payload. Lost: it begins anew."""

    call: int
    payload: bytes

    def holders(self) -> Sequence[Holder]:
        """Return this message."""
        return (self,)


class Died(Message):
    """Agent to server: a worker died while it ran this call; None: while it ran none. A fresh one takes its place.

    Lost with the agent: the end of the job decides on the call.
    """

    call: int | None
    death: Death


class Leaving(Message):
    """Agent to server: no more calls; it ends after those that run. Late: bundles come back. Twice: nothing changes."""

    why: str
    planned: bool
    """Not for a signal."""


class Suspended(Message):
    """Agent to server: the batch system stops the job now. Lost: the silence says it, later."""


class WentOn(Message):
    """Agent to server: the job stood still and goes on, with so many seconds left."""

    left: float | None


class SlotsTaken(Message):
    """Agent to server: tasks of ``pool.client`` hold so many of its workers' slots now. The last one holds."""

    count: int


class Trouble(Message):
    """Agent to server: no worker can be had in this job; with an error, it is so in every job and the pool ends."""

    words: str
    fatal: ErrorData | None


class NodeWarning(Message):
    """Agent to server: a sentence about its node, told to the user once in this pool, or with a topic once a day."""

    sentence: str
    topic: str | None = None


class Remark(Message):
    """Worker to agent and agent to server: a sentence for the user, once for each topic, on whichever node it happens
    first."""

    topic: str
    text: str


class AgentBye(Message):
    """Agent to server, the last message: all results were sent, and why it ends. The server hangs up then.

    Lost: the job counts as lost until the batch system says how it ended.
    """

    why: str


# ------------------------------------------------------------------------------------------------------ server to agent


class Bundle(Message):
    """Server to agent: calls for one worker, in this order. Lost with the agent: they run elsewhere."""

    calls: list[Call]

    def holders(self) -> Sequence[Holder]:
        """Return the calls."""
        return self.calls


class Retract(Message):
    """Server to agent: these calls are not wanted; each one is done or returned. Late: they run for nothing."""

    ids: list[int]


class TakeBack(Message):
    """Server to agent: return what waits behind long calls, for others have free workers. Twice: nothing changes."""


class Ping(Message):
    """Server to agent, every 30 s: answer :class:`Pong`. After 600 s without any message the agent ends."""


class JoinDask(Message):
    """Server to agent: Dask's Scheduler listens on this port of the server's. Twice: nothing changes."""

    port: int


class StopAgent(Message):
    """Server to agent: end, with ``drain`` after the calls that run. Lost: the connection's end says the same."""

    why: str
    drain: bool


# ------------------------------------------------------------------------------------------------------ agent to worker


class Run(Message):
    """Agent to worker: calls to run, in this order. Lost with the worker: the agent knows which have begun."""

    calls: list[Call]

    def holders(self) -> Sequence[Holder]:
        """Return the calls."""
        return self.calls


class Forget(Message):
    """Agent to worker: drop these functions. Lost: they take memory; another call of one brings it again."""

    keys: list[str]


class Skip(Message):
    """Agent to worker: drop the calls of these spans (first id, end), announced on the shared page before."""

    spans: list[tuple[int, int]]


# ------------------------------------------------------------------------------------------------------ worker to agent


class WorkerReady(Message):
    """Worker to agent, once, after the initializer. Lost with the worker: a fresh one is started."""


class InitializerRaised(Message):
    """Worker to agent: the initializer raised, and the worker ends. All workers of the pool would meet the same."""

    words: str
    payload: bytes
    """The exception, pickled."""

    def holders(self) -> Sequence[Holder]:
        """Return this message."""
        return (self,)


class CallDone(Message):
    """Worker to agent, after a call or some rows. It may lie in the socket for a while, and outlives the worker."""

    outcome: Outcome
    log_end: int
    """Where the worker's log ends now."""
    at: float
    """When, on the clock that all processes of a host share."""

    def holders(self) -> Sequence[Holder]:
        """Return the outcome."""
        return (self.outcome,)


class Skipped(Message):
    """Worker to agent, the answer to :class:`Skip`: the first id of each thing that was dropped."""

    ids: tuple[int, ...]


class NoCheckpoint(Message):
    """Worker to agent: a call was asked for a checkpoint and left none; it goes on."""

    call: int | None
    """None: the agent says so itself, of all that were asked."""
    words: str


class Grown(Message):
    """Worker to agent: this function's calls have left so much memory that the worker runs no other one."""

    function: str
    bytes: int
    calls: int


class Spoilt(Message):
    """Worker to agent: this function's call has changed what cannot be put back; the worker runs no other one."""

    function: str
    what: str


# ---------------------------------------------------------------------------------------------------------- fork-server


class ForkServerSetup(Message):
    """Agent to fork-server, in a file that is its stdin: read once, and again when it starts over."""

    working_directory: str | None
    sys_path: list[str]
    initializer: bytes | None
    log_level: int
    umask: int
    max_memory_growth: int | None
    flags: list[str]
    """Of the interpreter."""


class Fork(Message):
    """Agent to fork-server, with four descriptors: channel, log, shared page, wakeup. Lost: all workers are gone."""

    token: int
    cpus: list[int]
    environment: dict[str, str]


class Kill(Message):
    """Agent to fork-server: end this worker and all that it started. Twice, or late: it is dead already."""

    token: int


class ForkServerUp(Message):
    """Fork-server to agent, once."""


class Forked(Message):
    """Fork-server to agent: the process of this worker runs."""

    token: int
    pid: int


class NotForked(Message):
    """Fork-server to agent: the system made no process for this worker."""

    token: int
    errno: int
    words: str


class Exited(Message):
    """Fork-server to agent: the process of this worker is gone, and what it started too."""

    token: int
    status: int
    """As ``os.wait4`` gives it."""
    peak_memory: int
    """Bytes."""


ClientMessage = Functions | Calls | Cancel | CancelRows | Scale | Shutdown
ClientQuestion = AddKind | AskStatus | AskRecord | AskStarts | StartDask
ClientToServer = ClientHello | ClientMessage | ClientQuestion
CommandToServer = AskStatus | AskRecord | AskStarts | CancelJob | Stop
AgentReport = Started | Done | Returned | Cut | Checkpointed | Died | Trouble | NodeWarning | Remark
AgentToServer = AgentHello | Ready | Pong | Leaving | Suspended | WentOn | SlotsTaken | AgentBye | AgentReport
ToServer = ClientToServer | CommandToServer | AgentToServer
"""What the server may hear from any peer. From each it hears that peer's own messages alone."""

ServerToClient = CallsStarted | CallsDone | CallsWaitAgain | CallsFailed | Broken | Waiting | Notice | Bye
ServerAnswer = Refused | ClientWelcome | Facts | Starts | DaskAddress | Accepted | JobCancelled
ServerToAgent = Functions | Bundle | Retract | TakeBack | Ping | JoinDask | StopAgent
AgentAnswer = AgentSettings | NotWanted | Refused

AgentToWorker = Functions | Run | Forget | Skip
WorkerToAgent = (
    WorkerReady | InitializerRaised | CallDone | Skipped | Checkpointed | NoCheckpoint | Grown | Spoilt | Remark
)
AgentToForkServer = Fork | Kill
ForkServerToAgent = ForkServerUp | Forked | NotForked | Exited
