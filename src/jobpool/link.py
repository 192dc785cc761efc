"""A TLS connection that carries plain messages, and how to find the other side of it.

Used between client and server, and between server and agents. A message is a tuple whose first item names it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from jobpool import wire
from jobpool.errors import JobPoolError

__all__ = ["Link", "LinkClosed", "Unreachable", "dial"]

STAGGER = 0.25
"""Seconds between the starts of two attempts, as RFC 8305 recommends: the first address mostly works, and one that a
firewall swallows must not hold up the others."""


class LinkClosed(ConnectionError):
    """The other side is gone, or refused our key."""


class Unreachable(JobPoolError):
    """No address of the other side answered; the message holds each with its error."""


class Link(asyncio.Protocol):
    """One end of a connection. ``on_message(link, message)`` and ``on_closed(link, error)`` run in the event loop."""

    def __init__(
        self,
        on_message: Callable[[Link, Any], None],
        on_closed: Callable[[Link, BaseException | None], None] = lambda link, error: None,
    ) -> None:
        self._on_message, self._on_closed = on_message, on_closed
        self._unpacker = wire.Unpacker()
        self._transport: asyncio.Transport | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._references = itertools.count(1)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _notice_a_dead_host(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Take apart what came (asyncio calls this)."""
        try:
            for message in self._unpacker.feed(data):
                self._take(message)
        except wire.WireError as error:
            self.abort(error)

    def _take(self, message: Any) -> None:
        if message[0] == "answer":
            _, reference, answer = message
            waiting = self._answers.pop(reference, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        else:
            self._on_message(self, message)

    def connection_lost(self, error: Exception | None) -> None:
        """End (asyncio calls this)."""
        self._transport = None
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(LinkClosed(str(error or "the connection was closed")))
        self._answers.clear()
        if not self.closed.done():
            self.closed.set_result(error)
            self._on_closed(self, error)

    def send(self, *message: Any) -> None:
        """Send a message; silently nothing when the link is closed: ``on_closed`` tells that."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(wire.pack(message))

    async def ask(self, *message: Any) -> Any:
        """Send ``("ask", reference, *message)`` and wait for the answer. Raises ``LinkClosed``."""
        if self._transport is None:
            raise LinkClosed("the connection is closed")
        reference = next(self._references)
        waiting = self._answers[reference] = asyncio.get_running_loop().create_future()
        self.send("ask", reference, *message)
        return await waiting

    def close(self) -> None:
        """Close after what is being sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self, error: Exception | None = None) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
            if error is not None and not self.closed.done():
                self.closed.set_result(error)
                self._on_closed(self, error)


def _notice_a_dead_host(connection: socket.socket) -> None:
    """Let the kernel end the connection after a minute of silence: a node that lost its power says nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)  # the same for unanswered data, in ms


async def dial(
    addresses: Sequence[str],
    port: int,
    context: ssl.SSLContext,
    make: Callable[[], Link],
    *,
    timeout: float = 10.0,
) -> tuple[str, Link]:
    """Try all addresses, each a little later than the one before, and return the first that answers, with its link.

    ``timeout`` is in seconds, for each address. Raises ``Unreachable`` with the error of each.
    """
    loop = asyncio.get_running_loop()

    async def attempt(number: int, address: str) -> Link:
        await asyncio.sleep(number * STAGGER)
        async with asyncio.timeout(timeout):
            _, link = await loop.create_connection(make, address, port, ssl=context)
        return link

    attempts = {asyncio.create_task(attempt(n, address)): address for n, address in enumerate(addresses)}
    errors: dict[str, OSError] = {}
    try:
        while attempts:
            for task in (await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED))[0]:
                address = attempts.pop(task)
                try:
                    return address, task.result()
                except OSError as error:  # TimeoutError and ssl.SSLError are OSErrors too
                    errors[address] = error
    finally:
        for task in attempts:
            task.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, Link):
                late.close()
    tried = "\n".join(f"    {address} port {port}: {_why(error)}" for address, error in errors.items())
    raise Unreachable(f"no address of the server answered; tried:\n{tried}")


def _why(error: OSError) -> str:
    # asyncio words a refused connection as "Connect call failed ('127.0.0.1', 42269)".
    if isinstance(error, TimeoutError):
        return "no answer in time (a firewall, or a network that the nodes do not share)"
    return os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else str(error)
