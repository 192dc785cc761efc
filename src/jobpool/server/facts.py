"""What a pool's server tells of the pool: its status, its record, and the notices that were given."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from jobpool.core import events as e
from jobpool.core.steps.engine import Core
from jobpool.host.home import PoolDirectory
from jobpool.model.run_record import RunRecord
from jobpool.model.status import Notice, PoolStatus
from jobpool.server.batch_client import BatchClient

__all__ = ["PoolFacts"]

log = logging.getLogger("jobpool.server.facts")


class PoolFacts:
    """The status, the record and the notices of one pool."""

    def __init__(
        self, directory: PoolDirectory, system: str, core: Core, batch: BatchClient, now: Callable[[], float]
    ) -> None:
        self._directory, self._core, self._batch, self._now = directory, core, batch, now
        self.system = system
        """The batch system's name."""
        self.notices: deque[Notice] = deque(maxlen=100)
        """The last sentences for the user, and whether each is a warning."""

    def note(self, text: str, *, warning: bool) -> None:
        """Keep a notice."""
        log.log(logging.WARNING if warning else logging.INFO, "%s", text)
        self.notices.append(Notice(text, warning))

    def record(self) -> RunRecord:
        """Return what happened so far, for the report."""
        return RunRecord.of(
            self._core.record(self._now()),
            name=self._directory.name,
            system=self.system,
            host=os.uname().nodename,
            ended_at=time.time(),
            logs=self._batch.log_directory,
        )

    def whole_record(self) -> RunRecord:
        """Return the record with the status, as it is written down from time to time."""
        return replace(self.record(), status=self.status())

    def status(self) -> PoolStatus:
        """Return the status of the pool."""
        snapshot = self._core.snapshot(self._now())
        jobs = tuple(replace(job, log=self._batch.log_path(e.JobKey(*job.key))) for job in snapshot.jobs)
        return PoolStatus.of(
            replace(snapshot, jobs=jobs),
            name=self._directory.name,
            system=self.system,
            host=os.uname().nodename,
            pid=os.getpid(),
            logs=self._batch.log_directory,
            notices=tuple(self.notices),
        )
