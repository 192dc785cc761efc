"""The agents as Workers of Dask's Scheduler: all of them, and again after a restart."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from jobpool import JobPoolExecutor
from jobpool.core import events as e
from jobpool.link import Link
from jobpool.server.agents import Agents
from jobpool.server.spec import Spec
from jobpool.versions import versions


def test_a_restarted_worker_joins_again() -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        assert pool.client.submit(abs, -1).result(timeout=60) == 1
        pool.client.restart(timeout=30)
        assert pool.client.submit(abs, -2).result(timeout=30) == 2
        assert pool.submit(abs, -3).result(30) == 3


class Recorder(Link):
    """A link that goes nowhere."""

    def __init__(self) -> None:
        super().__init__(lambda link, message: None)
        self.sent: list[tuple[Any, ...]] = []

    def send(self, *message: Any) -> None:
        self.sent.append(message)


def test_an_agent_between_its_first_words_and_its_hello_hears_of_the_scheduler(tmp_path: Any) -> None:
    from jobpool import config

    settings = config.resolve({"scheduler": "local", "max_workers": 1})
    spec = Spec(
        settings=settings,
        system="local",
        initializer=None,
        sys_path=(),
        working_directory="/",
        umask=0o077,
        versions=versions(),
    )

    async def scenario() -> list[tuple[Any, ...]]:
        told: list[e.Event] = []
        agents, link = Agents(spec, tmp_path, told.append, print), Recorder()
        facts = {"job": ("jp-x-1", 0), "id": "7", "node": "n1", "pid": os.getpid(), "versions": versions()}
        agents.greet(link, 1, facts, settings.request)
        agents.join_dask(4711)
        agents.receive(link, ("hello", {"workers": 1, "left": None}))
        assert isinstance(told[-1], e.AgentJoined)
        return link.sent

    answer, *later = asyncio.run(scenario())
    assert answer[2]["dask_port"] is None
    assert later == [("dask", 4711)]
