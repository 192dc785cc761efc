"""The agent's end of the socket to one worker: never blocks, reads all that is there at once, copies no large bytes."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice

from jobpool.transport import packing
from jobpool.transport.messages.worker import AgentToWorker, WorkerToAgent

__all__ = ["Channel"]

_HEARD: packing.Reader[WorkerToAgent] = packing.Reader(WorkerToAgent)

_READS_AT_ONCE = 16
"""Before the loop looks at other workers: 1 MiB of small messages, or some large ones."""
_PIECES_AT_ONCE = 512
"""Below the kernel's limit of 1024 pieces in one sendmsg(2)."""


class Channel:
    """Sends and receives messages. What comes in goes to ``receive`` in the loop's thread."""

    def __init__(
        self, sock: socket.socket, receive: Callable[[list[WorkerToAgent]], None], lost: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._unpacker = _HEARD.unpacker()
        self._unsent: deque[memoryview] = deque()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def send(self, message: AgentToWorker) -> None:
        """Send one message, now or when the worker has read what was sent before."""
        pieces = [memoryview(piece) for piece in packing.pack(message)]
        if self._sock.fileno() < 0:
            return  # the worker is gone; its death is reported by the fork-server
        was_idle = not self._unsent
        self._unsent.extend(pieces)
        if was_idle:
            self._send_on()
            if self._unsent:
                self._loop.add_writer(self._sock, self._writable)

    def drain(self) -> None:
        """Take in all that the worker has sent until now."""
        while self._sock.fileno() >= 0 and self._read():
            pass

    def pause(self) -> None:
        """Read nothing, but in :meth:`drain`, until :meth:`resume`."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Read what comes as it comes."""
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        """Tell the worker that there will be no more calls. Nothing is received any more."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            if self._sock.fileno() < 0 or not self._read():
                return

    def _read(self) -> bool:
        """Read and deliver once. False: nothing is there now, or nothing ever again."""
        room = self._unpacker.room()
        try:
            count = self._sock.recv_into(room)
        except BlockingIOError:
            return False
        except ConnectionError:
            count = 0
        if not count:
            self.close()
            self._lost()
            return False
        if messages := self._unpacker.filled(count):
            self._receive(messages)
        if self._unpacker.error is not None:  # a call has written to the channel's descriptor
            self.close()
            self._lost()
            return False
        return count == len(room)

    def _writable(self) -> None:
        self._send_on()
        if not self._unsent:
            self._loop.remove_writer(self._sock)

    def _send_on(self) -> None:
        try:
            while self._unsent:
                self._sent(self._sock.sendmsg(islice(self._unsent, _PIECES_AT_ONCE)))
        except BlockingIOError:
            return
        except ConnectionError:
            self._unsent.clear()  # the worker is gone; reading notices

    def _sent(self, count: int) -> None:
        while count:
            piece = self._unsent.popleft()
            if count < len(piece):
                self._unsent.appendleft(piece[count:])
                return
            count -= len(piece)
