"""What is reported of a job's workers and their calls: mostly messages to the server, as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from jobpool.model.call import Outcome
from jobpool.transport.messages.agent import Cut, Died, Done, Returned, Started
from jobpool.transport.messages.base import Checkpointed, Remark
from jobpool.transport.messages.worker import NoCheckpoint

__all__ = ["CannotStart", "Full", "InitializerError", "Report", "Reporter"]


@dataclass(frozen=True, slots=True)
class InitializerError:
    """The initializer raised. No worker is started any more; the calls that wait are returned."""

    text: str
    """The exception in one line, and the last lines of the worker's output."""
    exception: bytes = field(default=b"", repr=False)
    """For ``pickling.loads_exception``."""


@dataclass(frozen=True, slots=True)
class CannotStart:
    """No worker can be brought up, again and again. None is started any more; the calls that wait are returned."""

    text: str


@dataclass(frozen=True, slots=True)
class Full:
    """The job's memory is full, and stays so whatever ends here. No call is begun any more; the agent has to leave."""

    text: str


Report = (
    Started
    | Done
    | Returned
    | Cut
    | Checkpointed
    | NoCheckpoint
    | Died
    | Full
    | Remark
    | InitializerError
    | CannotStart
)


HOLD = 0.100
"""Seconds that news of a call may wait for others while there is work for its worker: a message costs 1 ms of CPU on
its way. No worker waits meanwhile, and nobody sees that a result comes this much later."""

LARGE = 64 * 1024
"""Bytes of a result that waits for no others: it costs more than its message, and many of them would pile up here."""


class Reporter:
    """Collects what happens in one iteration of the loop, and reports it together: the server pays for each message."""

    def __init__(self, report: Callable[[Report], None], loop: asyncio.AbstractEventLoop) -> None:
        self._report = report
        self._loop = loop
        self._next: asyncio.Handle | None = None
        self._held = False
        self._started: list[int] = []
        self._done: list[Outcome] = []
        self._returned: list[int] = []
        self._others: list[Report] = []

    def started(self, id: int, *, more: bool) -> None:
        """A call runs; ``more``: its worker has others behind it."""
        self._started.append(id)
        self._later() if more else self._soon()

    def done(self, outcome: Outcome, *, more: bool) -> None:
        """A call is over; ``more``: its worker has work behind the call that it begins now."""
        self._done.append(outcome)
        self._later() if more and len(outcome.payload) < LARGE else self._soon()

    def returned(self, *ids: int) -> None:
        """Calls are given back."""
        self._returned += ids
        self._soon()

    def cut(self, id: int, at: int) -> None:
        """Rows are cut in two. What is said before and after it may name other rows, so it is said in its place."""
        self.flush()
        self._report(Cut(id, at))

    def other(self, report: Report) -> None:
        """Something rare happened."""
        self._others.append(report)
        self._soon()

    def flush(self) -> None:
        """Report what there is, now."""
        if self._next is not None:
            self._next.cancel()
        self._next, self._held = None, False
        started, self._started = self._started, []
        done, self._done = self._done, []
        returned, self._returned = self._returned, []
        others, self._others = self._others, []
        over = {outcome.call for outcome in done}
        if started := [id for id in started if id not in over]:
            self._report(Started(tuple(started)))
        if done:
            self._report(Done(done))
        for report in others:
            self._report(report)
        if returned:
            self._report(Returned(tuple(returned)))

    def _later(self) -> None:
        if self._next is None:
            self._next, self._held = self._loop.call_later(HOLD, self.flush), True

    def _soon(self) -> None:
        if self._held and self._next is not None:
            self._next.cancel()
            self._next, self._held = None, False
        if self._next is None:
            self._next = self._loop.call_soon(self.flush)
