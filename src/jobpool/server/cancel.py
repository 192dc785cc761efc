"""Cancelling jobs: the commands of it, a few at a time, and what their answers are worth."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from jobpool.batch.base import BatchSystem, Tracked
from jobpool.commands import shell
from jobpool.model.command import Command
from jobpool.model.job import JobId

__all__ = ["Cancels"]

log = logging.getLogger("jobpool.server.cancel")


class Cancels:
    """The cancel commands of one batch system, some of them under way.

    Nobody relies on an answer: a command that was killed at its time-out may have been carried out, one that said yes
    may have met a job between two states. Whoever cancels looks at the queue, and cancels again what is still there.
    """

    def __init__(self, system: BatchSystem) -> None:
        self._system = system
        self._under_way: set[tuple[str, ...]] = set()

    async def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> bool:
        """Cancel jobs. Returns whether there was a command for it: not every system cancels by name.

        When one gets no answer in time, the others are not begun: a master that hangs would hold each of them for as
        long. A command that is under way already is not run a second time beside itself.
        """
        commands = self._system.cancel(submissions, ids)
        waiting = deque(command for command in commands if command.argv not in self._under_way)
        await asyncio.gather(*(self._work(waiting) for _ in range(min(len(waiting), shell.AT_ONCE))))
        return bool(commands)

    async def _work(self, waiting: deque[Command]) -> None:
        while waiting:
            command = waiting.popleft()
            if command.argv in self._under_way:
                continue
            self._under_way.add(command.argv)
            try:
                done = await shell.run(command)
            finally:
                self._under_way.discard(command.argv)
            if (doubt := self._system.parse_cancel(done)) is None:
                continue
            log.warning("cancel=%s doubtful said=%r", command.argv, doubt.words[:200])
            if done.returncode is None and waiting:
                log.warning("%d more cancel commands are put off", len(waiting))
                waiting.clear()
