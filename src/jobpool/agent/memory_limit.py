"""Looks at the memory of the workers' process trees, as often as each needs, and tells which is above its limit.

A tree that holds ``memory`` of ``limit`` bytes and grows by ``growth`` a second is at its limit in ``(limit - memory) /
growth`` seconds. That is when it is looked at next: a tree far below its limit twice a second, one that runs into it a
hundred times. What all this may cost is a share of the job's CPU time; when that is spent, looks come later.

Several processes that share pages (a pool that the call has forked) hold less than the sum of what each holds. The sum
is quick to get, the truth (PSS) is not. So the truth is looked up from time to time, the sum tells what came since, and
no tree is above its limit before the truth says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from jobpool.agent.oom_kills import OomKills
from jobpool.agent.slot import Slot
from jobpool.worker.meter import shared_out, tree_memory

__all__ = ["MemoryLimit"]

LOOK_EVERY = 0.5
"""Seconds between two looks at a tree, at most."""

LOOK_LEAST = 0.01
"""Seconds between two looks at a tree, at least. It grows by some 20 MiB meanwhile, and the job has 256 MiB for it."""

LEAST_GROWTH = 2**30
"""Bytes a second by which any tree may grow from now on: what one thread writes to fresh memory is 1 to 3 GiB/s. One
that grew faster is thought to go on twice as fast."""

SHARE = 0.01
"""Share of a CPU that a job's meter may cost."""

SAVED = 0.02
"""Seconds of CPU time that are saved up at most, for trees that need a look all at once."""

MOST = 0.01
"""Seconds of CPU time that a look is taken to cost at most, besides what it looks up of shared pages. While a job runs
out of memory, the kernel's search for free pages is charged to whoever needs one: a look may take a second then, and
should not be the last one for minutes."""

WAKE = 0.00005
"""Seconds of CPU time that the loop takes to wake up for a look."""


class _Purse:
    """CPU time that may be spent: a share of the time that passes."""

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._full_at = now  # when everything that was spent is back
        self._saved = SAVED / share

    def open_at(self) -> float:
        """Return when there is something in it."""
        return self._full_at - self._saved

    def spend(self, seconds: float, now: float) -> None:
        """Take so much out of it; it may owe."""
        self._full_at = max(self._full_at, now) + seconds / self._share


class MemoryLimit:
    """Watches the workers that have calls. ``over`` is called for a tree above the limit."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        busy: Callable[[], list[Slot]],
        kills: OomKills,
        *,
        limit: int | None,
        over: Callable[[Slot], None],
    ) -> None:
        self._loop, self._busy, self._oom_kills, self._limit, self._over = loop, busy, kills, limit, over
        self._next: asyncio.TimerHandle | None = None
        now = loop.time()
        # That one is empty must not keep the others shut: a proof is what a tree is stopped for.
        self._looks, self._counts, self._proofs = (_Purse(SHARE * part, now) for part in (0.5, 0.25, 0.25))

    def soon(self, slot: Slot) -> None:
        """Watch a worker that got calls."""
        now, sight = self._loop.time(), slot.sight
        if sight.due <= now:  # else it was looked at a moment ago
            sight.due = self._due(slot, now)
        if self._next is None or self._next.when() > sight.due:
            self._set(sight.due)

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def _set(self, when: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._loop.call_at(max(when, self._looks.open_at()), self._look)

    def _look(self) -> None:
        self._next = None
        slots = self._busy()  # reads what they have said first, which is not the meter's cost
        now, begin = self._loop.time(), time.thread_time()
        self._oom_kills.look()
        spent = 0.0
        for slot in slots:
            if slot.sight.due <= now:
                spent += self._look_at(slot, now)
        self._looks.spend(min(WAKE + time.thread_time() - begin - spent, MOST), now)
        if slots:
            self._set(min(slot.sight.due for slot in slots))

    def _look_at(self, slot: Slot, now: float) -> float:
        """Look at one tree; return the CPU seconds of looking up what its processes share."""
        sight, spent = slot.sight, 0.0
        tree = tree_memory(slot.pid) if slot.pid is not None and slot.over is None else {}
        held = sum(tree.values())
        if len(tree) > 1 and (purse := self._purse(held - sight.shared)) and purse.open_at() <= now:
            begin = time.thread_time()
            sight.shared = held - min(held, shared_out(tree))
            spent = time.thread_time() - begin
            purse.spend(spent, now)
            proven = True
        else:
            proven = len(tree) == 1
            sight.shared = min(sight.shared, held) if len(tree) > 1 else 0
        if tree:
            slot.note_memory(tree, held - sight.shared, now)
        sight.due = self._due(slot, now)
        if tree and proven and self._limit is not None and slot.memory > self._limit:
            self._over(slot)
        return spent

    def _purse(self, guess: int) -> _Purse:
        return self._counts if self._limit is None or guess <= self._limit else self._proofs

    def _due(self, slot: Slot, now: float) -> float:
        """Say when a tree has to be looked at next."""
        pause = LOOK_EVERY
        if self._limit is not None:
            growth = max(LEAST_GROWTH, 2 * slot.sight.growth)
            pause = min(max((self._limit - slot.sight.memory) / growth, LOOK_LEAST), LOOK_EVERY)
        # All that are far from their limits are looked at together.
        return now + pause if pause < LOOK_EVERY else (now // LOOK_EVERY + 1) * LOOK_EVERY
