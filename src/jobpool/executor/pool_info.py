"""What a pool tells of itself and of its request: the part of the face that changes nothing."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobpool.config.resolve import Settings
from jobpool.executor.connection import Connection
from jobpool.executor.future import Job
from jobpool.host.home import PoolDirectory
from jobpool.show.status import asked_status
from jobpool.transport.messages.client import AskRecord

if TYPE_CHECKING:
    from jobpool.site.check import Verdict
    from jobpool.tools.explain import Explained

__all__ = ["PoolInfo", "RequestInfo"]


class RequestInfo(abc.ABC):
    """What is known of a request without a job for it."""

    @property
    @abc.abstractmethod
    def settings(self) -> Settings:
        """What its jobs are configured with, and where each value came from."""

    def check(self, *, start: bool = False) -> Verdict:
        """Compare what is asked for with what the site allows now, and say where else it would fit.

        Before there is a pool, :func:`jobpool.check` does the same.

        Args:
            start: Ask the batch system, with one command, when a job that is submitted now would start: ``starts_in``.
        """
        from jobpool.tools.check import check_settings

        return check_settings(self.settings, start=start)

    def explain(self) -> Explained:
        """Say what the request becomes: directives with reasons, what a node gives, what a call sees there.

        Before there is a pool, :func:`jobpool.explain` does the same.
        """
        from jobpool.tools.explain import explain_settings

        return explain_settings(self.settings)


class PoolInfo(RequestInfo):
    """What is known of a pool, also after its end."""

    _connection: Connection
    _directory: PoolDirectory

    @property
    def name(self) -> str:
        """The pool's name, for ``jobpool status`` and ``jobpool stop``."""
        return self._directory.name

    @property
    def log_directory(self) -> Path:
        """Where the jobs' logs are."""
        return Path(self._connection.logs)

    def status(self, *, start: bool = False) -> dict[str, Any]:
        """Return what goes on as plain data: jobs with their states and reasons, calls by state and function, notices.

        Also what was asked and used, how many calls end in a second, and about how many seconds are left. Sizes are in
        bytes, times in seconds.

        Args:
            start: Ask the batch system, with one command, when the pending jobs may start: ``"starts"`` of each job
                is then a time as ``time.time()`` tells it, or None where there is no estimate.

        Raises:
            JobPoolError: With ``start``: the batch system does not say.
        """
        return asked_status(self._connection.ask, start=start)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write what happened in this run into one HTML file, also after its end, and return the file's path.

        It needs no network: jobs and calls over time, asked against used, the slowest and the failed calls, and advice.
        When the server was killed, it tells what had been written down some seconds before.

        Raises:
            JobPoolError: The server died before it wrote down anything.
            OSError: The file cannot be written.
        """
        from jobpool.show.ended_pools import read_record
        from jobpool.show.report import write_report

        ended = self._connection.ended.is_set()
        return write_report(
            read_record(self._directory.path) if ended else self._connection.ask(AskRecord()).facts, Path(path)
        )

    def logs(self, job: str | Job | None = None, *, tail: int | None = None) -> str:
        """Return what a job said: its own log, and those of its workers. Also after the pool's end. ::

            print(pool.logs(future.job))

        Args:
            job: Its id (``future.job.id``), or a future's ``job``; ``"server"``: the pool's server. Default: all.
            tail: Last lines of each log. Default: all of one job's, and the last 10 where no job is named.

        Raises:
            JobPoolError: There is no log of such a job; it names those that there are.
        """
        from jobpool.show.logs import LAST, logs_of, texts

        id = job.id if isinstance(job, Job) else None if job is None else str(job)
        found = logs_of(self._directory.path, self.log_directory, id)
        return texts(found, LAST if job is None and tail is None else tail)
