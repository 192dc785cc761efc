"""A job's host is short of something for a moment: its workers come later."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from workerskit import Watched, reached_soon, run_workers

from jobpool.agent import lifecycle
from jobpool.agent.slot import State

MANY = 12
"""Workers: a pause that doubled with each of them would be over the limit of a minute."""


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def kill_workers(watched: Watched) -> None:
    for slot in watched.workers._lifecycle.slots.values():
        assert slot.pid is not None
        os.kill(slot.pid, signal.SIGKILL)


def kill_fork_server(watched: Watched) -> None:
    os.kill(watched.workers._lifecycle.server_pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_workers, kill_fork_server], ids=lambda kill: kill.__name__)
def test_what_dies_while_nothing_can_be_opened_is_replaced_later(
    tmp_path: Path, kill: Callable[[Watched], None]
) -> None:
    async def scenario() -> None:
        async with run_workers(tmp_path) as watched:
            assert await watched.run(abs, -1) == 1
            with no_descriptors():
                kill(watched)
                await reached_soon(lambda: watched.workers._lifecycle._short_since is not None)
            assert await watched.run(abs, -2) == 2
            assert not any("Too many open files" in str(report) for report in watched.reports)
            assert watched.workers._lifecycle._short_since is None

    asyncio.run(scenario())


def test_many_that_are_refused_at_one_moment_are_all_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with many workers gives up no sooner than one with a single one."""
    refused: list[int] = []

    def refuse() -> NoReturn:
        refused.append(errno.EMFILE)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scenario() -> None:
        async with run_workers(tmp_path, size=MANY) as watched:
            slots = watched.workers._lifecycle.slots
            await reached_soon(lambda: [slot.state for slot in slots.values()] == MANY * [State.IDLE])
            with monkeypatch.context() as patch:  # a real limit would let one in for each that is gone
                patch.setattr(lifecycle, "make", refuse)
                kill_workers(watched)
                await reached_soon(lambda: len(refused) >= MANY)
            await reached_soon(lambda: [slot.state for slot in slots.values()] == MANY * [State.IDLE])
            assert not any("Too many open files" in str(report) for report in watched.reports)

    asyncio.run(scenario())


def test_a_shortage_that_lasts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "SHORT_FOR", 0.5)

    async def scenario() -> None:
        async with run_workers(tmp_path) as watched:
            assert await watched.run(abs, -1) == 1
            with no_descriptors():
                kill_workers(watched)
                await watched.until(lambda: any("Too many open files" in str(report) for report in watched.reports))

    asyncio.run(scenario())
