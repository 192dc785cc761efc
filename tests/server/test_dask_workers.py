"""The agents as Workers of Dask's Scheduler: all of them, and again after a restart."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import dask

from jobpool import JobPoolExecutor
from jobpool.core import events as e
from jobpool.host.home import PoolDirectory
from jobpool.host.versions import versions
from jobpool.server.agent_links import AgentLinks
from jobpool.server.spec import Spec
from jobpool.transport import dask_config, tls
from jobpool.transport.link import Link
from jobpool.transport.messages.agent import AgentHello, AgentSettings, JoinDask, Ready, ServerToAgent
from jobpool.transport.messages.base import Message
from jobpool.transport.packing import Reader


def test_a_restarted_worker_joins_again() -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        assert pool.client.submit(abs, -1).result(timeout=60) == 1
        pool.client.restart(timeout=30)
        assert pool.client.submit(abs, -2).result(timeout=30) == 2
        assert pool.submit(abs, -3).result(30) == 3


def test_the_clients_connection_outlives_a_server_that_stands_still_for_minutes() -> None:
    """Dask's own time is 30 s."""
    with JobPoolExecutor(1, scheduler="local") as pool:
        before = dask.config.get("distributed.comm.timeouts.tcp")
        connection = pool.client.scheduler_comm.comm.stream.socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 600_000
        assert dask.config.get("distributed.comm.timeouts.tcp") == before  # the user's own are not touched


def test_the_worker_of_an_agent_that_is_gone_is_forgotten_at_once() -> None:
    """Though its own connection stands, as that to a host without power does."""
    from distributed import Worker

    from jobpool.server.dask_scheduler import DaskScheduler

    directory = PoolDirectory.create(None)
    tls.make_keys(directory)

    async def scenario() -> None:
        side = DaskScheduler(directory.path)
        port = await side.listen("127.0.0.1")
        assert side.scheduler is not None
        security = dask_config.security(directory.path)
        name = dask_config.worker_name("7", "n1", 42)
        async with Worker(f"tls://127.0.0.1:{port}", name=name, security=security, nthreads=1, host="127.0.0.1"):
            assert len(side.scheduler.workers) == 1
            await side.forget("8", "n1", 42)
            assert len(side.scheduler.workers) == 1
            await side.forget("7", "n1", 42)
            assert len(side.scheduler.workers) == 0
        await side.scheduler.close()

    asyncio.run(scenario())


class Recorder(Link):
    """A link that goes nowhere."""

    def __init__(self) -> None:
        super().__init__(Reader(ServerToAgent), lambda link, message: None)
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)


def test_an_agent_between_its_first_words_and_its_hello_hears_of_the_scheduler(tmp_path: Any) -> None:
    from jobpool.config import resolve

    settings = resolve.resolve({"scheduler": "local", "max_workers": 1})
    spec = Spec(
        settings=settings,
        system="local",
        initializer=None,
        sys_path=(),
        working_directory="/",
        umask=0o077,
        versions=versions(),
    )

    async def scenario() -> list[Message]:
        told: list[e.Event] = []
        agents, link = AgentLinks(spec, tmp_path, told.append, print), Recorder()
        hello = AgentHello(job=("jp-x-1", 0), id="7", node="n1", pid=os.getpid(), versions=versions())
        agents.greet(link, hello, e.JobKey(*hello.job), settings.request)
        agents.join_dask(4711)
        agents.receive(link, Ready(1, None))
        assert isinstance(told[-1], e.AgentJoined)
        return link.sent

    answer, *later = asyncio.run(scenario())
    assert isinstance(answer, AgentSettings)
    assert answer.dask_port is None
    assert later == [JoinDask(4711)]
