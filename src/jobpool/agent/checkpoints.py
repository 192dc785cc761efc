"""The agent's side of checkpoints (the worker's: ``checkpoint_signal``): who is asked, and who has not answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from jobpool.agent.slot import Slot
from jobpool.worker.shared_page import CHECKPOINT_SIGNAL, OFFERS

__all__ = ["SLOW", "Checkpoints"]

LOOK_EVERY = 0.25
"""Seconds between two looks for calls that can be asked: one may just unpickle its arguments at the first."""

SLOW = 2.0
"""Seconds after a signal of the batch system in which a checkpoint should be there. Some sites kill a job
3 s later, and then nobody could tell the user any more."""


class Checkpoints:
    """Asks each call that runs and offers one for a checkpoint, once, from :meth:`ask` on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, busy: Callable[[], list[Slot]]) -> None:
        self._loop, self._busy = loop, busy
        self._asked: set[int] = set()
        self._failed: set[int] = set()
        self._next: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Ask now, and those that begin later."""
        for slot in self._busy():
            id = slot.calls[0].id
            if id not in self._asked and slot.pid and slot.shared_page.words[OFFERS] == id + 1:
                self._asked.add(id)
                with contextlib.suppress(ProcessLookupError):  # it has just died
                    os.kill(slot.pid, CHECKPOINT_SIGNAL)
        self.close()
        self._next = self._loop.call_later(LOOK_EVERY, self.ask)

    def failed(self, id: int) -> None:
        """Take note that a call has none."""
        self._failed.add(id)

    @property
    def pending(self) -> bool:
        """Whether a call that was asked still runs, and has not said no."""
        waited_for = self._asked - self._failed
        return any(slot.calls[0].id in waited_for for slot in self._busy())

    def close(self) -> None:
        """Ask no more."""
        if self._next is not None:
            self._next.cancel()
