"""A Ctrl-C comes at any instruction: the pool goes on, or ends wholly."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any

import psutil
import pytest

from jobpool import JobPoolExecutor
from jobpool.executor import connection, start_server
from jobpool.host.home import PoolDirectory
from jobpool.model.errors import NotPicklable, PoolBroken
from jobpool.testing import wait_until
from jobpool.transport import size_limit


def test_at_the_wake_up_of_the_connection_the_next_submit_wakes_it(
    pool: JobPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool._connection._loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(abs, -2)
    assert pool.submit(abs, -3).result(30) == 3


def test_while_shutdown_cancels_the_pool_ends(pool: JobPoolExecutor) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    running = pool.submit(time.sleep, 60)
    assert wait_until(running.running, 30)
    pool.submit(abs, -2).add_done_callback(interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.shutdown(cancel_futures=True)
    assert pool._connection.ended.wait(30)
    pool.shutdown()


def test_while_the_server_starts_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(start_server, "_first_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        JobPoolExecutor(1, scheduler="local", name="interrupted")
    assert wait_until(lambda: not _servers("interrupted"), 5)
    assert not list(PoolDirectory.open("interrupted").path.glob("*.pem"))


def test_while_it_connects_the_server_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: connection.Connection, work: Any) -> None:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(connection.Connection, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        JobPoolExecutor(1, scheduler="local", name="interrupted")
    assert wait_until(lambda: not _servers("interrupted"), 5)
    assert not connection.OPEN


@pytest.mark.parametrize("thread", ["jobpool-crowded", "jobpool-crowded-server"])
def test_where_no_thread_can_be_started_the_server_is_ended(monkeypatch: pytest.MonkeyPatch, thread: str) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == thread:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(PoolBroken, match="can't start new thread"):
        JobPoolExecutor(1, scheduler="local", name="crowded")
    assert wait_until(lambda: not _servers("crowded"), 5)
    assert not connection.OPEN


def _servers(name: str) -> list[int]:
    servers = []
    for process in psutil.Process().children():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(part.endswith(name) for part in process.cmdline()):
                servers.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return servers


def test_a_map_that_the_collector_ends_in_the_middle_of_a_submit_is_no_deadlock(pool: JobPoolExecutor) -> None:
    future = pool.submit(time.sleep, 60)
    other = pool.submit(abs, -1)

    def collected() -> None:
        with pool._connection._lock:  # as submit holds it
            other.cancel()

    thread = threading.Thread(target=collected, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert other.cancelled()
    future.cancel()
    pool._abort()


def test_pools_leave_no_thread_no_descriptor_and_no_connection(home: object) -> None:
    def use(end: int) -> int:
        pool = JobPoolExecutor(1, scheduler="local")
        future = pool.submit(abs, -1)
        if end == 1:
            pool.shutdown(wait=False)
        elif end == 2:
            pool.shutdown()
        return future.result(60)

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208 - a list of names

    use(2)
    gc.collect()
    before = held()
    for end in range(3):  # forgotten, told to end, waited for
        assert use(end) == 1
        gc.collect()
    assert wait_until(lambda: held() == before and not connection.OPEN, 20), (held(), before, connection.OPEN)


def test_what_is_too_large_to_travel_is_not_sent(pool: JobPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_limit, "LARGEST", 10_000)
    with pytest.raises(NotPicklable, match="the arguments"):
        pool.submit(len, b"x" * 20_000).result(30)
    text = "x" * 20_000
    with pytest.raises(NotPicklable, match="the function"):
        pool.submit(lambda: len(text)).result(30)
    assert pool.submit(abs, -3).result(30) == 3
