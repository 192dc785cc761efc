"""A page of memory that an agent shares with one worker: where the worker is, and whether there is mail for it.

A worker in a long call reads nothing, and yet what waits behind that call shall run elsewhere. So the agent has to take
calls back without the worker's help, and must know which one has begun::

    agent                                    worker, before each call
    announce: mail += 1                      begun = the call's id
    wait ORDERED                             mail as I have seen it?  yes: begin the call
    read begun; all behind it is mine                                 no: begun = NOTHING, wait for the message
    send the message ("retract", ...)

Each writes its own word before it reads the other's, so whatever the worker begins after the announcement, it has read
the message first. A processor may delay a store behind a load; ``ORDERED`` is a thousand times as long as that takes.
"""

from __future__ import annotations

import mmap
import os
import signal

__all__ = [
    "BASE",
    "BEGUN",
    "CHECKPOINT_SIGNAL",
    "IDLE",
    "MAIL",
    "NOTHING",
    "OFFERS",
    "ORDERED",
    "RESTING",
    "SharedPage",
    "make",
]

BEGUN, MAIL = 0, 1
"""Places of the two words: the id of the call that was begun last; messages that were announced."""

BASE, IDLE = 2, 3
"""Places of two more: bytes that the worker held after its first call, and those that it held when it looked last."""

OFFERS = 4
"""Place of a word: 1 more than the id of the call that can leave a checkpoint now. 0: none can."""

CHECKPOINT_SIGNAL = int(signal.SIGRTMIN) + 9
"""The signal that asks that call for its checkpoint: one that neither batch systems nor libraries use; SIGUSR1 and
SIGUSR2 belong to the calls. It stands here, and not with the code that takes a checkpoint, since the agent sends it and
does not load what can open a pickle."""

RESTING = 5
"""Place of one more: 1 while the agent reads what the worker says from time to time only (``rests``)."""

NOTHING = 2**64 - 1
"""Stands for the call's id when the worker reads its mail."""

ORDERED = 0.001
"""Seconds between the announcement and the look at ``begun``."""


class SharedPage:
    """The page, mapped into this process."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Give the memory back."""
        self.words.release()
        self._map.close()


def make() -> int:
    """Return a descriptor of a fresh page, all zero. Raises ``OSError``."""
    descriptor = os.memfd_create("jobpool-worker")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor
