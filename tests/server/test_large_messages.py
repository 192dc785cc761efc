"""Large messages: the transport is given no more than it can take, and many large things travel in several messages."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jobpool.host.home import PoolDirectory
from jobpool.server import client_links
from jobpool.transport import tls
from jobpool.transport.link import SLICE, Link, dial, in_parts
from jobpool.transport.messages.base import Function, Functions
from jobpool.transport.packing import Reader

SIZE = 48 * 2**20
READER: Reader[Functions] = Reader(Functions)


def message(key: str, content: bytes) -> Functions:
    return Functions([Function(key, content)])


def between(scenario: Callable[[Link, asyncio.Queue[Any]], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with one end of a link; what it sends comes into the queue."""

    async def run() -> None:
        directory = PoolDirectory.create(None)
        tls.make_keys(directory)
        heard: asyncio.Queue[Any] = asyncio.Queue()
        server, port = await client_links.listen(
            directory, "127.0.0.1", lambda: Link(READER, lambda link, message: heard.put_nowait(message))
        )
        context = tls.client_context(directory.path)
        _, link = await dial(["127.0.0.1"], port, context, lambda: Link(READER, lambda link, message: None))
        async with asyncio.timeout(60):
            await scenario(link, heard)
        server.close()

    asyncio.run(run())


def test_a_large_message_is_handed_over_in_slices_and_arrives_whole_and_in_order() -> None:
    content = bytes(range(256)) * (SIZE // 256)

    async def scenario(link: Link, heard: asyncio.Queue[Any]) -> None:
        tracemalloc.start()
        link.send(message("first", content))
        copied, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert copied < 8 * SLICE
        link.send(message("second", b"small"))
        assert await heard.get() == message("first", content)
        assert await heard.get() == message("second", b"small")
        link.abort()
        await link.closed

    between(scenario)


def test_close_sends_first_what_is_left() -> None:
    async def scenario(link: Link, heard: asyncio.Queue[Any]) -> None:
        link.send(message("last", bytes(SIZE)))
        link.close()
        link.send(message("too late", b""))
        assert len((await heard.get()).functions[0].payload) == SIZE
        await link.closed
        assert heard.empty()

    between(scenario)


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([1, 1, 1], [[1, 1, 1]]),
        ([6, 6, 6], [[6], [6], [6]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([20, 1], [[20], [1]]),
    ],
)
def test_parts_are_full_but_not_too_full(sizes: list[int], parts: list[list[int]]) -> None:
    holders = [Function("f", bytes(size)) for size in sizes]
    assert [[len(one.payload) for one in part] for part in in_parts(holders, limit=10)] == parts
