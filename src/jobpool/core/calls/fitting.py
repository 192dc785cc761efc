"""Which calls fit the time that an agent has left, and when it has too little for any.

A call that fits no agent is set aside once, under what it needs, so that looking for one that fits costs the same
however many wait: the calls set aside under one need are alike, and only the first of them is looked at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from jobpool.core.calls.bundle_size import BundleSize
from jobpool.core.calls.queues import AgentView, Entry, Queue
from jobpool.core.scaling.walltime import LEAD_SHARE

__all__ = ["Fitting"]

UNKNOWN = BundleSize()
"""Of calls that are like no other."""


class Fitting:
    """What calls need, and who has it. ``paces``: what is known of each function."""

    def __init__(self, pace: Callable[[str], BundleSize]) -> None:
        self._pace_of_function = pace

    def pace(self, entry: Entry) -> BundleSize:
        """Return what is known of the duration of calls like this one."""
        # What is left of a call after its checkpoint is as long as nobody knows.
        return UNKNOWN if entry.history.checkpoints else self._pace_of_function(entry.call.function)

    def need(self, entry: Entry) -> float:
        """Return the seconds that an agent should have left for this call."""
        if entry.history.timed_out:
            return math.inf  # it did not get through in a part of a walltime: it gets a whole one
        if entry.history.checkpoints:
            return 0.0  # it goes on from where it was, in any time
        given = entry.call.expected_time
        return self.pace(entry).need if given is None else given

    def queue_for(self, line: Queue, agent: AgentView, time: float) -> deque[Entry] | None:
        """Return the queue whose first call an agent should have. None: all that wait need more time than it has."""
        for key, queue in list(line.parked.items()):
            if (entry := line.head(queue)) is None:
                del line.parked[key]
            elif agent.span.fits(self.need(entry), time):
                return queue
        while (entry := line.head(line.queue)) is not None:
            if agent.span.fits(self.need(entry), time):
                return line.queue
            line.parked.setdefault(self._alike(entry), deque()).append(line.queue.popleft())
        return None

    def _alike(self, entry: Entry) -> float | str:
        if entry.history.timed_out:
            return math.inf
        given = entry.call.expected_time
        return entry.call.function if given is None else given

    def fading(self, line: Queue, time: float, lead: float) -> list[AgentView]:
        """Return the agents that will be of no use in ``lead`` seconds, or in a share of their time if that is less."""
        heads = [entry for queue in line.queues() if (entry := line.head(queue)) is not None]
        need = min(map(self.need, heads), default=0.0)
        return [
            agent
            for agent in line.agents.values()
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

    def _expected(self, entry: Entry) -> float:
        given = entry.call.expected_time
        return (self.pace(entry).mean or 0.0) if given is None else given
