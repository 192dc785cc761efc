"""What happened so far, on the disk, so that it is known when the server is killed.

``record.json`` in the pool's directory holds what the report and the status are made of. It is replaced as a whole now
and then, and a last time when the pool ends in good order; what says so is ``over``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from jobpool.host.home import PoolDirectory
from jobpool.model.run_record import RunRecord

__all__ = ["Journal"]

log = logging.getLogger("jobpool.server.journal")

FIRST = 1.0
"""Seconds after which a run is written down for the first time. The pauses double from there on, up to ``PAUSE``."""

PAUSE = 10.0
"""Seconds between two times while something happens: what a user loses of an account of hours."""

IDLE = 60.0
"""Seconds between two times while nothing does: a home directory on the network serves others, too."""

COST = 200
"""Pauses are at least so many times what the collecting takes, during which the pool's loop stands still."""


class Journal:
    """Writes down what ``collect`` returns; ``look`` at it often."""

    def __init__(self, directory: PoolDirectory, collect: Callable[[], RunRecord], now: float) -> None:
        self._directory, self._collect = directory, collect
        self._pause, self._begun = FIRST, now
        self._writing: asyncio.Task[None] | None = None
        self._failed = self._closed = False
        self.news = True
        """Whether something happened since it was written."""

    def look(self, now: float) -> None:
        """Write, beside the loop, if it is time."""
        pause = self._pause if self.news else max(self._pause, IDLE)
        if now - self._begun < pause or self._busy or self._closed:
            return
        begin = time.perf_counter()
        record = self._collect()
        cost = time.perf_counter() - begin
        self._pause = max(min(2 * self._pause, PAUSE), COST * cost)
        self._begun, self.news = now, False
        self._start(replace(record, over=False))

    async def close(self) -> None:
        """Write the last time."""
        self._closed = True
        if self._writing is not None:
            await self._writing
        await self._write(replace(self._collect(), over=True))

    def _start(self, record: RunRecord) -> None:
        self._writing = asyncio.get_running_loop().create_task(self._write(record))

    @property
    def _busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    async def _write(self, record: RunRecord) -> None:
        try:
            await asyncio.to_thread(self._replace, record)
        except OSError as error:  # a full disk is no reason to end a run
            if not self._failed:
                log.warning("what happened cannot be written down: %s", error)
            self._failed = True

    def _replace(self, record: RunRecord) -> None:
        if not self._directory.replaced:
            self._directory.write("record.json", json.dumps(record.as_data()).encode())
