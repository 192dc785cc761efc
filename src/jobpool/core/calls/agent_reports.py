"""What agents report of their calls: started, done, cut, returned, checkpointed; and what is put back after a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from msgspec import structs

from jobpool.core.calls.agent_table import AgentTable
from jobpool.core.calls.call_table import CallTable
from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.queues import CallEntry, Stage
from jobpool.core.events import JobKey, Outcome
from jobpool.core.histograms import Sum
from jobpool.core.recovery.decide import History
from jobpool.model.call_options import PLAIN, CallOptions

__all__ = ["AgentReports"]


class AgentReports:
    """Changes the calls as the agents report."""

    def __init__(self, calls: CallTable, agents: AgentTable, fitting: Fitting) -> None:
        self._calls, self._agents, self._fitting = calls, agents, fitting
        self.finished: list[Sum] = []
        """The last outcomes, added up by function."""

    def start(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Note that these calls run in this job. Return those that were not known to run."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        news = []
        for id in ids:
            entry = agent.calls.get(id)
            if entry is not None and entry.stage is Stage.SENT:
                entry.stage = Stage.RUNNING
                entry.started = time
                news.append(id)
        self._calls.running += len(news)
        return tuple(news)

    def finish(
        self, key: JobKey, outcomes: tuple[Outcome, ...], time: float
    ) -> tuple[tuple[Outcome, ...], dict[JobKey, list[int]]]:
        """Forget the calls that have an outcome now.

        Return the outcomes that are the first of their call, and the calls of which another agent has a copy.
        """
        calls = self._calls
        first: list[Outcome] = []
        copies: dict[JobKey, list[int]] = {}
        sums: dict[str, Sum] = {}
        walls: dict[str, list[float]] = {}
        for outcome in outcomes:
            entry = calls.entries.get(outcome.call)
            if entry is None or outcome.rows > entry.call.rows:
                continue  # the latter: the rows were cut after another agent got a copy of them
            if outcome.rows < entry.call.rows:
                if entry.bundle is None or entry.bundle.agent.key != key:
                    continue  # the agent that has the copy does not know which rows of it are done
                calls.shorten(entry, outcome.rows, time)
            elif (agent := calls.forget(entry, time)) is not None and agent.key != key:
                copies.setdefault(agent.key, []).extend(range(outcome.call, outcome.call + max(1, outcome.rows)))
            first.append(outcome)
            if (total := sums.get(entry.call.function)) is None:
                total = sums[entry.call.function] = Sum(entry.statistics)
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
        for function, (total_seconds, number, longest) in walls.items():
            self._fitting.of_function(function).learn(total_seconds, int(number), longest)
        return tuple(first), copies

    def cut(self, key: JobKey, id: int, at: int) -> None:
        """Note that an agent has cut rows in two: those from ``at`` on have an id of their own now."""
        agent = self._agents.get(key)
        entry = None if agent is None else agent.calls.get(id)
        if agent is not None and entry is not None and 0 < at < entry.call.rows:
            entry.call, rest = entry.call.cut(at)
            agent.calls[rest.id] = self._calls.entries[rest.id] = replace(entry, call=rest, stage=Stage.SENT)

    def go_on(self, key: JobKey, id: int, function: str, payload: bytes, time: float) -> bool:
        """Queue what goes on from a call's checkpoint, at the head. Return False if this agent does not have the
        call."""
        entry = self._entry(key, id)
        if entry is None or entry.call.rows > 1:  # the latter: rows are cut before one of them leaves a checkpoint
            return False
        entry.call = structs.replace(entry.call, function=function, payload=payload, skip=0)
        history = entry.history
        entry.history = replace(history, lost=0, timed_out=0, checkpoints=history.checkpoints + 1)
        self._calls.queue_again(entry, time)
        return True

    def give_back(self, key: JobKey, ids: Iterable[int], time: float) -> tuple[int, ...]:
        """Put the calls that this agent returned at the head of their queue. Return those that were known to run."""
        agent = self._agents.get(key)
        if agent is None:
            return ()
        entries = [entry for id in ids if (entry := agent.calls.get(id)) is not None]
        ran = tuple(entry.call.id for entry in entries if entry.stage is Stage.RUNNING)
        for entry in reversed(entries):
            self._calls.queue_again(entry, time)
        return ran

    def run_again(
        self, calls: Iterable[tuple[int, History]], time: float, moved: Mapping[int, str] | None = None
    ) -> None:
        """Put lost calls at the head of their queue, in this order. ``moved``: the requests that some need now."""
        for id, history in reversed(list(calls)):
            if (entry := self._calls.entries.get(id)) is not None and entry.stage is not Stage.WAITING:
                entry.history = history
                if moved and id in moved:
                    self._calls.change_request(entry, moved[id])
                self._calls.queue_again(entry, time)

    def history_of(self, key: JobKey, id: int) -> tuple[History, int, CallOptions] | None:
        """Return a call's history, its rows and its options; None if this agent does not have the call."""
        entry = self._entry(key, id)
        return None if entry is None else (entry.history, entry.items, entry.call.terms or PLAIN)

    def _entry(self, key: JobKey, id: int) -> CallEntry | None:
        agent = self._agents.get(key)
        return None if agent is None else agent.calls.get(id)
