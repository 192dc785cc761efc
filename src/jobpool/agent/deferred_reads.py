"""Lets results lie: while a worker has more calls to run, what it says is read every ``LOOK_EVERY`` or when it rings.

An agent that wakes up for each result of some milliseconds takes a CPU from a call each time, and with cold caches that
costs five times what its work does. So the results wait in the worker's socket, where they outlive the worker, too::

    agent                                       worker, with a bundle of calls
    resting = 1, hands over the bundle
    reads nothing from it                       done, done, done ...
    reads what is there, ten times a second     done, done, done ...
                                                the last one is done, much was sent, or something else is to be said:
                                                resting = 0, a byte on the wakeup
    reads it, and everything from now on

What an agent decides about a running call it decides after a look.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from jobpool.agent.slot import Slot
from jobpool.worker.shared_page import RESTING

__all__ = ["LOOK_EVERY", "DeferredReads"]

LOOK_EVERY = 0.100
"""Seconds between two looks: nobody sees that a result comes this much later, since its worker has work meanwhile."""


class DeferredReads:
    """Knows whose results lie. ``looked`` is called after each look, ``ended`` when one is read as it comes again."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slots: Mapping[int, Slot],
        *,
        looked: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop, self._slots, self._looked, self._ended = loop, slots, looked, ended
        self._next: asyncio.TimerHandle | None = None
        self._heard, self.wakeup = socket.socketpair()
        self._heard.setblocking(False)
        loop.add_reader(self._heard, self._rung)

    def begin(self, slot: Slot) -> None:
        """Let the results of a worker lie that is about to get these calls, if it may."""
        # A call that may take so long and no longer is looked after from its begin on.
        if not slot.has_several or any(call.timeout is not None for call in slot.calls):
            self.end(slot)
            return
        slot.shared_page.words[RESTING] = 1
        if not slot.resting:
            slot.resting = True
            slot.channel.pause()
        if self._next is None:
            self._next = self._loop.call_later(LOOK_EVERY, self._look)

    def end(self, slot: Slot) -> None:
        """Read a worker's results as they come."""
        if slot.resting:
            slot.resting = False
            slot.shared_page.words[RESTING] = 0
            slot.channel.resume()
            self._ended()

    def catch_up(self) -> None:
        """Read what lies there now."""
        for slot in self._resting():
            slot.channel.drain()

    def busy(self) -> list[Slot]:
        """Return the workers that have calls, as is known after a look."""
        self.catch_up()
        return [slot for slot in self._slots.values() if slot.calls]

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
        if self._heard.fileno() >= 0:
            self._loop.remove_reader(self._heard)
        self._heard.close()
        self.wakeup.close()

    def _resting(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.resting]

    def _look(self) -> None:
        self._next = None
        self.catch_up()
        for slot in self._resting():
            if not slot.shared_page.words[RESTING]:  # it rang, and could not wake this process
                self.end(slot)
        self._looked()
        if self._next is None and self._resting():
            self._next = self._loop.call_later(LOOK_EVERY, self._look)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)
        for slot in self._resting():
            if not slot.shared_page.words[RESTING]:
                slot.channel.drain()
                if slot.resting and not slot.shared_page.words[RESTING]:  # it got no new bundle
                    self.end(slot)
