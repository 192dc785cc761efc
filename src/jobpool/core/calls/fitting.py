"""Which calls fit the time that an agent has left, and when it has too little for any.

A call that fits no agent is set aside once, under what it needs. The calls that are set aside under one need are alike,
so that the scheduler checks only the first of them, and its cost does not depend on how many calls wait.
"""

from __future__ import annotations

import math
from collections import deque

from jobpool.core.calls.bundle_size import BundleSize
from jobpool.core.calls.queues import AgentView, CallEntry, Queue
from jobpool.core.scaling.walltime import LEAD_SHARE

__all__ = ["Fitting"]

UNKNOWN = BundleSize()
"""Of calls whose duration nobody can expect."""


class Fitting:
    """How long calls are expected to take, and which agents have the time for them."""

    def __init__(self) -> None:
        self._sizes: dict[str, BundleSize] = {}

    def of_function(self, function: str) -> BundleSize:
        """Return what is known of the duration of a function."""
        size = self._sizes.get(function)
        if size is None:
            size = self._sizes[function] = BundleSize()
        return size

    def size(self, entry: CallEntry) -> BundleSize:
        """Return what is known of the duration of calls like this one."""
        if entry.history.checkpoints:
            return UNKNOWN  # the rest of a call after its checkpoint may take any time
        size = self._sizes.get(entry.call.function)
        return self.of_function(entry.call.function) if size is None else size

    def need(self, entry: CallEntry) -> float:
        """Return the seconds that an agent should have left for this call."""
        if entry.history.timed_out:
            return math.inf  # the call did not end within a part of a walltime: it gets a whole one
        if entry.history.checkpoints:
            return 0.0  # the call goes on from its checkpoint, in any time
        given = entry.call.expected_time
        return self.size(entry).need if given is None else given

    def find(self, queue: Queue, agent: AgentView, time: float) -> deque[CallEntry] | None:
        """Return where the call waits that an agent should have. None: every waiting call needs more time than it
        has."""
        for need, aside in list(queue.set_aside.items()):
            if (entry := queue.head(aside)) is None:
                del queue.set_aside[need]
            elif agent.span.fits(self.need(entry), time):
                return aside
        while (entry := queue.head(queue.ready)) is not None:
            if agent.span.fits(self.need(entry), time):
                return queue.ready
            queue.set_aside.setdefault(self._alike(entry), deque()).append(queue.ready.popleft())
        return None

    def _alike(self, entry: CallEntry) -> float | str:
        if entry.history.timed_out:
            return math.inf
        given = entry.call.expected_time
        return entry.call.function if given is None else given

    def fading(self, queue: Queue, time: float, lead: float) -> list[AgentView]:
        """Return the agents that will be of no use in ``lead`` seconds, or in a share of their time if that is less."""
        heads = [entry for source in queue.sources() if (entry := queue.head(source)) is not None]
        need = min(map(self.need, heads), default=0.0)
        return [
            agent
            for agent in queue.agents.values()
            if agent.open and not agent.leaving and not agent.span.endless
            if time >= self._of_use_until(agent, need, time) - min(lead, LEAD_SHARE * agent.span.whole)
        ]

    def _of_use_until(self, agent: AgentView, need: float, time: float) -> float:
        """Return when an agent has a free worker but not the time for calls with this need."""
        return max(agent.span.closes - need, self._free_at(agent, time))

    def _free_at(self, agent: AgentView, time: float) -> float:
        """Return when the next of an agent's workers is expected to be free."""
        if agent.bundles < agent.usable or len(agent.calls) > 2 * agent.workers:  # the latter are short, and soon done
            return time
        ends = (entry.bundle.heard + self._expected(entry) for entry in agent.calls.values() if entry.bundle)
        return max(time, min(ends, default=time))

    def _expected(self, entry: CallEntry) -> float:
        given = entry.call.expected_time
        return (self.size(entry).mean or 0.0) if given is None else given
