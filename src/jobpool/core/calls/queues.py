"""Where the calls of a pool are: waiting in a queue, or in a bundle at an agent.

::

    Queue ─┬─ ready: CallEntry, ...           calls that wait, or rows of a map
           ├─ set_aside: CallEntry, ...       calls that need more time than the agents had left, by what they need
           └─ AgentView ─ Bundle ─ CallEntry  calls that were sent; a bundle keeps one worker busy
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobpool.core.calls.bundle_size import STUCK
from jobpool.core.events import JobKey
from jobpool.core.histograms import FunctionStatistics
from jobpool.core.recovery.decide import NEVER, History
from jobpool.core.scaling.walltime import Span
from jobpool.model.call import Call

__all__ = ["AgentView", "Bundle", "CallEntry", "Queue", "Stage", "holds_back"]


class Stage(enum.Enum):
    """Where a call is."""

    WAITING = enum.auto()
    """In a queue."""
    SENT = enum.auto()
    """At an agent, and not known to run."""
    RUNNING = enum.auto()
    """At an agent, and known to run."""
    GONE = enum.auto()
    """Resolved or cancelled; the entry may still stand in a queue."""


@dataclass(slots=True, eq=False)
class CallEntry:
    """A call, or rows of a map, with what happened to it."""

    call: Call
    statistics: FunctionStatistics
    stage: Stage = Stage.WAITING
    history: History = NEVER
    bundle: Bundle | None = None
    started: float = 0.0
    unwanted: bool = False
    """Rows that were cancelled while one of them ran: the others are forgotten when the agent returns them."""

    @property
    def items(self) -> int:
        """How many calls it is."""
        return self.call.rows or 1


@dataclass(slots=True, eq=False)
class Bundle:
    """Calls that were sent together, for one worker."""

    agent: AgentView
    left: int
    """Calls of the bundle that did not come back yet. A worker is busy with the bundle while there are any."""
    long: bool
    """A call of the bundle is long, or its duration is not known yet."""
    heard: float
    """When the bundle was sent, or when one of its calls came back for the last time."""


@dataclass(slots=True, eq=False)
class AgentView:
    """An agent as the scheduler sees it: its workers, and the calls that they have."""

    key: JobKey
    queue: Queue
    workers: int
    span: Span
    slots: int = 0
    """Workers that may be used: all but those above ``max_workers``."""
    dask_tasks: int = 0
    """Workers that are busy with tasks of Dask graphs."""
    bundles: int = 0
    items: int = 0
    """Calls that the agent has."""
    long: int = 0
    """Bundles with a call that is long, or may be."""
    calls: dict[int, CallEntry] = field(default_factory=dict)
    open: bool = True
    """The agent takes more calls."""
    leaving: bool = False
    """Its job is about to end. The job does not count as supply any more, and the agent's calls not as demand."""
    short_of_time: float | None = None
    """Since when a worker of the agent has been free while its time was too short for every waiting call."""
    idle_since: float = 0.0

    @property
    def busy(self) -> int:
        """Workers that have something to do."""
        return min(self.workers, self.bundles + self.dask_tasks)

    @property
    def usable(self) -> int:
        """Workers that calls may have."""
        return min(self.slots, self.workers - self.dask_tasks)

    @property
    def depth(self) -> int:
        """Bundles that the agent may hold: one more for each worker that will be free soon.

        An agent with a worker above ``max_workers`` holds no bundle more: that worker would run it, at once or when it
        has ended its task of a Dask graph.
        """
        usable = self.usable
        return usable if self.slots < self.workers else usable + max(0, usable - self.long)


class Queue:
    """The calls that wait for one kind of worker, and the agents that have it."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.ready: deque[CallEntry] = deque()
        self.waiting = 0
        """Calls in ``ready`` and ``set_aside``."""
        self.sent = 0
        """Calls at agents, running or not."""
        self.bundles = 0
        """Bundles at agents."""
        self.workers = 0
        """Usable workers of all open agents."""
        self.agents: dict[JobKey, AgentView] = {}
        self.free: dict[JobKey, AgentView] = {}
        """Open agents with a free worker. Dicts as ordered sets: agents take turns."""
        self.roomy: dict[JobKey, AgentView] = {}
        """Open agents where one more bundle may wait."""
        self.loaded: dict[JobKey, AgentView] = {}
        """Open agents where a bundle waits."""
        self.set_aside: dict[float | str, deque[CallEntry]] = {}
        """Calls for which no agent had enough time. They come first, as soon as an agent has."""
        self.short_of_time: dict[JobKey, AgentView] = {}
        """Open agents with a free worker whose time left is too short for every waiting call."""
        self.leaving = 0
        """Calls at agents whose jobs are about to end."""

    def sort(self, agent: AgentView) -> None:
        """Note whether an agent has room, after anything about the agent changed."""
        self.short_of_time.pop(agent.key, None)
        for agents, room in ((self.free, agent.usable), (self.roomy, agent.depth)):
            if agent.open and agent.bundles < room:
                agents[agent.key] = agent
            else:
                agents.pop(agent.key, None)
        if agent.open and agent.bundles > agent.usable:
            self.loaded[agent.key] = agent
        else:
            self.loaded.pop(agent.key, None)

    def count(self, agent: AgentView, items: int) -> None:
        """Note that an agent has ``items`` calls more; fewer, if negative."""
        agent.items += items
        self.sent += items
        if agent.leaving:
            self.leaving += items

    def leave(self, agent: AgentView) -> None:
        """Note that an agent's job is about to end."""
        if not agent.leaving:
            agent.leaving = True
            self.leaving += agent.items

    def note_short_of_time(self, agent: AgentView, time: float) -> None:
        """Note that a free agent has too little time for every waiting call."""
        self.free.pop(agent.key, None)
        self.roomy.pop(agent.key, None)
        self.short_of_time[agent.key] = agent
        if agent.short_of_time is None:
            agent.short_of_time = time

    def revive(self) -> None:
        """Consider such agents again: other calls came, or the waiting calls may take less than was expected."""
        for agent in list(self.short_of_time.values()):
            if not self.waiting:
                agent.short_of_time = None
            self.sort(agent)

    def sources(self) -> list[deque[CallEntry]]:
        """Return where calls wait: first the calls set aside, which need much time, then the others."""
        return [*self.set_aside.values(), self.ready] if self.set_aside else [self.ready]

    def entries(self) -> Iterator[CallEntry]:
        """Yield all calls that wait."""
        return (entry for source in self.sources() for entry in source if entry.stage is Stage.WAITING)

    @staticmethod
    def head(source: deque[CallEntry]) -> CallEntry | None:
        """Return the first call that still waits, without the cancelled ones before it."""
        while source and source[0].stage is not Stage.WAITING:
            source.popleft()
        return source[0] if source else None

    def grant(self) -> None:
        """Share the ceiling among the agents, in the order in which they joined. Closed agents count with what they
        run."""
        left = self.ceiling - sum(min(a.bundles, a.workers) for a in self.agents.values() if not a.open)
        self.workers = 0
        for agent in self.agents.values():
            if agent.open:
                agent.slots = max(0, min(agent.workers, left))
                left -= agent.slots
                self.workers += agent.slots
            self.sort(agent)

    @property
    def starving(self) -> bool:
        """Whether a worker is free while calls wait behind others at agents."""
        return bool(self.free) and not self.waiting and (self.sent > self.bundles or bool(self.loaded))

    def drop_cancelled(self) -> None:
        """Free the memory of cancelled calls once they are most of the queue: O(1) for each of them."""
        sources = self.sources()
        if sum(map(len, sources)) > 2 * self.waiting + 1000:
            for source in sources:
                left = [entry for entry in source if entry.stage is Stage.WAITING]
                source.clear()
                source.extend(left)


def holds_back(agent: AgentView, time: float) -> bool:
    """Return whether calls wait at an open agent behind one that has run for long."""
    bundles = {id(entry.bundle): entry.bundle for entry in agent.calls.values() if entry.bundle is not None}
    waiting = len(bundles) > agent.usable or any(bundle.left > 1 for bundle in bundles.values())
    return waiting and agent.open and any(time - bundle.heard >= STUCK for bundle in bundles.values())
