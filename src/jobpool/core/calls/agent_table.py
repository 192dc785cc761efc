"""The agents of the pool: who joins and leaves, who is busy, who is idle, whose time is nearly over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import itemgetter

from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.lost_call import LostCall
from jobpool.core.calls.queues import AgentView, Queue, Stage
from jobpool.core.events import JobKey
from jobpool.core.histograms import FunctionStatistics
from jobpool.core.scaling.walltime import Span
from jobpool.model.call_options import PLAIN

__all__ = ["AgentTable"]


class AgentTable:
    """The agents that are in service. ``queues``: those of all requests, which the agents serve."""

    def __init__(self, queues: dict[str, Queue], fitting: Fitting) -> None:
        self._queues = queues
        self._fitting = fitting
        self._agents: dict[JobKey, AgentView] = {}

    def __contains__(self, key: JobKey) -> bool:
        """Return whether an agent of this job is in service, or its calls are undecided."""
        return key in self._agents

    def get(self, key: JobKey) -> AgentView | None:
        """Return the agent of this job, or None if it is not in service."""
        return self._agents.get(key)

    # --------------------------------------------------------------------------------------------------- changes

    def join(self, key: JobKey, request: str, *, workers: int, time: float, deadline: float | None = None) -> None:
        """Take an agent into service. ``deadline``: when its walltime ends."""
        queue = self._queues[request]
        agent = AgentView(key, queue, workers, Span.until(deadline, joined=time), idle_since=time)
        self._agents[key] = queue.agents[key] = agent
        queue.grant()

    def close(self, key: JobKey) -> None:
        """Send no more calls to this agent. It keeps those that it has."""
        if (agent := self._agents.get(key)) is not None and agent.open:
            agent.open = False
            agent.queue.grant()

    def reopen(self, key: JobKey, deadline: float | None, time: float) -> None:
        """Send calls again to this agent, which was suspended. ``deadline``: when its walltime ends now."""
        if (agent := self._agents.get(key)) is not None and not agent.open:
            agent.open, agent.span = True, Span.until(deadline, joined=agent.span.joined)
            agent.idle_since = time
            agent.queue.grant()

    def leave(self, key: JobKey) -> None:
        """Note that this agent's job is about to end: the calls that it has ask for no other job."""
        if (agent := self._agents.get(key)) is not None:
            agent.queue.leave(agent)

    def set_dask_tasks(self, key: JobKey, count: int, time: float) -> None:
        """Note how many of an agent's workers are busy with tasks of Dask graphs."""
        if (agent := self._agents.get(key)) is not None:
            agent.dask_tasks = max(0, min(count, agent.workers))
            agent.idle_since = time
            agent.queue.sort(agent)

    def remove(self, key: JobKey, time: float) -> list[LostCall]:
        """Remove an agent. Return the calls that it had; each has to run again, or to be forgotten."""
        agent = self._agents.pop(key, None)
        if agent is None:
            return []
        agent.open = False
        agent.queue.sort(agent)
        del agent.queue.agents[key]
        agent.queue.grant()
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

    # ---------------------------------------------------------------------------------------------------- views

    def busy(self, key: JobKey) -> tuple[int, int]:
        """Return how many workers an agent has, and how many of them are busy."""
        agent = self._agents.get(key)
        return (0, 0) if agent is None else (agent.workers, agent.busy)

    def running_by(self) -> Counter[FunctionStatistics]:
        """Count the calls that run, by function and request. Costs as much as there are calls at agents."""
        entries = (entry for agent in self._agents.values() for entry in agent.calls.values())
        return Counter(entry.statistics for entry in entries if entry.stage is Stage.RUNNING)

    def running_now(self) -> Iterator[tuple[JobKey, str, float]]:
        """Yield the calls that run: the job, the function, and since when. Of rows, one runs."""
        for agent in self._agents.values():
            for entry in agent.calls.values():
                if entry.stage is Stage.RUNNING:
                    yield agent.key, entry.statistics.name, entry.started

    def idle(self, request: str, since: float) -> list[JobKey]:
        """Return the open agents of a request that have been idle since then, the longest idle first."""
        idle = [a for a in self._queues[request].agents.values() if a.open and not a.busy and a.idle_since <= since]
        return [agent.key for agent in sorted(idle, key=lambda agent: agent.idle_since)]

    def least_busy(self, request: str) -> list[JobKey]:
        """Return the open agents of a request, those with the least work first."""
        open_agents = [agent for agent in self._queues[request].agents.values() if agent.open]
        return [agent.key for agent in sorted(open_agents, key=lambda agent: (agent.busy, agent.bundles))]

    def fading(self, request: str, time: float, lead: float) -> list[JobKey]:
        """Return the agents that will have too little time for calls of this request ``lead`` seconds from now."""
        return [agent.key for agent in self._fitting.fading(self._queues[request], time, lead)]

    def replaced(self, request: str, wanted: int) -> list[JobKey]:
        """Return the open agents whose jobs are about to end, beyond the ``wanted`` agents of this request."""
        queue = self._queues[request]
        agents = [agent for agent in queue.agents.values() if agent.open]
        leaving = sorted((agent for agent in agents if agent.leaving), key=lambda agent: agent.span.closes)
        return [agent.key for agent in leaving[: max(0, len(agents) - wanted)]]

    def short_of_time(self, request: str, since: float) -> list[JobKey]:
        """Return the idle agents that have had too little time for every waiting call since then."""
        agents = self._queues[request].short_of_time.values()
        return [a.key for a in agents if not a.busy and a.short_of_time is not None and a.short_of_time <= since]

    def revive(self) -> None:
        """Consider the agents again that had too little time: the waiting calls may be expected to take less."""
        for queue in self._queues.values():
            queue.revive()
