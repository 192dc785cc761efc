"""The calls of the pool: who waits, who is where, and who gets which bundle next.

Calls wait here, and not at the agents, because a call at an agent can be neither cancelled nor moved for free::

    add ─► Line (one per request, FIFO) ─► bundles() ─► Agent ─► started ─► done
                ▲                                         │
                └──── returned, taken back, run again ◄───┘

Everything is O(1) per call, also with a million of them waiting: a cancelled call stays in its line as a mark, and the
agents with room are kept in sets.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobpool.core.events import JobKey, Outcome, SendBundle
from jobpool.core.ids import Ids
from jobpool.core.pace import BUNDLE_BYTES, BUNDLE_CALLS, BUNDLE_WORK, SPLIT_WORK, Pace
from jobpool.core.recovery import NEVER, History
from jobpool.model import Call

__all__ = ["Calls", "Held"]


class _Stage(enum.Enum):
    WAITING = enum.auto()
    SENT = enum.auto()
    RUNNING = enum.auto()
    GONE = enum.auto()
    """Resolved or cancelled; a mark may be left in a line."""


@dataclass(slots=True, eq=False)
class _Entry:
    call: Call
    stage: _Stage = _Stage.WAITING
    history: History = NEVER
    bundle: _Bundle | None = None
    started: float = 0.0


@dataclass(slots=True, eq=False)
class _Bundle:
    agent: _Agent
    left: int
    """Calls of it that did not come back yet. A worker is busy with the bundle while there are any."""
    long: bool
    """It has a call that is long, or of which nothing is known yet."""


@dataclass(slots=True, eq=False)
class _Agent:
    key: JobKey
    line: _Line
    workers: int
    joined: float
    slots: int = 0
    """Workers that may be used: all but those above ``max_workers``."""
    taken: int = 0
    """Workers busy with tasks of Dask graphs."""
    bundles: int = 0
    long: int = 0
    """Bundles with a call that is long, or may be."""
    calls: dict[int, _Entry] = field(default_factory=dict)
    open: bool = True
    """It takes more calls."""
    idle_since: float = 0.0

    @property
    def busy(self) -> int:
        return min(self.workers, self.bundles + self.taken)

    @property
    def usable(self) -> int:
        return min(self.slots, self.workers - self.taken)

    @property
    def depth(self) -> int:
        """Bundles that it may hold: one more for each worker that will be free soon.

        None waits at an agent with a worker that must stay idle: it would take it, or would when a task of a Dask graph
        that has this worker now is over.
        """
        usable = self.usable
        return usable if self.slots < self.workers else usable + max(0, usable - self.long)


class _Line:
    """The calls that wait for one kind of worker, and the agents that have it."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.queue: deque[_Entry] = deque()
        self.waiting = 0
        self.sent = 0
        """Calls at agents, running or not."""
        self.workers = 0
        """Usable workers of all open agents."""
        self.agents: dict[JobKey, _Agent] = {}
        self.free: dict[JobKey, _Agent] = {}
        """Open agents with a free worker. Dicts as ordered sets: agents take turns."""
        self.roomy: dict[JobKey, _Agent] = {}
        """Open agents where one more bundle may wait."""

    def sort(self, agent: _Agent) -> None:
        """Note whether an agent has room, after anything about it changed."""
        for shelf, room in ((self.free, agent.usable), (self.roomy, agent.depth)):
            if agent.open and agent.bundles < room:
                shelf[agent.key] = agent
            else:
                shelf.pop(agent.key, None)

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

    def drop_marks(self) -> None:
        """Free the memory of cancelled calls once they are most of the queue: O(1) for each of them."""
        if len(self.queue) > 2 * self.waiting + 1000:
            self.queue = deque(entry for entry in self.queue if entry.stage is _Stage.WAITING)


@dataclass(frozen=True, slots=True)
class Held:
    """A call that a lost job had."""

    id: int
    history: History
    started: bool
    share: float
    """The part of the job's serving time that this call ran, from 0 to 1."""


class Calls:
    """All calls that are not resolved yet."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._known = Ids()
        self._lines: dict[str, _Line] = {}
        self._agents: dict[JobKey, _Agent] = {}
        self._paces: dict[str, Pace] = {}
        self.running = 0

    # ---------------------------------------------------------------------------------------- coming and going

    def open_line(self, request: str, ceiling: int) -> None:
        """Make a line for this request: at most ``ceiling`` calls of it run at once."""
        self._lines.setdefault(request, _Line(ceiling))

    def set_ceiling(self, request: str, ceiling: int) -> None:
        """Change how many calls of this request run at once. Those that run go on."""
        line = self._lines[request]
        if line.ceiling != ceiling:
            line.ceiling = ceiling
            line.grant()

    def is_new(self, id: int) -> bool:
        """Note an id. Returns whether it was never noted before: a call that is told twice runs once."""
        return self._known.add(id)

    def add(self, call: Call) -> None:
        """Queue a call with a new id."""
        entry = self._entries[call.id] = _Entry(call)
        line = self._lines[call.request]
        line.queue.append(entry)
        line.waiting += 1

    def cancel(self, ids: Iterable[int]) -> dict[JobKey, list[int]]:
        """Forget these calls. Returns those that are at an agent, which has to drop them."""
        at_agents: dict[JobKey, list[int]] = {}
        for id in ids:
            if (entry := self._entries.get(id)) is None:
                self._known.add(id)  # should it still be on its way, it is not let in
            elif (agent := self._forget(entry)) is not None:
                at_agents.setdefault(agent.key, []).append(id)
        return at_agents

    def clear(self, request: str) -> list[int]:
        """Forget all calls of a request that wait here. Returns their ids."""
        ids = [entry.call.id for entry in self._lines[request].queue if entry.stage is _Stage.WAITING]
        self.cancel(ids)
        return ids

    def not_started(self) -> list[int]:
        """Return all calls that no worker runs yet."""
        return [id for id, entry in self._entries.items() if entry.stage is not _Stage.RUNNING]

    def __len__(self) -> int:
        return len(self._entries)

    def ids(self) -> list[int]:
        """Return all calls that are not resolved."""
        return list(self._entries)

    def demand(self, request: str) -> int:
        """Count the calls of a request that wait or are at an agent."""
        line = self._lines[request]
        return line.waiting + line.sent

    # --------------------------------------------------------------------------------------------------- agents

    def join(self, key: JobKey, request: str, *, workers: int, time: float) -> None:
        """Take an agent into service."""
        line = self._lines[request]
        agent = _Agent(key, line, workers, time, idle_since=time)
        self._agents[key] = line.agents[key] = agent
        line.grant()

    def close(self, key: JobKey) -> None:
        """Send nothing more to this agent. Its calls stay its own."""
        if (agent := self._agents.get(key)) is not None and agent.open:
            agent.open = False
            agent.line.grant()

    def take(self, key: JobKey, count: int, time: float) -> None:
        """Note how many of an agent's workers are busy with tasks of Dask graphs."""
        if (agent := self._agents.get(key)) is not None:
            agent.taken = max(0, min(count, agent.workers))
            agent.idle_since = time
            agent.line.sort(agent)

    def lose(self, key: JobKey, time: float) -> list[Held]:
        """Remove an agent. Returns the calls that it had; each has to be run again or forgotten."""
        agent = self._agents.pop(key, None)
        if agent is None:
            return []
        agent.open = False
        agent.line.sort(agent)
        del agent.line.agents[key]
        agent.line.grant()
        served = time - agent.joined
        return [
            Held(
                id,
                entry.history,
                entry.stage is _Stage.RUNNING,
                (time - entry.started) / served if served > 0 else 1.0,
            )
            for id, entry in agent.calls.items()
        ]

    def holds(self, key: JobKey) -> bool:
        """Whether an agent of this job is in service, or its calls are undecided."""
        return key in self._agents

    def busy(self, key: JobKey) -> tuple[int, int]:
        """Return an agent's workers, and how many of them are busy."""
        agent = self._agents.get(key)
        return (0, 0) if agent is None else (agent.workers, agent.busy)

    def idle(self, request: str, since: float) -> list[JobKey]:
        """Return the open agents of a request that had nothing to do since then, the longest idle first."""
        idle = [a for a in self._lines[request].agents.values() if a.open and not a.busy and a.idle_since <= since]
        return [agent.key for agent in sorted(idle, key=lambda agent: agent.idle_since)]

    def least_busy(self, request: str) -> list[JobKey]:
        """Return the open agents of a request, those with the least work first."""
        open_agents = [agent for agent in self._lines[request].agents.values() if agent.open]
        return [agent.key for agent in sorted(open_agents, key=lambda agent: (agent.busy, agent.bundles))]

    # ---------------------------------------------------------------------------------------------- what happens

    def start(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Note that these calls run in this job. Returns those for which this is news."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        news = []
        for id in ids:
            entry = agent.calls.get(id)
            if entry is not None and entry.stage is _Stage.SENT:
                entry.stage = _Stage.RUNNING
                entry.started = time
                self.running += 1
                news.append(id)
        return tuple(news)

    def finish(
        self, key: JobKey, outcomes: tuple[Outcome, ...], time: float
    ) -> tuple[tuple[Outcome, ...], dict[JobKey, list[int]]]:
        """Forget the calls that have an outcome now.

        Returns the outcomes that are the first of their call, and the calls of which a copy is at another agent.
        """
        first: list[Outcome] = []
        copies: dict[JobKey, list[int]] = {}
        walls: dict[str, list[float]] = {}
        for outcome in outcomes:
            entry = self._entries.get(outcome.call)
            if entry is None:
                continue
            agent = self._forget(entry, time)
            first.append(outcome)
            if agent is not None and agent.key != key:
                copies.setdefault(agent.key, []).append(outcome.call)
            if outcome.usage is not None:
                walls.setdefault(entry.call.function, []).append(outcome.usage.wall)
        for function, seconds in walls.items():
            self._pace(function).learn(sum(seconds), len(seconds))
        return tuple(first), copies

    def give_back(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Put calls that this agent returned at the head of their line. Returns those that were told to run."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        entries = [entry for id in ids if (entry := agent.calls.get(id)) is not None]
        ran = tuple(entry.call.id for entry in entries if entry.stage is _Stage.RUNNING)
        for entry in reversed(entries):
            self._queue_again(entry, time)
        return ran

    def again(self, ids: Iterable[tuple[int, History]], time: float) -> None:
        """Put these calls at the head of their line, in this order, with what they went through."""
        for id, history in reversed(list(ids)):
            if (entry := self._entries.get(id)) is not None and entry.stage is not _Stage.WAITING:
                entry.history = history
                self._queue_again(entry, time)

    def dead(self, key: JobKey, id: int) -> History | None:
        """Return the history of a call whose worker died; None: the call is not at this agent."""
        agent = self._agents.get(key)
        entry = None if agent is None else agent.calls.get(id)
        return None if entry is None else entry.history

    # -------------------------------------------------------------------------------------------------- bundles

    def bundles(self) -> list[SendBundle]:
        """Give work to all workers that have room: first to the free ones, then one bundle ahead to the others."""
        sent: list[SendBundle] = []
        for line in self._lines.values():
            free = sum(max(0, agent.usable - agent.bundles) for agent in line.free.values())
            while line.waiting and line.free:
                # Never more than a free worker's share: calls may wait for each other, as in a process pool.
                sent.append(self._send(line, next(iter(line.free.values())), most=-(-line.waiting // max(1, free))))
                free -= 1
            while line.waiting and line.roomy and self._pace(self._first(line).call.function).short:
                sent.append(self._send(line, next(iter(line.roomy.values()))))
        return sent

    def _send(self, line: _Line, agent: _Agent, most: int = BUNDLE_CALLS) -> SendBundle:
        entries = self._take(line, most)
        long = not all(self._pace(entry.call.function).short for entry in entries)
        agent.bundles += 1
        agent.long += long
        bundle = _Bundle(agent, len(entries), long)
        for entry in entries:
            entry.stage = _Stage.SENT
            entry.bundle = bundle
            agent.calls[entry.call.id] = entry
        line.sent += len(entries)
        line.free.pop(agent.key, None)  # to the end of both shelves, if it still has room: the agents take turns
        line.roomy.pop(agent.key, None)
        line.sort(agent)
        return SendBundle(agent.key, tuple([entry.call for entry in entries]))

    def _take(self, line: _Line, most: int) -> list[_Entry]:
        share = max(1, line.waiting // (2 * max(1, line.workers)))
        entries: list[_Entry] = []
        work, size, cap = 0.0, 0, most
        while line.waiting:
            entry = self._first(line)
            pace = self._pace(entry.call.function)
            mean = pace.mean or 0.0
            size += len(entry.call.payload)
            # The smallest cap of all counts: a short call must not be sent behind one of unknown length.
            cap = min(cap, pace.cap)
            enough = len(entries) >= cap or work + mean > BUNDLE_WORK or size > BUNDLE_BYTES
            if entries and (enough or (len(entries) >= share and work + mean > SPLIT_WORK)):
                break
            line.queue.popleft()
            line.waiting -= 1
            work += mean
            entries.append(entry)
        return entries

    @staticmethod
    def _first(line: _Line) -> _Entry:
        while line.queue[0].stage is not _Stage.WAITING:
            line.queue.popleft()
        return line.queue[0]

    def _pace(self, function: str) -> Pace:
        pace = self._paces.get(function)
        if pace is None:
            pace = self._paces[function] = Pace()
        return pace

    # -------------------------------------------------------------------------------------------- one call's place

    def _forget(self, entry: _Entry, time: float | None = None) -> _Agent | None:
        """Remove a call from wherever it is. Returns the agent that had it."""
        del self._entries[entry.call.id]
        agent = None
        if entry.stage is _Stage.WAITING:
            line = self._lines[entry.call.request]
            line.waiting -= 1
            line.drop_marks()
        else:
            agent = self._detach(entry, time)
        entry.stage = _Stage.GONE
        return agent

    def _queue_again(self, entry: _Entry, time: float) -> None:
        self._detach(entry, time)
        entry.stage = _Stage.WAITING
        line = self._lines[entry.call.request]
        line.queue.appendleft(entry)
        line.waiting += 1

    def _detach(self, entry: _Entry, time: float | None) -> _Agent | None:
        """Take a call from the agent that has it, and note when that frees a worker."""
        bundle, entry.bundle = entry.bundle, None
        if bundle is None:
            return None
        agent = bundle.agent
        if entry.stage is _Stage.RUNNING:
            self.running -= 1
        del agent.calls[entry.call.id]
        agent.line.sent -= 1
        bundle.left -= 1
        if bundle.left == 0:
            agent.bundles -= 1
            agent.long -= bundle.long
            if time is not None:
                agent.idle_since = time
            if agent.open:
                agent.line.sort(agent)
            elif agent.key in agent.line.agents:
                agent.line.grant()  # a worker less of those above the ceiling
        return agent
