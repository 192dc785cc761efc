"""Agents that say nothing any more, though their connections stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobpool.config import resolve
from jobpool.core import events as e
from jobpool.host.versions import versions
from jobpool.server import agent_links as agents_module
from jobpool.server.agent_links import SILENT, AgentLinks
from jobpool.server.spec import Spec
from jobpool.transport.messages.agent import AgentHello, Ping, Pong, Ready, Suspended, WentOn
from jobpool.transport.messages.base import Answer, Message, Question


class Recorder:
    """A link that keeps what is sent on it."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.aborted: Exception | None = None

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def answer(self, question: Question[Any], answer: Answer) -> None:
        self.sent.append(answer)

    def abort(self, error: Exception) -> None:
        self.aborted = error

    def close(self) -> None:
        self.sent.append("closed")


def made(
    directory: Path, told: list[e.Event], suspended: Callable[[e.JobKey], bool] = lambda job: False
) -> tuple[AgentLinks, Spec]:
    spec = Spec(
        settings=resolve.resolve({"scheduler": "local", "max_workers": 1}),
        system="local",
        initializer=None,
        sys_path=(),
        working_directory="/",
        umask=0o077,
        versions=versions(),
    )
    return AgentLinks(spec, directory, told.append, print, suspended), spec


def joined(agents: AgentLinks, spec: Spec, pid: int, node: str = "n1") -> Any:
    link: Any = Recorder()
    hello = AgentHello(job=("jp-x-1", 0), id="7", node=node, pid=pid, versions=versions())
    agents.greet(link, hello, e.JobKey(*hello.job), spec.settings.request)
    agents.receive(link, Ready(1, None))
    link.sent.clear()
    return link


def test_an_agent_is_asked_and_hung_up_on_when_it_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_module, "PING", 0.0)

    async def scenario() -> None:
        agents, spec = made(tmp_path, [])
        answering, silent = joined(agents, spec, 1), joined(agents, spec, 2)
        agents.look()
        assert answering.sent[-1] == silent.sent[-1] == Ping()
        monkeypatch.setattr(agents_module, "SILENT", 0.05)
        await asyncio.sleep(0.1)  # so long is the silence
        agents.receive(answering, Pong())
        agents.look()
        assert answering.aborted is None
        assert isinstance(silent.aborted, TimeoutError)

    asyncio.run(scenario())


def test_an_agent_is_not_hung_up_on_while_its_job_is_suspended_nor_at_once_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_module, "PING", 0.0)
    monkeypatch.setattr(agents_module, "SILENT", 1.0)
    told: list[e.Event] = []
    suspended = [True]

    async def scenario() -> None:
        agents, spec = made(tmp_path, told, lambda job: suspended[0])
        link = joined(agents, spec, 1)
        agents._heard[link] -= 1e6  # so long is the silence
        agents.look()
        assert link.aborted is None
        assert not link.sent  # a day of questions would fill its socket
        suspended[0] = False
        agents.look()
        assert link.aborted is None
        assert link.sent == [Ping()]
        agents._heard[link] -= 2.0
        agents.look()
        assert isinstance(link.aborted, TimeoutError)

    asyncio.run(scenario())


def test_an_agents_word_that_it_is_suspended_and_goes_on_becomes_an_event(tmp_path: Path) -> None:
    told: list[e.Event] = []

    async def scenario() -> None:
        agents, spec = made(tmp_path, told)
        link = joined(agents, spec, 1)
        agents.receive(link, Suspended())
        agents.receive(link, WentOn(50.0))

    asyncio.run(scenario())
    match told[-2:]:
        case [e.AgentSuspended(), e.AgentWentOn(time=time, deadline=float(deadline))]:
            assert deadline == pytest.approx(time + 50.0)
        case other:
            pytest.fail(f"{other}")


def test_time_in_which_the_server_itself_stood_still_is_no_silence_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        agents, spec = made(tmp_path, [])
        now = 1000.0
        monkeypatch.setattr(agents, "_now", lambda: now)
        agents.look()
        agent = joined(agents, spec, 1)
        now += 10 * SILENT  # it was stopped; what the agent said meanwhile is still to be read
        agents.look()
        assert agent.aborted is None
        for _ in range(round(SILENT) + 60):
            now += 1.0
            agents.look()
        assert isinstance(agent.aborted, TimeoutError)

    asyncio.run(scenario())


def test_agents_of_which_nothing_is_taken_are_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        agents, spec = made(tmp_path, [])
        now = agents._now()
        monkeypatch.setattr(agents, "_now", lambda: now)
        monkeypatch.setattr(Recorder, "pause", lambda link: link.sent.append("paused"), raising=False)
        monkeypatch.setattr(Recorder, "resume", lambda link: link.sent.append("resumed"), raising=False)
        before = joined(agents, spec, 1)
        agents.hold(True)
        after: Any = Recorder()
        hello = AgentHello(job=("jp-x-2", 0), id="8", node="n2", pid=2, versions=versions())
        agents.greet(after, hello, e.JobKey(*hello.job), spec.settings.request)
        assert "paused" in before.sent
        assert "paused" in after.sent
        for held in (True, False):
            for _ in range(2 * round(SILENT)):
                now += 1.0
                agents.look()
            assert (before.aborted is None) is held
            agents.hold(False)
        assert "resumed" in before.sent

    asyncio.run(scenario())
