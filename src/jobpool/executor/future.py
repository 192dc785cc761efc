"""The future of one call: a ``concurrent.futures.Future`` that also has the call's job, usage and output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import _base as states
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobpool.model.call import Usage
from jobpool.transport.messages.client import JobOfCalls

__all__ = ["Job", "JobFuture", "Jobs"]

T = TypeVar("T")

log = logging.getLogger("jobpool.executor.future")


@dataclass(frozen=True, slots=True)
class Job:
    """The batch job in which a call runs or ran."""

    id: str
    """The batch system's id (``1343_7``)."""
    node: str
    """The node on which the call runs or ran."""
    log: Path | None
    """The job's log, with the messages of its agent. The output of a call is in :meth:`JobFuture.logs`."""

    def as_data(self) -> dict[str, str | None]:
        """Return the same as strings. ``log`` is None where it is not known."""
        return {"id": self.id, "node": self.node, "log": None if self.log is None else str(self.log)}


class JobFuture(Future[T]):
    """The future of one call in a pool.

    Beyond the standard library's: ``job`` (a :class:`Job`, or None before the call starts), ``usage`` (a
    :class:`~jobpool.model.call.Usage`: wall and CPU seconds, peak memory, threads; None before the call ends) and
    :meth:`logs`.
    """

    job: Job | None = None
    usage: Usage | None = None
    _log = b""
    _taken: Sequence[object] = ()
    """Objects that must not be collected before the call has ended."""

    def __init__(self, id: int, cancelled: Callable[[int], None]) -> None:
        super().__init__()
        # A million calls may wait, and an empty deque takes 600 bytes; threading needs only the methods of a list.
        self._condition._waiters = []  # type: ignore[attr-defined]
        self._id, self._tell_cancelled = id, cancelled

    def logs(self) -> str:
        """Return what the call wrote to stdout and stderr, in the order it was written: the last 64 KiB of it.

        Empty before the call ends.
        """
        return self._log.decode(errors="replace")

    def cancel(self) -> bool:
        """Cancel the call and return True, unless it is known to run or to have ended: then return False.

        A cancelled call does not run. If a worker has just begun it and the client does not know yet, the call is
        killed.
        """
        # In the standard library's executors, a thread that finds the cancelled item notifies the waiters. There is no
        # such thread here, so the state changes and the waiters are notified at once.
        with self._condition:
            if self._state in (states.RUNNING, states.FINISHED):
                return False
            if self._state in (states.CANCELLED, states.CANCELLED_AND_NOTIFIED):
                return True
            self._state = states.CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._tell_cancelled(self._id)
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True

    # What follows is for the connection only.

    def _starts(self, job: Job | None) -> None:
        with self._condition:
            if self._state == states.PENDING:
                self._state, self.job = states.RUNNING, job

    def _waits_again(self) -> None:
        with self._condition:
            if self._state == states.RUNNING:
                self._state, self.job = states.PENDING, None

    def _ran(self, job: Job | None, log: bytes, usage: Usage | None) -> None:
        self.job, self._log, self.usage = job, log, usage

    def _ends(self, *, result: Any = None, error: BaseException | None = None) -> None:
        self._taken = ()
        self._tell_cancelled = _nobody  # a future that the user keeps must not keep the connection
        try:
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)
        except states.InvalidStateError:
            log.debug("call=%d ended after it was cancelled", self._id)
        except BaseException:
            # The standard library does not catch a callback's sys.exit(), which would end the thread that completes all
            # other futures.
            log.exception("call=%d: a callback of its future raised", self._id)


class Jobs:
    """The jobs in which calls ran: one object for each."""

    def __init__(self) -> None:
        self._known: dict[str, Job] = {}

    def get(self, facts: JobOfCalls) -> Job:
        """Return the job that these are the facts of."""
        job = self._known.get(facts.id)
        if job is None or job.node != facts.node:
            log_path = None if facts.log is None else Path(facts.log)
            job = self._known[facts.id] = Job(facts.id, facts.node, log_path)
        return job


def _nobody(id: int) -> None:
    """Do nothing: the call has ended."""
