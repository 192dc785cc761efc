"""The worker's side of ``rests``: it sends what it has to say, and rings when that shall be read now."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from jobpool.worker.shared_page import RESTING

__all__ = ["ROOM", "Wakeup"]

ROOM = 8 * 1024
"""Bytes that may lie unread: less than a socket takes, or its worker would have to wait; and the results of calls that
take microseconds are read while the next of them run."""


class Wakeup:
    """Rings at the agent of one worker."""

    def __init__(self, bell: socket.socket, words: memoryview[Any]) -> None:
        self._bell, self._words = bell, words
        self._unread = 0

    @property
    def waits(self) -> bool:
        """Whether the agent reads nothing until it hears the bell, or looks by itself."""
        return bool(self._words[RESTING])

    def is_full(self, size: int) -> bool:
        """Count bytes that are about to be sent. True: they have to be read meanwhile."""
        self._unread += size
        return self._unread > ROOM

    def ring(self) -> None:
        """Have the agent read, and go on reading."""
        self._unread, self._words[RESTING] = 0, 0
        with contextlib.suppress(OSError):  # so many have rung that it will look anyway; or a call has closed it
            self._bell.send(b"\0", socket.MSG_DONTWAIT)
