"""Messages between an agent and its workers, and between an agent and the fork-server that makes them."""

from __future__ import annotations

from collections.abc import Sequence

from jobpool.model.bounded import Count, Level, Mode, Number, Seconds, SignalNumber
from jobpool.model.call import Call, Outcome
from jobpool.transport.messages.base import Checkpointed, Functions, Holder, Message, Remark

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

    spans: list[tuple[Count, Count]]


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
    log_end: Count
    """Where the worker's log ends now."""
    at: Seconds
    """When, on the clock that all processes of a host share."""

    def holders(self) -> Sequence[Holder]:
        """Return the outcome."""
        return (self.outcome,)


class Skipped(Message):
    """Worker to agent, the answer to :class:`Skip`: the first id of each thing that was dropped."""

    ids: tuple[Count, ...]


class NoCheckpoint(Message):
    """Worker to agent: a call was asked for a checkpoint and left none; it goes on."""

    call: Count | None
    """None: the agent says so itself, of all that were asked."""
    words: str


class Grown(Message):
    """Worker to agent: this function's calls have left so much memory that the worker runs no other one."""

    function: str
    bytes: Count
    calls: Count


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
    log_level: Level
    umask: Mode
    notice: list[SignalNumber]
    """Signals by which the batch system tells a job that it will be killed: they are for the agent alone."""
    max_memory_growth: Count | None
    flags: list[str]
    """Of the interpreter."""


class Fork(Message):
    """Agent to fork-server, with four descriptors: channel, log, shared page, wakeup. Lost: all workers are gone."""

    token: Count
    cpus: list[Number]
    environment: dict[str, str]


class Kill(Message):
    """Agent to fork-server: end this worker and all that it started. Twice, or late: it is dead already."""

    token: Count


class ForkServerUp(Message):
    """Fork-server to agent, once."""


class Forked(Message):
    """Fork-server to agent: the process of this worker runs."""

    token: Count
    pid: Number


class NotForked(Message):
    """Fork-server to agent: the system made no process for this worker."""

    token: Count
    errno: Number
    words: str


class Exited(Message):
    """Fork-server to agent: the process of this worker is gone, and what it started too."""

    token: Count
    status: Number
    """As ``os.wait4`` gives it."""
    peak_memory: Count
    """Bytes."""


AgentToWorker = Functions | Run | Forget | Skip
WorkerToAgent = (
    WorkerReady | InitializerRaised | CallDone | Skipped | Checkpointed | NoCheckpoint | Grown | Spoilt | Remark
)

AgentToForkServer = Fork | Kill
ForkServerToAgent = ForkServerUp | Forked | NotForked | Exited
