"""The calls of a pool, its agents and its scheduler, as the core puts them together."""

from __future__ import annotations

from jobpool.core.calls.agent_reports import AgentReports
from jobpool.core.calls.agent_table import AgentTable
from jobpool.core.calls.call_table import CallTable
from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.scheduler import Scheduler


class Calls:
    """Everything that speaks of calls, without a core around it."""

    def __init__(self) -> None:
        self.fitting = Fitting()
        self.table = CallTable()
        self.agents = AgentTable(self.table.queues, self.fitting)
        self.scheduler = Scheduler(self.table, self.fitting)
        self.reports = AgentReports(self.table, self.agents, self.fitting)
