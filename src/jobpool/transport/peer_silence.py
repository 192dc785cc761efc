"""Whether the other end's host still answers, told apart from a process there that reads nothing.

A process that is stopped, or busy for minutes, lets what is sent to it pile up; its kernel says so to every question of
ours, for as long as it takes. A host that lost its power, or a network that is cut, says nothing at all. The kernel's
own ``TCP_USER_TIMEOUT`` ends both after the same time, and keepalive asks only while nothing is on its way; so what is
on its way is watched here.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Protocol

__all__ = ["LOOK_EVERY", "SILENT", "PeerSilence"]

SILENT = 60.0
"""Seconds without an answer of the other kernel to anything after which its host counts as dead: a switch that starts
again takes half a minute."""

LOOK_EVERY = 5.0
"""Seconds between two looks. Each is one system call."""

_TCP_INFO = struct.Struct("=8B13I")
"""The beginning of ``struct tcp_info`` in <linux/tcp.h>."""


class _Socket(Protocol):
    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


class PeerSilence:
    """The host at the other end of one connection, as this one's kernel hears of it."""

    def __init__(self, connection: _Socket) -> None:
        self._connection = connection
        self._unanswered: tuple[float, int] | None = None
        """Since when something of ours has no answer, and how often it had been sent again when that was seen."""
        # While nothing is on its way the kernel asks, and ends the connection after a minute without an answer.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def is_silent(self) -> bool:
        """Say whether it has answered nothing for a minute. To be asked every ``LOOK_EVERY`` seconds."""
        try:
            info = _TCP_INFO.unpack(self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        except (OSError, struct.error):  # closed just now; or a kernel without it, where keepalive has to do
            return False
        retransmits, probes, unacknowledged = info[2], info[3], info[12]
        # In milliseconds. An answer counts though it takes nothing: "my window is full". Where the last one is old, so
        # is our last question: the kernel asks a full window ever more rarely, down to once in two minutes.
        sent, heard = info[17], min(info[19], info[20])
        if not (probes or (unacknowledged and sent < heard)):
            self._unanswered = None
            return False
        now, again = time.monotonic(), retransmits + probes
        if self._unanswered is None or self._unanswered[0] < now - heard / 1000:
            self._unanswered = now, again
        since, before = self._unanswered
        return now - since >= SILENT and again > before  # one lost packet proves nothing
