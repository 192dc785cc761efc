"""A TLS connection that carries messages, and how to find the other side of it.

Used between client and server, and between server and agents.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import logging
import os
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from jobpool.model.errors import JobPoolError, from_data
from jobpool.transport import frames, packing
from jobpool.transport.messages.base import Answer, Holder, Message, Question, Refused
from jobpool.transport.peer_silence import LOOK_EVERY, SILENT, PeerSilence

__all__ = ["KEPT", "Link", "LinkClosed", "Unreachable", "dial", "in_parts", "introduce"]

log = logging.getLogger("jobpool.transport.link")

T = TypeVar("T")
A = TypeVar("A")
M = TypeVar("M", bound=Message)
H = TypeVar("H", bound=Holder)

PART = 256 * 2**20
"""Bytes of content after which a message is full: many large things together could be more than a frame may hold."""

SLICE = 256 * 1024
"""Bytes handed to the transport at once. It copies all that it is given, and what the socket does not take at once more
than once; so about as much as a socket takes. Larger and smaller ones cost a fifth more."""

KEPT = 32 * 2**20
"""Bytes that a process with one connection holds for large messages: fresh memory costs more than a copy into it."""

STAGGER = 0.25
"""Seconds between the starts of two attempts, as RFC 8305 recommends: the first address mostly works, and one that a
firewall swallows must not hold up the others."""


AGAIN = 2.0
"""Seconds between two tries of who was turned away."""


class LinkClosed(ConnectionError):
    """The other side is gone, or refused our key."""


class Unreachable(JobPoolError):
    """No address of the other side answered; the message holds each with its error."""


class Link(asyncio.BufferedProtocol):
    """One end of a connection. ``on_message(link, message)`` and ``on_closed(link, error)`` run in the event loop.

    What ``reader`` does not expect ends the connection, with a ``WireError``.
    """

    def __init__(
        self,
        reader: packing.Reader[M],
        on_message: Callable[[Link, M], None],
        on_closed: Callable[[Link, BaseException | None], None] = lambda link, error: None,
        *,
        kept: int = frames.BUFFER,
    ) -> None:
        """``kept``: see :class:`frames.Unpacker`; ``KEPT`` where there is this one connection and not a thousand."""
        self._on_message: Callable[[Link, Any], None] = on_message
        self._on_closed = on_closed
        self._unpacker = reader.unpacker(kept=kept)
        self._transport: asyncio.Transport | None = None
        self._unsent: deque[bytes | memoryview] = deque()
        self.waiting = 0
        """Bytes of messages that were not handed to the transport yet: the other side does not take them."""
        self.has_room: Callable[[], None] = lambda: None
        """Called when some of them could be handed over."""
        self._paused = self._closing = False
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._references = itertools.count(1)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._far_host = PeerSilence(transport.get_extra_info("socket"))
        self._next_look = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        if self._far_host.is_silent():
            self.abort(LinkClosed(f"the other host has not answered for {SILENT:.0f} s"))
        elif self._transport is not None:
            self._next_look = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes (asyncio calls this)."""
        return self._unpacker.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take apart what came (asyncio calls this)."""
        for message in self._unpacker.filled(nbytes):
            if isinstance(message, Answer):
                self._answered(message)
            elif self._transport is not None and not self._transport.is_closing():
                self._on_message(self, message)
        if self._unpacker.error is not None:
            self.abort(self._unpacker.error)

    def _answered(self, answer: Answer) -> None:
        waiting = self._answers.pop(answer.reference, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """End (asyncio calls this)."""
        self._transport = None
        self._next_look.cancel()
        self._unsent.clear()
        self.waiting = 0
        why = error or (self.closed.result() if self.closed.done() else None)  # the latter: it was aborted from here
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(LinkClosed(str(why or "the connection was closed")))
        self._answers.clear()
        if not self.closed.done():
            self.closed.set_result(error)
            self._on_closed(self, error)

    @property
    def is_of_this_host(self) -> bool:
        """Whether the other side runs on this host: its address is loopback's, or the one that it has reached."""
        if self._transport is None:
            return False
        peer, own = (_address(self._transport.get_extra_info(name)) for name in ("peername", "sockname"))
        return peer.is_loopback or peer == own

    def send(self, message: Message) -> None:
        """Send a message; silently nothing when the link is closed: ``on_closed`` tells that."""
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            pieces = packing.pack(message)
            self._unsent.extend(pieces)
            self.waiting += sum(map(len, pieces))
            self._write()

    def pause_writing(self) -> None:
        """Keep what there is to send (asyncio calls this)."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send on (asyncio calls this)."""
        self._paused = False
        self._write()
        self.has_room()

    def pause(self) -> None:
        """Take nothing from the other side, until :meth:`resume`; what it sends waits there. Its end is not seen."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take what comes again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def _write(self) -> None:
        if self._transport is None:
            return
        while self._unsent and not self._paused:
            self._transport.writelines(self._next_slice())
        if self._closing and not self._unsent:
            self._transport.close()

    def _next_slice(self) -> list[bytes | memoryview]:
        taken: list[bytes | memoryview] = []
        room = SLICE
        while self._unsent and room:
            piece = self._unsent.popleft()
            if len(piece) > room:
                view = memoryview(piece)
                piece = view[:room]
                self._unsent.appendleft(view[room:])
            taken.append(piece)
            room -= len(piece)
            self.waiting -= len(piece)
        return taken

    async def ask(self, question: Question[A]) -> A:
        """Send a question and wait for the answer. Raises ``LinkClosed``, and the error when it is ``Refused``."""
        if self._transport is None:
            raise LinkClosed("the connection is closed")
        question.reference = next(self._references)
        waiting = self._answers[question.reference] = asyncio.get_running_loop().create_future()
        self.send(question)
        answer: A | Refused = await waiting
        if isinstance(answer, Refused):
            raise from_data(answer.error)
        return answer

    def answer(self, question: Question[Any], answer: Answer) -> None:
        """Send the answer to a question that came on this link."""
        answer.reference = question.reference
        self.send(answer)

    def refuse(self, question: Question[Any], error: JobPoolError) -> None:
        """Answer a question with an error, which is raised where it was asked."""
        self.answer(question, Refused(error=error.as_data()))

    def abandon(self) -> None:
        """In a fork: let go of this process's copy of the socket, without a word to the other side.

        As long as a copy is open anywhere, the other side does not see the connection end.
        """
        if self._transport is not None and (sock := self._transport.get_extra_info("socket")) is not None:
            # The number stays taken: nothing else may come to stand behind it, which the transport would close one day.
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, sock.fileno(), inheritable=False)
            os.close(null)

    def close(self) -> None:
        """Close after what is being sent."""
        self._closing = True
        self._write()

    def abort(self, error: Exception | None = None) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
            if error is not None and not self.closed.done():
                self.closed.set_result(error)
                self._on_closed(self, error)


def _address(name: Sequence[Any]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(name[0])
    # A socket of both families knows an address of the older one as ::ffff:127.0.0.1.
    return getattr(address, "ipv4_mapped", None) or address


def in_parts(holders: Sequence[H], *, limit: int = PART) -> Iterator[list[H]]:
    """Yield what holds contents in lists, each with ``limit`` bytes of content at most, or of one item."""
    sizes = [len(holder.payload) for holder in holders]
    if sum(sizes) <= limit:
        if holders:
            yield list(holders)
        return
    start = have = 0
    for place, size in enumerate(sizes):
        if place > start and have + size > limit:
            yield list(holders[start:place])
            start, have = place, 0
        have += size
    yield list(holders[start:])


async def introduce(
    addresses: Sequence[str],
    port: int,
    context: ssl.SSLContext,
    make: Callable[[], Link],
    question: Question[A],
    *,
    patience: float,
    wanted: Callable[[], bool],
) -> tuple[str, Link, A]:
    """Dial, ask the first question, and return the address that answered, the link and the answer.

    Whoever is turned away tries again, for ``patience`` seconds as long as ``wanted()``: the server does that when many
    come at once, and may do so when the handshake is over for this side (TLS 1.3). Raises ``Unreachable`` or
    ``LinkClosed``.
    """
    end, said = time.monotonic() + patience, ""
    while True:
        try:
            address, link = await dial(addresses, port, context, make)
            try:
                answer = await link.ask(question)
                if link.closed.done():
                    raise LinkClosed("the connection was closed")
            except BaseException:
                link.abort()
                raise
            return address, link, answer
        except (Unreachable, LinkClosed) as error:
            if time.monotonic() > end or not wanted():
                raise
            if str(error) != said:
                said = str(error)
                log.info("%s", said)
            await asyncio.sleep(AGAIN)


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
            try:
                _, link = await loop.create_connection(make, address, port, ssl=context)
            except RuntimeError as error:  # a name is looked up in a thread, and there may be none to be had
                raise OSError(errno.EAGAIN, str(error)) from error
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
                late.abort()
    tried = "\n".join(f"    {address} port {port}: {_why(error)}" for address, error in errors.items())
    raise Unreachable(f"no address of the server answered; tried:\n{tried}")


def _why(error: OSError) -> str:
    # asyncio words a refused connection as "Connect call failed ('127.0.0.1', 42269)".
    if isinstance(error, TimeoutError):
        return "no answer in time (a firewall, or a network that the nodes do not share)"
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or "the connection was closed before it began (too many at once, or the server ends)"
