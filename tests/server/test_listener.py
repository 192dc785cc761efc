"""Strangers at the server's port: connections that prove nothing cost little, end soon, and keep nobody else out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from jobpool.commands import shell
from jobpool.host import descriptors
from jobpool.host.home import PoolDirectory
from jobpool.model.command import Command
from jobpool.server import client_links, listener
from jobpool.server.listener import Listener
from jobpool.transport import dask_config, tls
from jobpool.transport.link import Link, Unreachable, dial
from jobpool.transport.messages.base import Message
from jobpool.transport.messages.client import ClientHello, ClientWelcome, ServerAnswer
from jobpool.transport.packing import Reader


@pytest.fixture
def directory() -> PoolDirectory:
    directory = PoolDirectory.create("flooded")
    tls.make_keys(directory)
    return directory


@contextlib.contextmanager
def half_open(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Hold connections that say nothing."""
    sockets = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


def is_over(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.02)


def with_listener(directory: PoolDirectory, work: Callable[[Listener], Coroutine[Any, Any, None]]) -> None:
    def welcome(link: Link, message: ClientHello) -> None:
        link.answer(message, ClientWelcome(system="local", logs="heard"))

    async def serve() -> None:
        opened, _ = await client_links.listen(directory, "127.0.0.1", lambda: Link(Reader(ClientHello), welcome))
        try:
            await work(opened)
        finally:
            opened.close()

    asyncio.run(serve())


READER: Reader[Message] = Reader(ServerAnswer)


async def asked(port: int, directory: PoolDirectory) -> Any:
    context = tls.client_context(directory.path)
    _, link = await dial(["127.0.0.1"], port, context, lambda: Link(READER, lambda link, message: None))
    try:
        return (await asyncio.wait_for(link.ask(ClientHello()), 30)).logs
    finally:
        link.abort()


def test_who_holds_the_key_gets_in_beside_many_who_do_not(
    directory: PoolDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of those that prove nothing make way."""
    monkeypatch.setattr(listener, "MOST", 20)

    async def work(opened: Listener) -> None:
        with half_open(opened.port, 60) as sockets:
            assert await asked(opened.port, directory) == "heard"
            await until(lambda: sum(map(is_over, sockets)) >= 40)
            assert len(opened._unproven) <= 20
            assert not is_over(sockets[-1])

    with_listener(directory, work)


def test_a_handshake_has_a_deadline(directory: PoolDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "DEADLINE", 0.2)

    async def work(opened: Listener) -> None:
        with half_open(opened.port, 3) as sockets:
            sockets[1].sendall(b"\x16\x03\x01")  # the beginning of a handshake
            await until(lambda: all(map(is_over, sockets)))

    with_listener(directory, work)


def test_where_no_descriptor_or_memory_is_left_the_log_stays_small_and_the_server_listens(
    directory: PoolDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "PAUSE", 0.001)
    tries = 0

    async def work(opened: Listener) -> None:
        loop = asyncio.get_running_loop()
        accept = loop.sock_accept

        async def accept_none(listener: socket.socket) -> Any:
            nonlocal tries
            tries += 1
            if tries < 300:
                raise MemoryError if tries == 200 else OSError(errno.EMFILE, "Too many open files")
            return await accept(listener)

        monkeypatch.setattr(loop, "sock_accept", accept_none)
        opened._accepting.cancel()
        opened._accepting = loop.create_task(opened._accept())
        assert await asked(opened.port, directory) == "heard"

    with caplog.at_level(logging.INFO, "jobpool.server.listener"):
        with_listener(directory, work)
    assert tries >= 300
    assert len(caplog.records) == 1
    assert "Too many open files" in caplog.text


def test_the_last_descriptors_are_not_for_connections(
    directory: PoolDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for commands; who was turned away may try again."""
    monkeypatch.setattr(descriptors, "most", lambda: 4)

    async def work(opened: Listener) -> None:
        with pytest.raises(Unreachable, match="closed before it began"):
            await asked(opened.port, directory)
        opened._highest = 10_000
        assert await asked(opened.port, directory) == "heard"

    with_listener(directory, work)


def test_a_command_gets_the_limits_that_the_server_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(descriptors, "_before", None)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1] // 2, limits[1]))
        descriptors.raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
        done = asyncio.run(shell.run(Command(("sh", "-c", "ulimit -Sn; ulimit -Hn"))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert done.stdout.split() == [str(limits[1] // 2), str(limits[1])]


@pytest.mark.parametrize(("most", "deadline", "over"), [(20, 600.0, 39), (1000, 0.5, 60)], ids=["many", "slow"])
def test_dasks_scheduler_lets_the_same_go(
    directory: PoolDirectory, monkeypatch: pytest.MonkeyPatch, most: int, deadline: float, over: int
) -> None:
    distributed = pytest.importorskip("distributed")
    from jobpool.server.dask_scheduler import DaskScheduler

    monkeypatch.setattr(dask_config, "MOST_UNPROVEN", most)
    monkeypatch.setattr(dask_config, "DEADLINE", deadline)

    async def scenario() -> None:
        dask = DaskScheduler(directory.path)
        port = await dask.listen("127.0.0.1")
        try:
            with half_open(port, 60) as sockets:
                security = dask_config.security(directory.path)
                address = f"tls://127.0.0.1:{port}"
                async with distributed.Client(
                    address, security=security, asynchronous=True, set_as_default=False
                ) as one:
                    await until(lambda: sum(map(is_over, sockets)) >= over)
                    assert one.id in dask.scheduler.clients  # type: ignore[union-attr]
        finally:
            await dask.scheduler.close()  # type: ignore[union-attr]

    asyncio.run(scenario())
