"""Detects that the peer's host does not answer, as opposed to a process there that reads nothing.

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
"""Seconds without any answer of the peer's kernel after which its host counts as dead: a switch needs half a minute to
restart."""

LOOK_EVERY = 5.0
"""Seconds between two checks. Each is one system call."""

_TCP_INFO = struct.Struct("=8B13I")
"""The beginning of ``struct tcp_info`` in <linux/tcp.h>."""


class _Socket(Protocol):
    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


class PeerSilence:
    """The host at the other end of a connection, as this host's kernel sees it."""

    def __init__(self, connection: _Socket) -> None:
        self._connection = connection
        self._unanswered: tuple[float, int] | None = None
        """Since when a segment has not been acknowledged, and how often it had been retransmitted when that was
        noticed."""
        # While nothing is being sent, the kernel sends probes, and closes the connection after a minute without answer.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def is_silent(self) -> bool:
        """Return whether the host has not answered for a minute. Call this every ``LOOK_EVERY`` seconds."""
        try:
            info = _TCP_INFO.unpack(self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        except (
            OSError,
            struct.error,
        ):  # closed meanwhile; or the kernel has no tcp_info, and keepalive has to detect the loss
            return False
        retransmits, probes, unacknowledged = info[2], info[3], info[12]
        # In milliseconds. An answer counts even if it accepts no data (a zero window). An old answer may mean an old
        # probe: the kernel probes a full window less and less often, down to once in two minutes.
        sent, heard = info[17], min(info[19], info[20])
        if not (probes or (unacknowledged and sent < heard)):
            self._unanswered = None
            return False
        now, again = time.monotonic(), retransmits + probes
        if self._unanswered is None or self._unanswered[0] < now - heard / 1000:
            self._unanswered = now, again
        since, before = self._unanswered
        return now - since >= SILENT and again > before  # one lost packet is no proof
