"""Takes connections in. Who has not proved to hold the key costs little, and never the place of those who have.

Any user of this host, and any host of its network, can open connections and say nothing: each takes a descriptor and a
third of a megabyte. So they are few, each has little time, and the oldest makes way for a new one; an honest one is
through in milliseconds, and tries again when it was not. asyncio's own servers take all that come, and when no
descriptor is left they say so a thousand times a second.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from jobpool.host import descriptors
from jobpool.transport.link import Link

__all__ = ["Listener"]

log = logging.getLogger("jobpool.server.listener")

MOST = 256
"""Connections that have proved nothing yet, at most; a quarter of the descriptors where these are few."""

DEADLINE = 30.0
"""Seconds for the handshake. Our own side gives up after ten."""

RESERVE = 64
"""Descriptors that no connection gets, a quarter where they are few: each command of the batch system takes eight."""

PAUSE = 0.2
"""Seconds before the next try, when there was no descriptor or no memory for a connection."""

QUIET = 60.0
"""Seconds between two lines of the log about who was turned away."""


class Listener:
    """Listens, until it is closed; the connections go on."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext, make: Callable[[], Link]) -> None:
        """``make`` returns one end of a connection whose other side has proved to hold the key."""
        self._socket, self._context, self._make = listening, context, make
        self._loop = asyncio.get_running_loop()
        descriptors_here = descriptors.most()
        self._most = max(5, min(MOST, descriptors_here // 4))
        self._highest = descriptors_here - min(RESERVE, descriptors_here // 4)
        self._unproven: dict[asyncio.Task[None], None] = {}
        """In the order in which they came."""
        self._turned_away, self._next_word = 0, 0.0
        listening.setblocking(False)
        self._accepting = self._loop.create_task(self._accept())

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        """Take nobody in any more."""
        self._accepting.cancel()
        self._socket.close()
        for task in self._unproven:
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(self._socket)
            except (OSError, MemoryError) as error:
                self._note(str(error), None)
                await asyncio.sleep(PAUSE)
                self._drop_oldest()
                continue
            if connection.fileno() >= self._highest:
                connection.close()
                self._note("too few descriptors are left", address)
            else:
                if len(self._unproven) >= self._most:
                    self._drop_oldest()
                task = self._loop.create_task(self._prove(connection, address))
                self._unproven[task] = None
                task.add_done_callback(lambda task: self._unproven.pop(task, None))
            await asyncio.sleep(0)  # one at a time: what is proven has its turn between any two

    async def _prove(self, connection: socket.socket, address: Any) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make, connection, ssl=self._context, ssl_handshake_timeout=DEADLINE
            )
        except OSError as error:
            self._note(str(error), address)
        except asyncio.CancelledError:
            connection.close()  # it may not have begun
            self._note("others came", address)

    def _drop_oldest(self) -> None:
        if (oldest := next(iter(self._unproven), None)) is not None:
            del self._unproven[oldest]
            oldest.cancel()

    def _note(self, why: str, address: Any) -> None:
        self._turned_away += 1
        if (now := self._loop.time()) >= self._next_word:
            log.warning("turned away %d connections, the last from %s: %s", self._turned_away, address, why)
            self._turned_away, self._next_word = 0, now + QUIET
