"""The agents of the pool as they are asked for: who is busy, who is idle, whose time is nearly over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.queues import AgentView, Queue, Stage
from jobpool.core.events import JobKey
from jobpool.core.histograms import FunctionStatistics

__all__ = ["AgentViews"]


class AgentViews:
    """The agents, and the lines that they serve. What changes them is in :class:`~.scheduler.Calls`."""

    def __init__(self, fitting: Fitting) -> None:
        self._lines: dict[str, Queue] = {}
        self._agents: dict[JobKey, AgentView] = {}
        self._fitting = fitting

    def holds(self, key: JobKey) -> bool:
        """Whether an agent of this job is in service, or its calls are undecided."""
        return key in self._agents

    def busy(self, key: JobKey) -> tuple[int, int]:
        """Return an agent's workers, and how many of them are busy."""
        agent = self._agents.get(key)
        return (0, 0) if agent is None else (agent.workers, agent.busy)

    def load(self, request: str) -> tuple[int, int, int]:
        """Return how many workers a request has, how many of them are busy, and how many calls wait for one."""
        line = self._lines[request]
        return line.workers, min(line.bundles, line.workers), line.waiting

    def running_by(self) -> Counter[FunctionStatistics]:
        """Count the calls that run, by function and request. Costs as much as there are calls at agents."""
        entries = (entry for agent in self._agents.values() for entry in agent.calls.values())
        return Counter(entry.tally for entry in entries if entry.stage is Stage.RUNNING)

    def running_now(self) -> Iterator[tuple[JobKey, str, float]]:
        """Yield the calls that run: the job, the function, and since when. Of rows, one runs."""
        for agent in self._agents.values():
            for entry in agent.calls.values():
                if entry.stage is Stage.RUNNING:
                    yield agent.key, entry.tally.name, entry.started

    def idle(self, request: str, since: float) -> list[JobKey]:
        """Return the open agents of a request that had nothing to do since then, the longest idle first."""
        idle = [a for a in self._lines[request].agents.values() if a.open and not a.busy and a.idle_since <= since]
        return [agent.key for agent in sorted(idle, key=lambda agent: agent.idle_since)]

    def least_busy(self, request: str) -> list[JobKey]:
        """Return the open agents of a request, those with the least work first."""
        open_agents = [agent for agent in self._lines[request].agents.values() if agent.open]
        return [agent.key for agent in sorted(open_agents, key=lambda agent: (agent.busy, agent.bundles))]

    def fading(self, request: str, time: float, lead: float) -> list[JobKey]:
        """Return the agents that will have too little time for calls of this request so many seconds from now."""
        return [agent.key for agent in self._fitting.fading(self._lines[request], time, lead)]

    def replaced(self, request: str, wanted: int) -> list[JobKey]:
        """Return the open agents whose jobs are no supply any more, beyond those ``wanted`` in all."""
        line = self._lines[request]
        agents = [agent for agent in line.agents.values() if agent.open]
        leaving = sorted((agent for agent in agents if agent.leaving), key=lambda agent: agent.span.closes)
        return [agent.key for agent in leaving[: max(0, len(agents) - wanted)]]

    def spent(self, request: str, since: float) -> list[JobKey]:
        """Return the idle agents that since then have had too little time for all calls that wait."""
        spent = self._lines[request].spent.values()
        return [agent.key for agent in spent if not agent.busy and agent.spent is not None and agent.spent <= since]

    def revive(self) -> None:
        """Look at agents again that had too little time: less may be expected of the calls that wait."""
        for line in self._lines.values():
            line.revive()
