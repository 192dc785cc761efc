"""What a user's callback does, it does in the thread on which all futures of the pool wait: it must not harm them."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from jobpool import JobPoolExecutor
from jobpool.model.status import CallCounts, PoolStatus, Snapshot
from jobpool.show import waiting


def called_back(future: Future[Any], callback: Any) -> list[Any]:
    """Return what the callback returned or raised, once it was called."""
    got: list[Any] = []
    called = threading.Event()

    def call(_: Future[Any]) -> None:
        try:
            got.append(callback())
        except RuntimeError as error:
            got.append(error)
        called.set()

    future.add_done_callback(call)
    assert called.wait(30)
    return got


def test_sys_exit_in_a_callback_ends_nothing(pool: JobPoolExecutor) -> None:
    future = pool.submit(abs, -2)
    future.add_done_callback(lambda _: sys.exit(3))
    assert future.result(30) == 2
    assert pool.submit(abs, -3).result(30) == 3


def test_a_question_to_the_server_in_a_callback_is_an_error_and_no_deadlock(pool: JobPoolExecutor) -> None:
    (got,) = called_back(pool.submit(time.sleep, 0.1), pool.status)
    assert isinstance(got, RuntimeError)
    assert "another thread" in str(got)
    assert pool.submit(abs, -3).result(30) == 3


def test_shutdown_in_a_callback_returns(pool: JobPoolExecutor) -> None:
    assert called_back(pool.submit(time.sleep, 0.1), pool.shutdown) == [None]


def test_slow_callbacks_lose_no_result_at_the_end() -> None:
    # Longer in all than the server may wait for anything that does not go on.
    with JobPoolExecutor(2, scheduler="local") as pool:
        futures = [pool.submit(os.urandom, 8 * 2**20) for _ in range(9)]
        for future in futures:
            future.add_done_callback(lambda _: time.sleep(0.9))
    assert [len(future.result(0)) for future in futures] == [8 * 2**20] * 9


class Broken:
    """A stderr whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def isatty(self) -> bool:
        raise ValueError("I/O operation on closed file")


def test_a_stderr_that_is_gone_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    # In the connection's thread an exception would end the connection, and the pool with it.
    monkeypatch.setattr(waiting, "QUIET", 0.0)
    monkeypatch.setattr(sys, "stderr", Broken())
    line = waiting.WaitingLine()
    line.say("something is odd", warning=True)
    counts = CallCounts(waiting=1, running=0, done=0, failed=0)
    snapshot = Snapshot(
        time=1.0, jobs=(), calls=counts, functions=(), requests=(), rate=None, left=None, held=None, phase="open"
    )
    about: dict[str, Any] = {"name": "mine", "system": "slurm", "host": "login", "pid": 1, "logs": Path("/logs")}
    line.show(PoolStatus.of(snapshot, **about, notices=()))
    line.clear()
