"""Lets results lie: while a worker has more calls to run, what it says is read every ``LOOK_EVERY`` or when it rings.

An agent that wakes up for each result of some milliseconds takes a CPU from a call each time, and with cold caches that
costs five times what its work does. So the results wait in the worker's socket, where they outlive the worker, too::

    agent                                       worker, with a bundle of calls
    resting = 1, hands over the bundle
    reads nothing from it                       done, done, done ...
    reads what is there, ten times a second     done, done, done ...
                                                the last one is done, much was sent, or something else is to be said:
                                                resting = 0, a byte on the bell
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
        places: Mapping[int, Slot],
        *,
        looked: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop, self._places, self._looked, self._ended = loop, places, looked, ended
        self._next: asyncio.TimerHandle | None = None
        self._heard, self.bell = socket.socketpair()
        self._heard.setblocking(False)
        loop.add_reader(self._heard, self._rung)

    def begin(self, place: Slot) -> None:
        """Let the results of a worker lie that is about to get these calls, if it may."""
        # A call that may take so long and no longer is looked after from its begin on.
        if not place.has_several or any(call.timeout is not None for call in place.calls):
            self.end(place)
            return
        place.page.words[RESTING] = 1
        if not place.resting:
            place.resting = True
            place.channel.pause()
        if self._next is None:
            self._next = self._loop.call_later(LOOK_EVERY, self._look)

    def end(self, place: Slot) -> None:
        """Read a worker's results as they come."""
        if place.resting:
            place.resting = False
            place.page.words[RESTING] = 0
            place.channel.resume()
            self._ended()

    def catch_up(self) -> None:
        """Read what lies there now."""
        for place in self._resting():
            place.channel.drain()

    def busy(self) -> list[Slot]:
        """Return the workers that have calls, as is known after a look."""
        self.catch_up()
        return [place for place in self._places.values() if place.calls]

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
        if self._heard.fileno() >= 0:
            self._loop.remove_reader(self._heard)
        self._heard.close()
        self.bell.close()

    def _resting(self) -> list[Slot]:
        return [place for place in self._places.values() if place.resting]

    def _look(self) -> None:
        self._next = None
        self.catch_up()
        for place in self._resting():
            if not place.page.words[RESTING]:  # it rang, and the bell was closed to it
                self.end(place)
        self._looked()
        if self._next is None and self._resting():
            self._next = self._loop.call_later(LOOK_EVERY, self._look)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)
        for place in self._resting():
            if not place.page.words[RESTING]:
                place.channel.drain()
                if place.resting and not place.page.words[RESTING]:  # it got no new bundle
                    self.end(place)
