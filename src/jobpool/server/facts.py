"""What a pool's server tells of the pool: its status, its record, and the notices that were given."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from jobpool.core import events as e
from jobpool.core.steps.engine import Core
from jobpool.host.home import PoolDirectory
from jobpool.server.batch_client import BatchClient

__all__ = ["PoolFacts"]

log = logging.getLogger("jobpool.control")


class PoolFacts:
    """Plain data about one pool, as they are asked for now."""

    def __init__(
        self, directory: PoolDirectory, system: str, core: Core, batch: BatchClient, now: Callable[[], float]
    ) -> None:
        self._directory, self._core, self._batch, self._now = directory, core, batch, now
        self.system = system
        """The batch system's name."""
        self.notices: deque[tuple[str, bool]] = deque(maxlen=100)
        """The last sentences for the user, and whether each is a warning."""

    def note(self, text: str, *, warning: bool) -> None:
        """Keep a notice."""
        log.log(logging.WARNING if warning else logging.INFO, "%s", text)
        self.notices.append((text, warning))

    def record(self) -> dict[str, Any]:
        """Return what happened so far, for the report."""
        record = self._core.record(self._now())
        about = {"name": self._directory.name, "system": self.system, "host": os.uname().nodename}
        return {**about, "ended_at": time.time(), "logs": str(self._batch.log_directory), **record}

    def whole_record(self) -> dict[str, Any]:
        """Return the record with the status, as it is written down from time to time."""
        return {**self.record(), "status": self.status()}

    def status(self) -> dict[str, Any]:
        """Return how the pool is."""
        snapshot = self._core.snapshot(self._now()).as_data()
        for job in snapshot["jobs"]:
            path = self._batch.log_path(e.JobKey(*job["key"]))
            job["log"] = None if path is None else str(path)
        return {
            "name": self._directory.name,
            "system": self.system,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "logs": str(self._batch.log_directory),
            **snapshot,
            "notices": [list(notice) for notice in self.notices],
        }
