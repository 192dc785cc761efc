"""Which agent gets which bundle next.

Calls wait in the server, and not at the agents, because a call at an agent can be neither cancelled nor moved for
free::

    CallTable.add ─► Queue (one per request, FIFO) ─► Scheduler.bundles ─► an agent ─► AgentReports.start, .finish
                       ▲                                                      │
                       └────────────── returned, taken back, run again ◄──────┘

Rows of a map wait together as one entry. The scheduler cuts them when it sends them, by how long they are expected to
take; rows that come back cut the entry again. The agents with room are kept in sets, so that finding one is O(1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from jobpool.core.actions import SendBundle
from jobpool.core.calls.bundle_size import (
    BUNDLE_BYTES,
    BUNDLE_CALLS,
    BUNDLE_ROWS,
    BUNDLE_WORK,
    SHORT,
    SPLIT_WORK,
    STUCK,
)
from jobpool.core.calls.call_table import CallTable
from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.queues import AgentView, Bundle, CallEntry, Queue, Stage, holds_back
from jobpool.core.events import JobKey

__all__ = ["Scheduler"]


class Scheduler:
    """Gives the waiting calls to the agents that have room."""

    def __init__(self, calls: CallTable, fitting: Fitting) -> None:
        self._calls, self._fitting = calls, fitting
        self._next_look = 0.0

    def bundles(self, time: float) -> list[SendBundle]:
        """Give work to all workers that have room: first to the free ones, then one bundle ahead to the others."""
        sent: list[SendBundle] = []
        for queue in self._calls.queues.values():
            free = sum(max(0, agent.usable - agent.bundles) for agent in queue.free.values())
            while queue.waiting and queue.free:
                agent = next(iter(queue.free.values()))
                if (source := self._fitting.find(queue, agent, time)) is None:
                    queue.note_short_of_time(agent, time)
                    free -= agent.usable - agent.bundles
                    continue
                # Never more than a free worker's share: calls may wait for each other, as in a process pool.
                most = -(-queue.waiting // max(1, free))
                sent.append(self._send(queue, source, agent, time, most))
                free -= 1
            while queue.waiting and queue.roomy:
                agent = next(iter(queue.roomy.values()))
                # The bundle waits for what the worker has now, which is short, too.
                if (source := self._fitting.find(queue, agent, time + SHORT)) is None:
                    del queue.roomy[agent.key]
                elif self._fitting.size(source[0]).short:
                    sent.append(self._send(queue, source, agent, time, BUNDLE_ROWS))
                else:
                    break
        return sent

    @property
    def next_look(self) -> float | None:
        """When to call :meth:`stuck` the next time. None: there is no need to."""
        return self._next_look if any(queue.starving for queue in self._calls.queues.values()) else None

    def stuck(self, time: float) -> list[JobKey]:
        """Return the agents that hold calls behind a long one, while other workers are free for these calls."""
        found: list[JobKey] = []
        if time >= self._next_look:
            for queue in self._calls.queues.values():
                if queue.starving:
                    self._next_look = time + STUCK
                    found += [agent.key for agent in queue.agents.values() if holds_back(agent, time)]
        return found

    def _send(self, queue: Queue, source: deque[CallEntry], agent: AgentView, time: float, most: int) -> SendBundle:
        entries = self._take(queue, source, agent, time, most)
        long = not all(self._fitting.size(entry).short for entry in entries)
        agent.bundles += 1
        queue.bundles += 1
        agent.long += long
        agent.short_of_time = None
        bundle = Bundle(agent, sum(entry.items for entry in entries), long, time)
        for entry in entries:
            entry.stage = Stage.SENT
            entry.bundle = bundle
            agent.calls[entry.call.id] = entry
        queue.count(agent, bundle.left)
        queue.free.pop(agent.key, None)  # to the end of both sets, if it still has room: the agents take turns
        queue.roomy.pop(agent.key, None)
        queue.sort(agent)
        return SendBundle(agent.key, tuple([entry.call for entry in entries]))

    def _take(
        self, queue: Queue, source: deque[CallEntry], agent: AgentView, time: float, most: int
    ) -> list[CallEntry]:
        share = max(1, queue.waiting // (2 * max(1, queue.workers)))
        entries: list[CallEntry] = []
        work, size, cap, taken = 0.0, 0, most, 0
        while len(entries) < BUNDLE_CALLS and (entry := queue.head(source)) is not None:
            expected = self._fitting.size(entry)
            size += len(entry.call.payload)
            # The smallest cap of all counts: a short call must not be sent behind one of unknown length.
            cap = min(cap, expected.cap)
            room = min(
                cap,
                taken + expected.calls_in(BUNDLE_WORK - work),
                max(share, taken + expected.calls_in(SPLIT_WORK - work)),
            )
            if entries and (room <= taken or size > BUNDLE_BYTES or not self._fits_behind(work, entry, agent, time)):
                break
            source.popleft()
            self._leave(source, entry, 1 if entry.history.alone else max(1, room - taken))
            queue.waiting -= entry.items
            work += (expected.mean or 0.0) * entry.items
            taken += entry.items
            entries.append(entry)
        return entries

    def _fits_behind(self, work: float, entry: CallEntry, agent: AgentView, time: float) -> bool:
        """Return whether an agent has the time for a call after ``work`` seconds of other calls."""
        return agent.span.endless or agent.span.fits(self._fitting.need(entry), time + work)

    def _leave(self, source: deque[CallEntry], entry: CallEntry, most: int) -> None:
        """Leave the rows beyond ``most`` in the queue."""
        if entry.call.rows > most:
            entry.call, rest = entry.call.cut(most)
            left = self._calls.entries[rest.id] = replace(entry, call=rest)
            source.appendleft(left)
