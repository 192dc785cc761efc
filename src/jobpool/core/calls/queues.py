"""Where the calls of a pool are: waiting in a line, or in a bundle at an agent.

::

    Line ─┬─ queue of Entry              calls that wait, or rows of a map
          ├─ parked: queues of Entry     those that need more time than the agents had left, by what they need
          └─ Agent ─ Bundle ─ Entry      those that were handed out; a bundle keeps one worker busy
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

__all__ = ["AgentView", "Bundle", "Entry", "Queue", "Stage", "holds_back"]


class Stage(enum.Enum):
    """Where a call is."""

    WAITING = enum.auto()
    """In a line."""
    SENT = enum.auto()
    """At an agent, and not known to run."""
    RUNNING = enum.auto()
    """At an agent, and known to run."""
    GONE = enum.auto()
    """Resolved or cancelled; a mark may be left in a line."""


@dataclass(slots=True, eq=False)
class Entry:
    """A call, or rows, with what happened to it."""

    call: Call
    tally: FunctionStatistics
    stage: Stage = Stage.WAITING
    history: History = NEVER
    bundle: Bundle | None = None
    started: float = 0.0
    unwanted: bool = False
    """Cancelled rows of which some run: the others are forgotten when they come back."""

    @property
    def items(self) -> int:
        """How many calls it is."""
        return self.call.rows or 1


@dataclass(slots=True, eq=False)
class Bundle:
    """Calls that were handed out together, for one worker."""

    agent: AgentView
    left: int
    """Calls of it that did not come back yet. A worker is busy with the bundle while there are any."""
    long: bool
    """It has a call that is long, or of which nothing is known yet."""
    heard: float
    """When it was sent, or a call of it came back the last time."""


@dataclass(slots=True, eq=False)
class AgentView:
    """An agent, with its workers and what they have."""

    key: JobKey
    line: Queue
    workers: int
    span: Span
    slots: int = 0
    """Workers that may be used: all but those above ``max_workers``."""
    taken: int = 0
    """Workers busy with tasks of Dask graphs."""
    bundles: int = 0
    items: int = 0
    """Calls that it has."""
    long: int = 0
    """Bundles with a call that is long, or may be."""
    calls: dict[int, Entry] = field(default_factory=dict)
    open: bool = True
    """It takes more calls."""
    leaving: bool = False
    """Its job is no supply any more: what it has does not speak for another job, what waits does."""
    spent: float | None = None
    """Since when a worker of it has been free and none of the calls that wait fits its time."""
    idle_since: float = 0.0

    @property
    def busy(self) -> int:
        """Workers that have something to do."""
        return min(self.workers, self.bundles + self.taken)

    @property
    def usable(self) -> int:
        """Workers that calls may have."""
        return min(self.slots, self.workers - self.taken)

    @property
    def depth(self) -> int:
        """Bundles that it may hold: one more for each worker that will be free soon.

        None waits at an agent with a worker that must stay idle: it would take it, or would when a task of a Dask graph
        that has this worker now is over.
        """
        usable = self.usable
        return usable if self.slots < self.workers else usable + max(0, usable - self.long)


class Queue:
    """The calls that wait for one kind of worker, and the agents that have it."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.queue: deque[Entry] = deque()
        self.waiting = 0
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
        self.parked: dict[float | str, deque[Entry]] = {}
        """Calls of the queue that found no agent with enough time. They come first, as soon as there is one."""
        self.spent: dict[JobKey, AgentView] = {}
        """Open agents with a free worker whose time left is too short for all calls that wait."""
        self.leaving = 0
        """Calls at agents of jobs that are no supply any more."""

    def sort(self, agent: AgentView) -> None:
        """Note whether an agent has room, after anything about it changed."""
        self.spent.pop(agent.key, None)
        for shelf, room in ((self.free, agent.usable), (self.roomy, agent.depth)):
            if agent.open and agent.bundles < room:
                shelf[agent.key] = agent
            else:
                shelf.pop(agent.key, None)
        if agent.open and agent.bundles > agent.usable:
            self.loaded[agent.key] = agent
        else:
            self.loaded.pop(agent.key, None)

    def count(self, agent: AgentView, items: int) -> None:
        """Note that an agent has so many calls more, or fewer."""
        agent.items += items
        self.sent += items
        if agent.leaving:
            self.leaving += items

    def leave(self, agent: AgentView) -> None:
        """Note that an agent's job is no supply any more."""
        if not agent.leaving:
            agent.leaving = True
            self.leaving += agent.items

    def spend(self, agent: AgentView, time: float) -> None:
        """Note that none of the calls that wait fits the time of a free agent."""
        self.free.pop(agent.key, None)
        self.roomy.pop(agent.key, None)
        self.spent[agent.key] = agent
        if agent.spent is None:
            agent.spent = time

    def revive(self) -> None:
        """Look at such agents again: other calls came, or less is expected of those that wait."""
        for agent in list(self.spent.values()):
            if not self.waiting:
                agent.spent = None
            self.sort(agent)

    def queues(self) -> list[deque[Entry]]:
        """Return where calls wait: first those that need much time, which waited for an agent that has it."""
        return [*self.parked.values(), self.queue] if self.parked else [self.queue]

    def entries(self) -> Iterator[Entry]:
        """Yield all calls that wait."""
        return (entry for queue in self.queues() for entry in queue if entry.stage is Stage.WAITING)

    @staticmethod
    def head(queue: deque[Entry]) -> Entry | None:
        """Return the first call in a queue that really waits."""
        while queue and queue[0].stage is not Stage.WAITING:
            queue.popleft()
        return queue[0] if queue else None

    def grant(self) -> None:
        """Share the ceiling among the agents, the first to come first. Closed agents count with what they run."""
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

    def drop_marks(self) -> None:
        """Free the memory of cancelled calls once they are most of the queue: O(1) for each of them."""
        queues = self.queues()
        if sum(map(len, queues)) > 2 * self.waiting + 1000:
            for queue in queues:
                left = [entry for entry in queue if entry.stage is Stage.WAITING]
                queue.clear()
                queue.extend(left)


def holds_back(agent: AgentView, time: float) -> bool:
    """Whether calls wait at an agent behind one that has run for long. Those at one that is closed stay there."""
    bundles = {id(entry.bundle): entry.bundle for entry in agent.calls.values() if entry.bundle is not None}
    waiting = len(bundles) > agent.usable or any(bundle.left > 1 for bundle in bundles.values())
    return waiting and agent.open and any(time - bundle.heard >= STUCK for bundle in bundles.values())
