"""The calls of the pool that are not resolved, and their queues.

Rows of a map are one entry until they are sent, and are known by the id of their first call. Every operation is O(1)
per entry, also with a million of them waiting: a cancelled call stays in its queue until it comes to the head, or until
most of the queue is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from jobpool.core.calls.id_set import IdSet
from jobpool.core.calls.queues import AgentView, CallEntry, Queue, Stage
from jobpool.core.events import JobKey
from jobpool.core.histograms import Statistics
from jobpool.model.call import Call
from jobpool.model.errors import JobPoolError

__all__ = ["CallTable"]


class CallTable:
    """All calls that are not resolved yet."""

    def __init__(self) -> None:
        self.entries: dict[int, CallEntry] = {}
        self.queues: dict[str, Queue] = {}
        """By request."""
        self.statistics = Statistics()
        self.running = 0
        self._count = 0
        self._known = IdSet()

    def open_queue(self, request: str, ceiling: int) -> None:
        """Make a queue for this request: at most ``ceiling`` calls of it run at once."""
        self.queues.setdefault(request, Queue(ceiling))

    def set_ceiling(self, request: str, ceiling: int) -> None:
        """Change how many calls of this request run at once. Those that run go on."""
        queue = self.queues[request]
        if queue.ceiling != ceiling:
            queue.ceiling = ceiling
            queue.grant()

    def is_new(self, id: int) -> bool:
        """Note an id. Return whether it was never noted before: a call that arrives twice runs once."""
        return self._known.add(id)

    def add(self, call: Call) -> None:
        """Queue a call with a new id."""
        statistics = self.statistics.of(call.function, call.request)
        entry = self.entries[call.id] = CallEntry(call, statistics)
        statistics.open += entry.items
        queue = self.queues[call.request]
        queue.ready.append(entry)
        queue.waiting += entry.items
        queue.revive()
        self._count += entry.items

    def __len__(self) -> int:
        return self._count

    def ids(self) -> list[int]:
        """Return the ids of all calls that are not resolved."""
        return [id for entry in self.entries.values() for id in entry.call.ids]

    def demand(self, request: str, *, all: bool = False) -> int:
        """Count the calls of a request that wait, or are at an agent that stays; with ``all``, at any agent."""
        queue = self.queues[request]
        return queue.waiting + queue.sent - (0 if all else queue.leaving)

    def load(self, request: str) -> tuple[int, int, int]:
        """Return how many workers a request has, how many of them are busy, and how many calls wait for one."""
        queue = self.queues[request]
        return queue.workers, min(queue.bundles, queue.workers), queue.waiting

    def begun(self, id: int) -> tuple[str, float] | None:
        """Return the function of a call that runs, and since when. None: it does not run, as far as is known."""
        entry = self.entries.get(id)
        return (entry.statistics.name, entry.started) if entry is not None and entry.stage is Stage.RUNNING else None

    # ---------------------------------------------------------------------------------------------- cancellation

    def cancel(self, ids: Iterable[int], *, failed: bool = False) -> dict[JobKey, list[int]]:
        """Forget these calls, and rows that begin with one of them. Return the calls that each agent has to drop.

        ``failed``: the pool gives these calls up; otherwise a client cancelled them.
        """
        at_agents: dict[JobKey, list[int]] = {}
        for id in ids:
            if (entry := self.entries.get(id)) is None:
                self._known.add(id)  # if the call is still on its way, it is ignored when it arrives
                continue
            if failed:
                entry.statistics.failed += entry.items
            if (agent := self.forget(entry)) is not None:
                at_agents.setdefault(agent.key, []).extend(entry.call.ids)
        return at_agents

    def unwant(self, ids: Iterable[int]) -> tuple[list[int], list[JobKey]]:
        """Find out how to cancel these calls without stopping calls that run.

        Return the ids that can be cancelled at once, and the agents that run rows of the others: the core asks these
        agents to give the rows back that have not begun.
        """
        harmless: list[int] = []
        asked: dict[JobKey, None] = {}
        for id in ids:
            entry = self.entries.get(id)
            if entry is not None and entry.call.rows and entry.stage is Stage.RUNNING and entry.bundle is not None:
                entry.unwanted = True
                asked[entry.bundle.agent.key] = None
            else:
                harmless.append(id)
        return harmless, list(asked)

    def is_unwanted(self, id: int) -> bool:
        """Return whether rows were cancelled while one of them ran."""
        return (entry := self.entries.get(id)) is not None and entry.unwanted

    def to_cancel(self) -> list[int]:
        """Return, for :meth:`unwant`, all calls but those that run: of rows that run, those behind the first."""
        entries = self.entries.values()
        return [id for e in entries if e.stage is not Stage.RUNNING or e.call.rows for id in e.call.ids]

    def clear(self, request: str) -> tuple[list[int], list[tuple[range, JobPoolError]]]:
        """Forget all calls of a request that wait in its queue.

        Return the ids of the calls that have no error of their own, and the ids of the others, each with its error.
        """
        waiting = list(self.queues[request].entries())
        self.cancel([entry.call.id for entry in waiting], failed=True)
        plain = [id for entry in waiting if entry.history.owed is None for id in entry.call.ids]
        return plain, [(entry.call.ids, owed) for entry in waiting if (owed := entry.history.owed) is not None]

    # ------------------------------------------------------------------------------------------------ one entry

    def forget(self, entry: CallEntry, time: float | None = None) -> AgentView | None:
        """Remove a call from its queue, or from the agent that has it. Return that agent."""
        del self.entries[entry.call.id]
        self._count -= entry.items
        entry.statistics.open -= entry.items
        agent = None
        if entry.stage is Stage.WAITING:
            queue = self.queues[entry.call.request]
            queue.waiting -= entry.items
            queue.drop_cancelled()
        else:
            agent = self._detach(entry, time)
        entry.stage = Stage.GONE
        return agent

    def queue_again(self, entry: CallEntry, time: float) -> None:
        """Put a call that an agent had at the head of its queue; forget it if it was cancelled meanwhile."""
        if entry.unwanted:
            self.forget(entry, time)
            return
        self._detach(entry, time)
        entry.stage = Stage.WAITING
        queue = self.queues[entry.call.request]
        queue.ready.appendleft(entry)
        queue.waiting += entry.items
        queue.revive()

    def change_request(self, entry: CallEntry, request: str) -> None:
        """Let a call need another request from now on."""
        entry.call = structs.replace(entry.call, request=request)
        entry.statistics.open -= entry.items
        entry.statistics = self.statistics.of(entry.call.function, request)
        entry.statistics.open += entry.items

    def shorten(self, entry: CallEntry, count: int, time: float) -> None:
        """Remove the first ``count`` rows: their results came back, and the agent runs the others."""
        del self.entries[entry.call.id]
        self._count -= count
        entry.statistics.open -= count
        if (bundle := entry.bundle) is not None:
            bundle.left -= count
            bundle.heard = time
            bundle.agent.queue.count(bundle.agent, -count)
            del bundle.agent.calls[entry.call.id]
        entry.call = entry.call.cut(count)[1]
        self.entries[entry.call.id] = entry
        if bundle is not None:
            bundle.agent.calls[entry.call.id] = entry

    def _detach(self, entry: CallEntry, time: float | None) -> AgentView | None:
        """Take a call from the agent that has it, and note when that frees a worker."""
        bundle, entry.bundle = entry.bundle, None
        if bundle is None:
            return None
        agent = bundle.agent
        queue = agent.queue
        if entry.stage is Stage.RUNNING:
            self.running -= 1
        del agent.calls[entry.call.id]
        queue.count(agent, -entry.items)
        bundle.left -= entry.items
        if time is not None:
            bundle.heard = time
        if bundle.left == 0:
            agent.bundles -= 1
            queue.bundles -= 1
            agent.long -= bundle.long
            if time is not None:
                agent.idle_since = time
            if agent.open:
                queue.sort(agent)
            elif agent.key in queue.agents:
                queue.grant()  # a closed agent uses one worker less of those that the ceiling allows
        return agent
