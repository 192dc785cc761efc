"""What a pool says of itself and of its request: the methods that change nothing."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobpool.config.resolve import Settings
from jobpool.executor.connection import Connection
from jobpool.executor.future import Job
from jobpool.host.home import PoolDirectory
from jobpool.show.status import asked_status
from jobpool.transport.messages.client import AskRecord

if TYPE_CHECKING:
    from jobpool.model.status import PoolStatus
    from jobpool.site.check import Verdict
    from jobpool.tools.explain import Explained

__all__ = ["PoolInfo", "RequestInfo"]


class RequestInfo(abc.ABC):
    """What is known of a request without a job."""

    @property
    @abc.abstractmethod
    def settings(self) -> Settings:
        """The configuration of its jobs, and where each value came from."""

    def check(self, *, start: bool = False) -> Verdict:
        """Compare the request with what the site allows now, and say in which partitions it fits.

        Before there is a pool, :func:`jobpool.check` does the same.

        Args:
            start: Ask the batch system, with one command, when a job that is submitted now would start: ``starts_in``.
        """
        from jobpool.tools.check import check_settings

        return check_settings(self.settings, start=start)

    def explain(self) -> Explained:
        """Explain the request: the directives with reasons, what a node gives, what a call finds there.

        Before there is a pool, :func:`jobpool.explain` does the same.
        """
        from jobpool.tools.explain import explain_settings

        return explain_settings(self.settings)


class PoolInfo(RequestInfo):
    """What is known of a pool, during its life and after its end."""

    _connection: Connection
    _directory: PoolDirectory

    @property
    def name(self) -> str:
        """The pool's name, for ``jobpool status`` and ``jobpool stop``."""
        return self._directory.name

    @property
    def log_directory(self) -> Path:
        """The directory of the jobs' logs."""
        return Path(self._connection.logs)

    def status(self, *, start: bool = False) -> PoolStatus:
        """Return what goes on: jobs with their states and reasons, calls by state and function, notices.

        Also what was asked and used, how many calls end in a second, and about how many seconds are left. Sizes are in
        bytes, times in seconds. ``status().as_data()`` is the same as dicts and lists.

        Args:
            start: Ask the batch system, with one command, when the pending jobs may start: ``starts`` of each job
                is then a time as ``time.time()`` tells it, or None where there is no estimate.

        Raises:
            JobPoolError: With ``start``: the batch system does not say.
        """
        return asked_status(self._connection.ask, start=start)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a report of the run into one HTML file, during the run or after it, and return the file's path.

        It needs no network: jobs and calls over time, asked against used, the slowest and the failed calls, and advice.
        When the server was killed, it tells what had been written down some seconds before.

        Raises:
            JobPoolError: The server died before it wrote down anything.
            OSError: The file cannot be written.
        """
        from jobpool.model.run_record import RunRecord
        from jobpool.show.answers import read_answer
        from jobpool.show.ended_pools import read_record
        from jobpool.show.report import write_report

        ended = self._connection.ended.is_set()
        directory, ask = self._directory.path, self._connection.ask
        record = read_record(directory) if ended else read_answer(RunRecord, ask(AskRecord()))
        return write_report(record, Path(path))

    def logs(self, job: str | Job | None = None, *, tail: int | None = None) -> str:
        """Return the log of a job and those of its workers, also after the pool's end. ::

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
