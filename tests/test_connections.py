"""Connections: who holds the pool's key is in, all addresses are tried, and an end is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jobpool.host.home import PoolDirectory
from jobpool.server.client_links import listen
from jobpool.server.peers import ToServer
from jobpool.transport import link as link_module
from jobpool.transport import tls
from jobpool.transport.link import Link, LinkClosed, Unreachable, dial, introduce
from jobpool.transport.messages.base import Message, Question
from jobpool.transport.messages.client import AddKind, ClientHello, ClientWelcome, Facts, ServerAnswer, Starts
from jobpool.transport.packing import Reader


def pool(name: str) -> PoolDirectory:
    directory = PoolDirectory.create(name)
    tls.make_keys(directory)
    return directory


HEARD: Reader[Message] = Reader(ToServer)
ANSWERS: Reader[Message] = Reader(ServerAnswer)


def echo(link: Link, message: Message) -> None:
    """Answer a question with what it asks for."""
    assert isinstance(message, AddKind)
    link.answer(message, Facts(facts={message.key: message.kind}))


def question(key: str = "anything", **kind: Any) -> Question[Facts]:
    return AddKind(key=key, kind=kind)  # type: ignore[return-value]


def with_server(directory: PoolDirectory, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    async def serve() -> None:
        server, port = await listen(directory, "127.0.0.1", lambda: Link(HEARD, echo))
        try:
            await work(port)
        finally:
            server.close()

    asyncio.run(serve())


def silent() -> Link:
    return Link(ANSWERS, lambda link, message: None)


async def ask(port: int, context: ssl.SSLContext) -> Any:
    _, link = await dial(["127.0.0.1"], port, context, silent)
    return await asyncio.wait_for(link.ask(question()), 10)


def test_a_question_gets_its_own_answer_also_a_large_one() -> None:
    directory = pool("mine")

    async def work(port: int) -> None:
        address, link = await dial(["127.0.0.1"], port, tls.client_context(directory.path), silent)
        large = b"x" * 10_000_000
        answers = await asyncio.gather(
            *(link.ask(question(key, x=x)) for key, x in (("a", 1), ("b", large), ("c", None)))
        )
        assert address == "127.0.0.1"
        assert [answer.facts for answer in answers] == [{"a": {"x": 1}}, {"b": {"x": large}}, {"c": {"x": None}}]
        link.close()

    with_server(directory, work)


def test_another_pools_key_gets_no_answer() -> None:
    mine, other = pool("mine"), pool("other")
    theirs = tls.client_context(other.path)
    # The best an intruder can do: their own key, and no check of ours.
    theirs.verify_mode = ssl.CERT_NONE

    async def work(port: int) -> None:
        with pytest.raises((LinkClosed, Unreachable)):
            await ask(port, theirs)

    with_server(mine, work)


def test_no_key_at_all_gets_no_answer() -> None:
    mine = pool("mine")
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE

    async def work(port: int) -> None:
        with pytest.raises((LinkClosed, Unreachable)):
            await ask(port, nobody)

    with_server(mine, work)


def test_plain_bytes_get_no_answer() -> None:
    async def work(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            answer = b""
        assert b"HTTP" not in answer
        writer.close()

    with_server(pool("mine"), work)


def test_all_addresses_are_tried_and_the_one_that_works_is_told() -> None:
    directory = pool("mine")

    async def work(port: int) -> None:
        # Nothing listens at the first, the second is no name of anything.
        addresses = ["127.0.0.77", "no-such-host.invalid", "127.0.0.1"]
        address, link = await dial(addresses, port, tls.client_context(directory.path), silent)
        assert address == "127.0.0.1"
        link.close()

    with_server(directory, work)


def test_when_nobody_answers_each_address_is_named_with_its_error() -> None:
    directory = pool("mine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def work() -> None:
        with pytest.raises(Unreachable) as caught:
            await dial(["127.0.0.1", "127.0.0.2"], port, tls.client_context(directory.path), silent)
        assert f"127.0.0.1 port {port}" in str(caught.value)
        assert f"127.0.0.2 port {port}" in str(caught.value)
        assert "refused" in str(caught.value)

    asyncio.run(work())


def test_who_cannot_read_the_answer_is_told_so_and_what_to_do() -> None:
    directory = pool("mine")

    async def work(port: int) -> None:
        make = lambda: Link(Reader[Message](Starts), lambda link, message: None)  # noqa: E731
        _, link = await dial(["127.0.0.1"], port, tls.client_context(directory.path), make)
        with pytest.raises(LinkClosed, match=r"not a message of this version of jobpool .* with the same version"):
            await asyncio.wait_for(link.ask(question()), 10)

    with_server(directory, work)


def test_a_question_that_is_open_when_the_other_side_dies_ends_with_an_exception() -> None:
    directory = pool("mine")

    async def work() -> None:
        server, port = await listen(directory, "127.0.0.1", lambda: Link(HEARD, lambda link, message: link.abort()))
        _, link = await dial(["127.0.0.1"], port, tls.client_context(directory.path), silent)
        with pytest.raises(LinkClosed):
            await asyncio.wait_for(link.ask(question()), 10)
        with pytest.raises(LinkClosed):
            await link.ask(question("again"))
        server.close()

    asyncio.run(work())


def test_who_is_turned_away_tries_again_as_long_as_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is told only after the handshake."""
    monkeypatch.setattr(link_module, "AGAIN", 0.01)
    directory, asked = pool("mine"), 0

    def refuse_twice(link: Link, message: Message) -> None:
        nonlocal asked
        asked += 1
        assert isinstance(message, ClientHello)
        link.answer(message, ClientWelcome(system="local", logs="/logs")) if asked > 2 else link.abort()

    async def work() -> None:
        server, port = await listen(directory, "127.0.0.1", lambda: Link(HEARD, refuse_twice))
        context = tls.client_context(directory.path)

        async def come(*, patience: float, wanted: bool) -> Any:
            _, link, answer = await introduce(
                ["127.0.0.1"], port, context, silent, ClientHello(), patience=patience, wanted=lambda: wanted
            )
            link.abort()
            return answer

        for patience, wanted in ((0.0, True), (30.0, False)):
            with pytest.raises(LinkClosed):
                await come(patience=patience, wanted=wanted)
        nonlocal asked
        asked = 0
        assert (await come(patience=30.0, wanted=True)).system == "local"
        assert asked == 3
        server.close()

    asyncio.run(work())
