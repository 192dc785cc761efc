"""A worker's place in a job, as the agent keeps it: which process serves it, and which calls it has."""

from __future__ import annotations

import enum
import os
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from jobpool.agent.channel import Channel
from jobpool.model.call import Call
from jobpool.transport.link import in_parts
from jobpool.transport.messages.base import Function, Functions
from jobpool.transport.messages.worker import Forget
from jobpool.worker.shared_page import BASE, BEGUN, IDLE, MAIL, SharedPage

__all__ = ["TAIL", "Over", "Sight", "Slot", "State"]

TAIL = 4096
"""Bytes of a dead worker's output that travel with the news: some 40 lines."""


EARLIER = 1024 * 1024
"""Bytes of pickles of functions that a worker keeps beside the latest of that name."""


class State(enum.Enum):
    """What a worker does."""

    STARTING = "starting"
    """Its process is asked for, or runs the initializer."""
    IDLE = "idle"
    """It waits for calls, unless its place is taken."""
    BUSY = "busy"
    """It has calls."""
    LEAVING = "leaving"
    """It has run all it may and ends; another has its number."""


@dataclass(frozen=True, slots=True)
class Over:
    """Why a worker is killed by its agent."""

    call: int
    limit: int | None = None
    """Bytes of the limit that it is above. None: the kernel has killed a process of the call."""
    left: int = 0
    """Bytes that earlier calls have left in it."""
    late: bool = False
    """Not for memory: the call has run for longer than it may."""


@dataclass(slots=True)
class Sight:
    """What was last seen of a worker's process tree, whichever call it ran."""

    due: float = 0.0
    """When to look next, on the loop's clock."""
    at: float = 0.0
    """When it was looked at."""
    memory: int = 0
    """Bytes that it held."""
    growth: float = 0.0
    """Bytes a second that it grew by."""
    tree: Mapping[int, int] = field(default_factory=dict)
    """The bytes of each process."""
    shared: int = 0
    """Bytes that are counted more than once in these."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One worker process, from the order to fork it to its death."""

    token: int
    """Names the process towards the fork-server; never used again."""
    number: int
    log: int
    """A descriptor of what the process writes to, which others have, too."""
    log_start: int
    """Where in the log the output of the current call begins."""
    shared_page: SharedPage
    channel: Channel = field(init=False)
    pid: int | None = None
    state: State = State.STARTING
    resting: bool = False
    """What it says is read from time to time (``deferred_reads``): what is known of its calls may be as old as that."""
    taken: bool = False
    """A task in the agent's threads has its place: it gets no calls."""
    calls: deque[Call] = field(default_factory=deque)
    """Handed to the process and not done; the first one runs."""
    defined: set[str] = field(default_factory=set)
    retracted: set[int] = field(default_factory=set)
    killed: set[int] = field(default_factory=set)
    alarm: TimerHandle | None = None
    """Rings when the current call has run for as long as it may."""
    served: int = 0
    since: float = 0.0
    """When the current call began, on the loop's clock."""
    told: bool = False
    """Whether the current call was reported as started."""
    memory: int = 0
    """Bytes of the process tree when it was last looked at during the current call; 0: not yet."""
    peak: int = 0
    sight: Sight = field(default_factory=Sight)
    over: Over | None = None
    """Why it is being killed."""

    def begin(self, calls: Collection[Call], now: float) -> None:
        """Take a bundle."""
        self.calls.extend(calls)
        self._next(now)

    def define(self, functions: Mapping[str, Function], waiting: Iterable[object]) -> None:
        """Send the functions of its calls, and have it forget earlier ones of their names, when they become large.

        Such a one is usually a function as it was before a change, with all the variables that it used then; but it may
        be another one that is called in turns with it. ``waiting`` are bundles of calls that may need it. Should
        another call need it again, it is sent again.
        """
        needed = {call.function for call in self.calls}
        new = needed - self.defined
        if not new:
            return
        names = set(map(_name, new))
        earlier = {key for key in self.defined - needed if _name(key) in names}
        if sum(len(functions[key].payload) for key in earlier) > EARLIER:
            earlier -= {call.function for bundle in waiting if isinstance(bundle, deque) for call in bundle}
            self.channel.send(Forget(list(earlier)))
            self.defined -= earlier
        for part in in_parts([functions[key] for key in new]):
            self.channel.send(Functions(part))
        self.defined |= new

    def finish(self, id: int, rows: int, now: float, log_end: int) -> None:
        """Take note that a call is done, or some rows, and so the next one runs."""
        if self.calls and self.calls[0].id == id:
            call = self.calls.popleft()
            self.retracted.discard(id)
            if rows < call.rows:
                rest = call.cut(rows)[1]
                self.calls.appendleft(rest)
                if id in self.killed:
                    self.killed.add(rest.id)
        self.served += rows or 1
        self.log_start = log_end
        self._next(now)

    def skip(self, ids: Collection[int], now: float) -> bool:
        """Take note that calls were retracted in time. Returns whether another call runs for that."""
        first = self.calls[0].id if self.calls else None
        self.calls = deque(call for call in self.calls if call.id not in ids)
        self.retracted.difference_update(ids)
        if first not in ids:
            return False
        self._next(now)
        return bool(self.calls)

    def close(self) -> None:
        """Let go of what is shared with the process, which ends then if it has not."""
        self.resting = False
        self._stop_alarm()
        self.channel.close()
        self.shared_page.close()

    @property
    def has_several(self) -> bool:
        """Whether calls wait behind the one that runs."""
        return len(self.calls) > 1 or (bool(self.calls) and self.calls[0].items > 1)

    def announce(self) -> None:
        """Let the worker begin nothing more before it has read a message, which has to follow."""
        self.shared_page.words[MAIL] += 1

    @property
    def begun(self) -> int:
        """The id of the call, or row, that was begun last. Holds from ``ORDERED`` seconds after the announcement on."""
        return int(self.shared_page.words[BEGUN])

    def not_begun(self, begun: int) -> tuple[tuple[Call, int] | None, list[Call]]:
        """Return the rows that have to be cut, and where, if any have to; and the calls that have not begun."""
        calls = list(self.calls)
        for slot, call in enumerate(calls):
            if begun in call.ids:
                at = begun - call.id + 1
                return (call, at) if at < call.items else None, calls[slot + 1 :]
        return None, calls

    def note_memory(self, tree: Mapping[int, int], memory: int, now: float) -> None:
        """Take note of what the process tree holds now, in all and each process of it."""
        self.memory, self.peak = memory, max(memory, self.peak)
        seen = self.sight
        if seen.at:
            seen.growth = (memory - seen.memory) / max(now - seen.at, 0.001)
        seen.at, seen.memory, seen.tree = now, memory, tree

    @property
    def unwanted(self) -> set[int]:
        """The calls that somebody does not want any more."""
        return self.killed | self.retracted

    @property
    def runs_what_is_wanted(self) -> bool:
        """Whether the first of its calls has begun, and nobody wants it back."""
        return bool(self.calls) and self.begun in self.calls[0].ids and self.calls[0].id not in self.unwanted

    @property
    def was_stopped_for_another(self) -> bool:
        """Whether it is killed for a call that ended just before: what runs now is not to blame."""
        return self.over is not None and (not self.calls or self.calls[0].id != self.over.call)

    def stop_for(self, limit: int | None) -> None:
        """Take note that it is killed for memory, in the call that runs now."""
        self.over = Over(self.calls[0].id, limit, self.shared_page.words[IDLE] - self.shared_page.words[BASE])

    def tail(self) -> str:
        """Return the last lines of what the process has written since the current call began."""
        try:
            end = os.fstat(self.log).st_size
            start = max(self.log_start, end - TAIL)
            text = os.pread(self.log, end - start, start).decode(errors="replace") if end > start else ""
        except OSError:
            return ""
        return text.partition("\n")[2] if start > self.log_start else text

    def with_tail(self, words: str) -> str:
        """Add those lines, if there are any, to something that is to be said."""
        return "\n".join(filter(None, (words, self.tail())))

    def set_alarm(self, when: float, loop: AbstractEventLoop, ring: Callable[[Slot, int], None]) -> None:
        """Have this called at that time of the loop's clock, unless the current call is over by then."""
        self._stop_alarm()
        self.alarm = loop.call_at(when, ring, self, self.calls[0].id)

    def put_off(self, seconds: float, loop: AbstractEventLoop, ring: Callable[[Slot, int], None]) -> None:
        """Have it called so much later, if it is to be called."""
        if self.alarm is not None:
            self.set_alarm(self.alarm.when() + seconds, loop, ring)

    def _stop_alarm(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None

    def _next(self, now: float) -> None:
        self._stop_alarm()
        self.since, self.told, self.memory, self.peak = now, False, 0, 0
        self.sight.tree = {}  # what ends from now on was not of this call


def _name(key: str) -> str:
    """Return a function's name, which stands in its key behind a hash."""
    return key.partition(":")[2] or key
