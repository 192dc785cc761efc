"""Finds out what the death of a worker cost, and reports it."""

from __future__ import annotations

import dataclasses
import signal
from collections import deque
from collections.abc import Callable

from jobpool.agent import deaths
from jobpool.agent.fork_client import Exit
from jobpool.agent.oom_kills import OomKills
from jobpool.agent.reports import Full, Reporter
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.slot import Slot, State
from jobpool.agent.work_queue import WorkQueue
from jobpool.model.call import Death
from jobpool.transport.messages.agent import Died

__all__ = ["Losses"]


class Losses:
    """What becomes of the calls of workers that died, or that run none any more."""

    def __init__(
        self,
        settings: WorkerSettings,
        queue: WorkQueue,
        reporter: Reporter,
        oom_kills: OomKills,
        *,
        stopping: Callable[[], bool],
        full: Callable[[], None],
    ) -> None:
        """``full`` is called when the job's memory is full for good: no more calls may begin."""
        self._settings, self._queue, self._reporter, self._oom_kills = settings, queue, reporter, oom_kills
        self._stopping, self._full = stopping, full

    def note(self, slot: Slot, how: Exit) -> bool:
        """Report what a worker's death cost. False: it was on its way out, and cost nothing."""
        slot.channel.drain()  # results sent before the death count
        # Killed by us, for one call: should that have ended just before, another may have begun, which pays for it.
        beside, pays = bool(slot.killed) or slot.was_stopped_for_another, slot.runs_what_is_wanted
        slot.close()
        if slot.state is State.LEAVING:
            return False
        if pays or not beside:
            self._blame(slot, how, beside=beside)
        self.settle(slot)
        return True

    def settle(self, slot: Slot) -> None:
        """Report what becomes of the calls of a worker that runs none any more; they are queued again."""
        returned = [call.id for call in slot.calls if call.id in slot.unwanted or self._stopping()]
        self._reporter.returned(*returned)
        if rest := deque(call for call in slot.calls if call.id not in returned):
            self._queue.add(rest, first=True)
        slot.calls.clear()

    def died(self, call: int | None, death: Death) -> None:
        """Report that a worker died while it ran this call."""
        self._reporter.other(Died(call, dataclasses.replace(death, kills=self._oom_kills.total)))
        if death.files and not self._stopping():
            self._full()  # each call after it would be killed, too
            self._reporter.other(Full(deaths.filled(death)))

    def _blame(self, slot: Slot, how: Exit, *, beside: bool) -> None:
        if not slot.calls and self._stopping():
            return
        culprit = slot.calls.popleft().id if slot.calls else None
        if beside:
            death = Death(signal=how.signal, innocent=True)
        elif slot.over is None:
            killed = how.signal == signal.SIGKILL and self._oom_kills.was_worker()
            death = deaths.died(slot, how, self._settings, killed=killed)
        else:
            death = deaths.stopped(slot, how, self._settings)
            if remark := deaths.left_behind(slot):
                self._reporter.other(remark)
        self.died(culprit, death)
