"""Messages between the server and the agents of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jobpool.model.bounded import Count, Level, Mode, Number, Port, Rows, Seconds, Slots
from jobpool.model.call import Call, Death, Outcome
from jobpool.transport.messages.base import (
    Answer,
    Checkpointed,
    ErrorData,
    Functions,
    Holder,
    Message,
    Question,
    Refused,
    Remark,
)

# -------------------------------------------------------------------------------------------------------------- answers


class AgentSettings(Answer, kw_only=True):
    """The answer to :class:`AgentHello`: the job is wanted, and its workers are to be like this."""

    time: Seconds
    """The clock of the server's host, in seconds since the epoch."""
    dask_port: Port | None
    """Dask's Scheduler runs there. None: not yet, and :class:`JoinDask` may come."""
    workers: Slots
    cores: Slots
    """Of each worker."""
    gpus: Slots
    walltime: Seconds | None
    """Seconds from the job's start; the agent may know better from the batch system."""
    grace: Seconds
    """Seconds that the agent may wait for checkpoints after SIGTERM."""
    log_level: Level
    umask: Mode
    threads_per_core: Slots
    bind: Literal["cores", "threads"] | None
    sys_path: list[str]
    working_directory: str
    initializer: bytes | None
    """A pickle that only workers open."""
    max_tasks_per_child: Count | None
    memory: Count | None
    """Bytes of one worker. None: no limit of the agent's own."""
    max_memory_growth: Count | None
    log_directory: str
    environment: dict[str, str]


class NotWanted(Answer, kw_only=True):
    """The answer to :class:`AgentHello` of a job that cannot serve this pool. The agent logs the reason and ends."""

    why: str


# ------------------------------------------------------------------------------------------------------ agent to server


class AgentHello(Question[AgentSettings | NotWanted], kw_only=True):
    """The agent's first message. Late: the job does nothing meanwhile. The agent tries for 45 s and then ends.

    It is understood across versions of jobpool, so that the answer can tell which ones do not fit.
    """

    job: tuple[str, Count]
    """The submission and the index in it."""
    id: str
    """The batch system's."""
    node: str
    pid: Number
    versions: dict[str, str]


class Ready(Message):
    """Agent to server, once: its workers are on their way, and calls may come. Late: the job does nothing meanwhile."""

    workers: Slots
    left: Seconds | None
    """Seconds until the job's walltime ends."""


class Pong(Message):
    """Agent to server, the answer to :class:`Ping`. After 300 s without any message the agent counts as lost."""


class Started(Message):
    """Agent to server: these calls run now.

    One that is over within milliseconds is reported done without having been started; but an agent's first call is told
    before it begins, and once more when it runs long. Lost with the job: a call may count as not begun though it was.
    """

    ids: tuple[Count, ...]


class Done(Message):
    """Agent to server: results. Late: they wait in the agent. Lost with the agent: the calls run again elsewhere."""

    outcomes: list[Outcome]

    def holders(self) -> Sequence[Holder]:
        """Return the outcomes."""
        return self.outcomes


class Returned(Message):
    """Agent to server: these calls will not be run here: retracted before they started, or killed for it, or the agent
    leaves. Lost with the agent, whose calls all come back then."""

    ids: tuple[Count, ...]


class Cut(Message):
    """Agent to server: the rows of this call are two now: the first ``at`` of them, and the rest under an own id.

    It comes before any message that names the second.
    """

    call: Count
    at: Rows


class Died(Message):
    """Agent to server: a worker died while it ran this call; None: while it ran none. A fresh one takes its place.

    Lost with the agent: the end of the job decides on the call.
    """

    call: Count | None
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

    left: Seconds | None


class SlotsTaken(Message):
    """Agent to server: tasks of ``pool.client`` hold so many of its workers' slots now. The last one holds."""

    count: Slots


class Trouble(Message):
    """Agent to server: no worker can be had in this job; with an error, it is so in every job and the pool ends."""

    words: str
    fatal: ErrorData | None


class NodeWarning(Message):
    """Agent to server: a sentence about its node, told to the user once in this pool, or with a topic once a day."""

    sentence: str
    topic: str | None = None


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

    ids: list[Count]


class TakeBack(Message):
    """Server to agent: return what waits behind long calls, for others have free workers. Twice: nothing changes."""


class Ping(Message):
    """Server to agent, every 30 s: answer :class:`Pong`. After 600 s without any message the agent ends."""


class JoinDask(Message):
    """Server to agent: Dask's Scheduler listens on this port of the server's. Twice: nothing changes."""

    port: Port


class StopAgent(Message):
    """Server to agent: end, with ``drain`` after the calls that run. Lost: the connection's end says the same."""

    why: str
    drain: bool


AgentReport = Started | Done | Returned | Cut | Checkpointed | Died | Trouble | NodeWarning | Remark
AgentToServer = AgentHello | Ready | Pong | Leaving | Suspended | WentOn | SlotsTaken | AgentBye | AgentReport

ServerToAgent = Functions | Bundle | Retract | TakeBack | Ping | JoinDask | StopAgent
AgentAnswer = AgentSettings | NotWanted | Refused
