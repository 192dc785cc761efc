"""A server that says nothing any more, as its agents see it."""

from __future__ import annotations

import asyncio

import pytest

from jobpool.agent import agent as agent_module
from jobpool.agent.agent import LOST_SERVER, SILENT, Agent
from jobpool.agent.job_facts import parse_arguments


def agent() -> Agent:
    return Agent(
        parse_arguments(["--pool=x", "--submission=jp-x-1", "--index=0", "--job-id=1", "--address=x", "--port=1"])
    )


def test_an_agent_waits_ten_minutes_for_a_word_and_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        waiting, now = agent(), 1000.0
        monkeypatch.setattr(agent_module.time, "monotonic", lambda: now)
        waiting._heard = now
        while now < 1000.0 + SILENT:
            waiting._expect_words()
            now += SILENT / 10
        assert not waiting._end.is_set()
        now += SILENT / 10
        waiting._expect_words()
        assert waiting._end.is_set()
        assert waiting._code == LOST_SERVER

    asyncio.run(scenario())


def test_time_in_which_the_agent_itself_stood_still_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job that was suspended: what the server said meanwhile is still to be read."""

    async def scenario() -> None:
        waiting, now = agent(), 1000.0
        monkeypatch.setattr(agent_module.time, "monotonic", lambda: now)
        waiting._heard = now
        monkeypatch.setattr(waiting, "_say", lambda *message: None)
        now += 3 * SILENT
        waiting._go_on(3 * SILENT)  # which its own watch calls before anything else
        waiting._expect_words()
        assert not waiting._end.is_set()

    asyncio.run(scenario())
