"""A job's host is short of something for a moment: its workers come later."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crewkit import Watched, crew, reached_soon

from jobpool.worker import births


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


def kill_worker(watched: Watched) -> None:
    (place,) = watched.crew._births.places.values()
    assert place.pid is not None
    os.kill(place.pid, signal.SIGKILL)


def kill_fork_server(watched: Watched) -> None:
    os.kill(watched.crew._births.server_pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_worker, kill_fork_server], ids=lambda kill: kill.__name__)
def test_what_dies_while_nothing_can_be_opened_is_replaced_later(
    tmp_path: Path, kill: Callable[[Watched], None]
) -> None:
    async def scenario() -> None:
        async with crew(tmp_path) as watched:
            assert await watched.run(abs, -1) == 1
            with no_descriptors():
                kill(watched)
                await reached_soon(lambda: watched.crew._births._short_for > 0)
            assert await watched.run(abs, -2) == 2
            assert not any("Too many open files" in str(report) for report in watched.reports)
            assert watched.crew._births._short_for == 0

    asyncio.run(scenario())


def test_a_shortage_that_lasts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(births, "SHORT_FOR", 0.5)

    async def scenario() -> None:
        async with crew(tmp_path) as watched:
            assert await watched.run(abs, -1) == 1
            with no_descriptors():
                kill_worker(watched)
                await watched.until(lambda: any("Too many open files" in str(report) for report in watched.reports))

    asyncio.run(scenario())
