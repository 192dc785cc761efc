"""The calls of the pool: who waits, who is where, and who gets which bundle next.

Calls wait here, and not at the agents, because a call at an agent can be neither cancelled nor moved for free::

    add ─► Line (one per request, FIFO) ─► bundles() ─► Agent ─► started ─► done
                ▲                                         │
                └──── returned, taken back, run again ◄───┘

Rows of a map wait together as one entry and are cut when they are handed out, by what is known of their duration; what
comes back of them cuts them again. They are known by the id of their first call.

Everything is O(1) per entry, also with a million of them waiting: a cancelled call stays in its line as a mark, and the
agents with room are kept in sets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import itemgetter

from msgspec import structs

from jobpool.core.calls.agent_view import AgentViews
from jobpool.core.calls.bundle_size import (
    BUNDLE_BYTES,
    BUNDLE_CALLS,
    BUNDLE_ROWS,
    BUNDLE_WORK,
    SHORT,
    SPLIT_WORK,
    STUCK,
    BundleSize,
)
from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.id_set import IdSet
from jobpool.core.calls.lost_call import LostCall
from jobpool.core.calls.queues import AgentView, Bundle, Entry, Queue, Stage, holds_back
from jobpool.core.events import JobKey, SendBundle
from jobpool.core.histograms import Statistics, Sum
from jobpool.core.recovery.decide import History
from jobpool.core.scaling.walltime import Span
from jobpool.model.call import Call, Outcome
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.errors import JobPoolError

__all__ = ["Calls"]


class Calls(AgentViews):
    """All calls that are not resolved yet."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._known = IdSet()
        self._paces: dict[str, BundleSize] = {}
        super().__init__(Fitting(self._pace))
        self._next_look = 0.0
        self.tallies = Statistics()
        self.finished: list[Sum] = []
        """What the last outcomes were, added up by function."""
        self.items = 0
        """Calls that are not resolved."""
        self.running = 0

    # ---------------------------------------------------------------------------------------- coming and going

    def open_line(self, request: str, ceiling: int) -> None:
        """Make a line for this request: at most ``ceiling`` calls of it run at once."""
        self._lines.setdefault(request, Queue(ceiling))

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
        tally = self.tallies.of(call.function, call.request)
        entry = self._entries[call.id] = Entry(call, tally)
        tally.open += entry.items
        line = self._lines[call.request]
        line.queue.append(entry)
        line.waiting += entry.items
        line.revive()
        self.items += entry.items

    def cancel(self, ids: Iterable[int], *, failed: bool = False) -> dict[JobKey, list[int]]:
        """Forget these calls, and rows that begin with one of them. Returns the calls that an agent has to drop.

        ``failed``: they are given up, and not just unwanted.
        """
        at_agents: dict[JobKey, list[int]] = {}
        for id in ids:
            if (entry := self._entries.get(id)) is None:
                self._known.add(id)  # should it still be on its way, it is not let in
                continue
            if failed:
                entry.tally.failed += entry.items
            if (agent := self._forget(entry)) is not None:
                at_agents.setdefault(agent.key, []).extend(entry.call.ids)
        return at_agents

    def unwant(self, ids: Iterable[int]) -> tuple[list[int], list[JobKey]]:
        """Find out how to cancel these calls, without a harm to those that run.

        Returns the ids to cancel, and the agents that run rows among them: they are asked for the others back.
        """
        harmless: list[int] = []
        asked: dict[JobKey, None] = {}
        for id in ids:
            entry = self._entries.get(id)
            if entry is not None and entry.call.rows and entry.stage is Stage.RUNNING and entry.bundle is not None:
                entry.unwanted = True
                asked[entry.bundle.agent.key] = None
            else:
                harmless.append(id)
        return harmless, list(asked)

    def is_unwanted(self, id: int) -> bool:
        """Whether rows were cancelled while one of them ran."""
        return (entry := self._entries.get(id)) is not None and entry.unwanted

    def begun(self, id: int) -> tuple[str, float] | None:
        """Return the function of a call that runs, and since when. None: it does not run, as far as is known."""
        entry = self._entries.get(id)
        return (entry.tally.name, entry.started) if entry is not None and entry.stage is Stage.RUNNING else None

    def clear(self, request: str) -> tuple[list[int], list[tuple[range, JobPoolError]]]:
        """Forget all calls of a request that wait here.

        Returns their ids: those for which this says nothing of the reason, and those that end with an error they owe.
        """
        waiting = list(self._lines[request].entries())
        self.cancel([entry.call.id for entry in waiting], failed=True)
        plain = [id for entry in waiting if entry.history.owed is None for id in entry.call.ids]
        return plain, [(entry.call.ids, owed) for entry in waiting if (owed := entry.history.owed) is not None]

    def to_cancel(self) -> list[int]:
        """Return, for :meth:`unwant`, all calls but those that run: of rows that run, those behind the first."""
        entries = self._entries.values()
        return [id for e in entries if e.stage is not Stage.RUNNING or e.call.rows for id in e.call.ids]

    def __len__(self) -> int:
        return self.items

    def ids(self) -> list[int]:
        """Return all calls that are not resolved."""
        return [id for entry in self._entries.values() for id in entry.call.ids]

    def demand(self, request: str, *, all: bool = False) -> int:
        """Count the calls of a request that wait, or are at an agent that stays; with ``all``, at any agent."""
        line = self._lines[request]
        return line.waiting + line.sent - (0 if all else line.leaving)

    # --------------------------------------------------------------------------------------------------- agents

    def join(self, key: JobKey, request: str, *, workers: int, time: float, deadline: float | None = None) -> None:
        """Take an agent into service. ``deadline``: when its walltime ends."""
        line = self._lines[request]
        agent = AgentView(key, line, workers, Span.until(deadline, joined=time), idle_since=time)
        self._agents[key] = line.agents[key] = agent
        line.grant()

    def close(self, key: JobKey) -> None:
        """Send nothing more to this agent. Its calls stay its own."""
        if (agent := self._agents.get(key)) is not None and agent.open:
            agent.open = False
            agent.line.grant()

    def reopen(self, key: JobKey, deadline: float | None, time: float) -> None:
        """Send calls to this agent again, which stood still. ``deadline``: when its walltime ends now."""
        if (agent := self._agents.get(key)) is not None and not agent.open:
            agent.open, agent.span = True, Span.until(deadline, joined=agent.span.joined)
            agent.idle_since = time
            agent.line.grant()

    def leave(self, key: JobKey) -> None:
        """Let what this agent has not speak for more jobs: its own is no supply any more."""
        if (agent := self._agents.get(key)) is not None:
            agent.line.leave(agent)

    def take(self, key: JobKey, count: int, time: float) -> None:
        """Note how many of an agent's workers are busy with tasks of Dask graphs."""
        if (agent := self._agents.get(key)) is not None:
            agent.taken = max(0, min(count, agent.workers))
            agent.idle_since = time
            agent.line.sort(agent)

    def lose(self, key: JobKey, time: float) -> list[LostCall]:
        """Remove an agent. Returns the calls that it had; each has to be run again or forgotten."""
        agent = self._agents.pop(key, None)
        if agent is None:
            return []
        agent.open = False
        agent.line.sort(agent)
        del agent.line.agents[key]
        agent.line.grant()
        served = time - agent.span.joined
        return [
            LostCall(
                id,
                entry.history,
                entry.stage is Stage.RUNNING,
                (time - entry.started) / served if served > 0 else 1.0,
                entry.items,
                entry.call.terms or PLAIN,
            )
            for id, entry in sorted(agent.calls.items(), key=itemgetter(0))
        ]

    # ---------------------------------------------------------------------------------------------- what happens

    def start(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Note that these calls run in this job. Returns those for which this is news."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        news = []
        for id in ids:
            entry = agent.calls.get(id)
            if entry is not None and entry.stage is Stage.SENT:
                entry.stage = Stage.RUNNING
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
        sums: dict[str, Sum] = {}
        walls: dict[str, list[float]] = {}
        for outcome in outcomes:
            entry = self._entries.get(outcome.call)
            if entry is None or outcome.rows > entry.call.rows:
                continue  # the latter: they were cut since a copy of them was given to somebody else
            if outcome.rows < entry.call.rows:
                if entry.bundle is None or entry.bundle.agent.key != key:
                    continue  # whoever has the copy does not know which rows of it are done
                self._shorten(entry, outcome.rows, time)
            elif (agent := self._forget(entry, time)) is not None and agent.key != key:
                copies.setdefault(agent.key, []).extend(range(outcome.call, outcome.call + max(1, outcome.rows)))
            first.append(outcome)
            if (total := sums.get(entry.call.function)) is None:
                total = sums[entry.call.function] = Sum(entry.tally)
            total.add(outcome)
            if outcome.usage is not None and not entry.history.checkpoints:
                seconds, count = outcome.usage.wall, outcome.rows or 1
                wall = walls.setdefault(entry.call.function, [0.0, 0, 0.0])
                wall[0] += seconds
                wall[1] += count
                wall[2] = max(wall[2], seconds / count)
        for total in sums.values():
            total.close()
        self.finished = list(sums.values())
        for function, (seconds, calls, longest) in walls.items():
            self._pace(function).learn(seconds, int(calls), longest)
        return tuple(first), copies

    def cut(self, key: JobKey, id: int, at: int) -> None:
        """Note that an agent knows the rows from the one with this place on by an id of their own now."""
        agent = self._agents.get(key)
        entry = None if agent is None else agent.calls.get(id)
        if agent is not None and entry is not None and 0 < at < entry.call.rows:
            entry.call, rest = entry.call.cut(at)
            agent.calls[rest.id] = self._entries[rest.id] = replace(entry, call=rest, stage=Stage.SENT)

    def go_on(self, key: JobKey, id: int, function: str, payload: bytes, time: float) -> bool:
        """Put what goes on from a call's checkpoint at the head of its line. False: the call is not at this agent."""
        agent = self._agents.get(key)
        entry = None if agent is None else agent.calls.get(id)
        if entry is None or entry.call.rows > 1:  # the latter: rows are cut before one of them leaves a checkpoint
            return False
        entry.call = structs.replace(entry.call, function=function, payload=payload, skip=0)
        history = entry.history
        entry.history = replace(history, lost=0, timed_out=0, checkpoints=history.checkpoints + 1)
        self._queue_again(entry, time)
        return True

    def give_back(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Put calls that this agent returned at the head of their line. Returns those that were told to run."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        entries = [entry for id in ids if (entry := agent.calls.get(id)) is not None]
        ran = tuple(entry.call.id for entry in entries if entry.stage is Stage.RUNNING)
        for entry in reversed(entries):
            self._queue_again(entry, time)
        return ran

    def again(self, calls: Iterable[tuple[int, History]], time: float, moved: Mapping[int, str] | None = None) -> None:
        """Put these calls at the head of their line, in this order. ``moved``: the requests that some need now."""
        for id, history in reversed(list(calls)):
            if (entry := self._entries.get(id)) is not None and entry.stage is not Stage.WAITING:
                entry.history = history
                if moved and id in moved:
                    self._move(entry, moved[id])
                self._queue_again(entry, time)

    def dead(self, key: JobKey, id: int) -> tuple[History, int, CallOptions] | None:
        """Return what a call went through whose worker died, its rows and terms; None: it is not at this agent."""
        agent = self._agents.get(key)
        entry = None if agent is None else agent.calls.get(id)
        return None if entry is None else (entry.history, entry.items, entry.call.terms or PLAIN)

    # -------------------------------------------------------------------------------------------------- bundles

    def bundles(self, time: float) -> list[SendBundle]:
        """Give work to all workers that have room: first to the free ones, then one bundle ahead to the others."""
        sent: list[SendBundle] = []
        for line in self._lines.values():
            free = sum(max(0, agent.usable - agent.bundles) for agent in line.free.values())
            while line.waiting and line.free:
                agent = next(iter(line.free.values()))
                if (queue := self._fitting.queue_for(line, agent, time)) is None:
                    line.spend(agent, time)
                    free -= agent.usable - agent.bundles
                    continue
                # Never more than a free worker's share: calls may wait for each other, as in a process pool.
                most = -(-line.waiting // max(1, free))
                sent.append(self._send(line, queue, agent, time, most))
                free -= 1
            while line.waiting and line.roomy:
                agent = next(iter(line.roomy.values()))
                # It waits for what the worker has now, which is short, too.
                if (queue := self._fitting.queue_for(line, agent, time + SHORT)) is None:
                    del line.roomy[agent.key]
                elif self._fitting.pace(queue[0]).short:
                    sent.append(self._send(line, queue, agent, time, BUNDLE_ROWS))
                else:
                    break
        return sent

    @property
    def next_look(self) -> float | None:
        """When to ask :meth:`stuck` the next time. None: there is no need to."""
        return self._next_look if any(line.starving for line in self._lines.values()) else None

    def stuck(self, time: float) -> list[JobKey]:
        """Return the agents that hold calls behind a long one, while other workers are free for them."""
        found: list[JobKey] = []
        if time >= self._next_look:
            for line in self._lines.values():
                if line.starving:
                    self._next_look = time + STUCK
                    found += [agent.key for agent in line.agents.values() if holds_back(agent, time)]
        return found

    def _send(self, line: Queue, queue: deque[Entry], agent: AgentView, time: float, most: int) -> SendBundle:
        entries = self._take(line, queue, agent, time, most)
        long = not all(self._fitting.pace(entry).short for entry in entries)
        agent.bundles += 1
        line.bundles += 1
        agent.long += long
        agent.spent = None
        bundle = Bundle(agent, sum(entry.items for entry in entries), long, time)
        for entry in entries:
            entry.stage = Stage.SENT
            entry.bundle = bundle
            agent.calls[entry.call.id] = entry
        line.count(agent, bundle.left)
        line.free.pop(agent.key, None)  # to the end of both shelves, if it still has room: the agents take turns
        line.roomy.pop(agent.key, None)
        line.sort(agent)
        return SendBundle(agent.key, tuple([entry.call for entry in entries]))

    def _take(self, line: Queue, queue: deque[Entry], agent: AgentView, time: float, most: int) -> list[Entry]:
        share = max(1, line.waiting // (2 * max(1, line.workers)))
        entries: list[Entry] = []
        work, size, cap, taken = 0.0, 0, most, 0
        while len(entries) < BUNDLE_CALLS and (entry := line.head(queue)) is not None:
            pace = self._fitting.pace(entry)
            size += len(entry.call.payload)
            # The smallest cap of all counts: a short call must not be sent behind one of unknown length.
            cap = min(cap, pace.cap)
            room = min(
                cap,
                taken + pace.calls_in(BUNDLE_WORK - work),
                max(share, taken + pace.calls_in(SPLIT_WORK - work)),
            )
            if entries and (room <= taken or size > BUNDLE_BYTES or not self._fits_behind(work, entry, agent, time)):
                break
            queue.popleft()
            self._leave(queue, entry, 1 if entry.history.alone else max(1, room - taken))
            line.waiting -= entry.items
            work += (pace.mean or 0.0) * entry.items
            taken += entry.items
            entries.append(entry)
        return entries

    def _fits_behind(self, work: float, entry: Entry, agent: AgentView, time: float) -> bool:
        """Whether an agent has the time for a call after so many seconds of work."""
        return agent.span.endless or agent.span.fits(self._fitting.need(entry), time + work)

    def _leave(self, queue: deque[Entry], entry: Entry, most: int) -> None:
        """Leave the rows in the queue that are more than this."""
        if entry.call.rows > most:
            entry.call, rest = entry.call.cut(most)
            left = self._entries[rest.id] = replace(entry, call=rest)
            queue.appendleft(left)

    def _pace(self, function: str) -> BundleSize:
        pace = self._paces.get(function)
        if pace is None:
            pace = self._paces[function] = BundleSize()
        return pace

    # -------------------------------------------------------------------------------------------- one call's place

    def _forget(self, entry: Entry, time: float | None = None) -> AgentView | None:
        """Remove a call from wherever it is. Returns the agent that had it."""
        del self._entries[entry.call.id]
        self.items -= entry.items
        entry.tally.open -= entry.items
        agent = None
        if entry.stage is Stage.WAITING:
            line = self._lines[entry.call.request]
            line.waiting -= entry.items
            line.drop_marks()
        else:
            agent = self._detach(entry, time)
        entry.stage = Stage.GONE
        return agent

    def _queue_again(self, entry: Entry, time: float) -> None:
        if entry.unwanted:
            self._forget(entry, time)
            return
        self._detach(entry, time)
        entry.stage = Stage.WAITING
        line = self._lines[entry.call.request]
        line.queue.appendleft(entry)
        line.waiting += entry.items
        line.revive()

    def _move(self, entry: Entry, request: str) -> None:
        """Let a call need another request from now on."""
        entry.call = structs.replace(entry.call, request=request)
        entry.tally.open -= entry.items
        entry.tally = self.tallies.of(entry.call.function, request)
        entry.tally.open += entry.items

    def _shorten(self, entry: Entry, count: int, time: float) -> None:
        """Take rows away that came back from the agent that runs the others."""
        del self._entries[entry.call.id]
        self.items -= count
        entry.tally.open -= count
        if (bundle := entry.bundle) is not None:
            bundle.left -= count
            bundle.heard = time
            bundle.agent.line.count(bundle.agent, -count)
            del bundle.agent.calls[entry.call.id]
        entry.call = entry.call.cut(count)[1]
        self._entries[entry.call.id] = entry
        if bundle is not None:
            bundle.agent.calls[entry.call.id] = entry

    def _detach(self, entry: Entry, time: float | None) -> AgentView | None:
        """Take a call from the agent that has it, and note when that frees a worker."""
        bundle, entry.bundle = entry.bundle, None
        if bundle is None:
            return None
        agent = bundle.agent
        if entry.stage is Stage.RUNNING:
            self.running -= 1
        del agent.calls[entry.call.id]
        agent.line.count(agent, -entry.items)
        bundle.left -= entry.items
        if time is not None:
            bundle.heard = time
        if bundle.left == 0:
            agent.bundles -= 1
            agent.line.bundles -= 1
            agent.long -= bundle.long
            if time is not None:
                agent.idle_since = time
            if agent.open:
                agent.line.sort(agent)
            elif agent.key in agent.line.agents:
                agent.line.grant()  # a worker less of those above the ceiling
        return agent
