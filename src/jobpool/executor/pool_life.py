"""How a pool ends: by its user, at the interpreter's exit, after a fork, or when the pool object is forgotten."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from jobpool.executor.connection import OPEN, Connection
from jobpool.executor.dask_client import DaskClient
from jobpool.executor.pool_info import PoolInfo
from jobpool.executor.submit import SubmitMethods

__all__ = ["PoolLife", "finish_forgotten"]


class PoolLife(SubmitMethods, PoolInfo, DaskClient):
    """A pool that has started: it takes calls, tells of itself, and ends."""

    _initializer: tuple[Callable[..., object] | None, tuple[Any, ...]]
    _shutdown: bool
    _finalizer: weakref.finalize[Any, Any]

    def _check_open(self) -> None:
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting.is_set():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the pool: no new calls; its jobs are cancelled when the calls that are there have ended.

        Args:
            wait: Return when everything has ended: calls, jobs and server. False: return at once.
            cancel_futures: Cancel the calls that have not started. Those that run end as they would, and their results
                are there; to end them too, at once, call :meth:`terminate_workers`.
        """
        if self._connection.foreign:
            return
        try:
            with self._lock:
                self._shutdown = True
            if cancel_futures:
                self._connection.cancel_pending()
            self._close_client()
            self._connection.finish()
            self._finalizer.detach()
            if wait and cancel_futures:
                self._connection.tell_what_runs()
            if wait:
                self._connection.wait()
        except BaseException:
            # Interrupted: the user wants the pool to end now, and no job may remain.
            self._connection.abort()
            raise

    def terminate_workers(self) -> None:
        """End the pool at once, the running calls too, and wait for it.

        Calls that run end with ``PoolBroken``, which is a ``BrokenProcessPool``; the others are cancelled. In the
        standard library since Python 3.14.
        """
        self._abort()

    def kill_workers(self) -> None:
        """Do the same as :meth:`terminate_workers`: workers are killed in any case."""
        self._abort()

    def _abort(self) -> None:
        if self._connection.foreign:
            return
        with self._lock:
            self._shutdown = True
        try:
            self._close_client()
        finally:
            self._connection.abort()
            self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        # An exception leaves the block: nobody will take the results, and jobs must not run for nothing.
        if kind is None:
            self.shutdown(wait=True)
        else:
            self._abort()
        return False


def finish_forgotten(connection: Connection) -> None:
    """End a pool whose object was garbage collected, when its calls have ended."""
    if not connection.foreign:
        connection.finish()


_exiting = threading.Event()
"""Set when Python exits and waits for the pools: nothing would wait for calls that are submitted later."""


def _at_exit() -> None:
    """Wait for pools that are still open, as the standard library does; end them at once if the script failed."""
    failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    _exiting.set()
    for connection in list(OPEN):
        try:
            if failed is None:
                connection.finish()
                connection.wait()
        finally:  # also when a Ctrl-C ends the waiting
            if connection in OPEN:
                connection.abort()


def _after_fork() -> None:
    """Leave the pools to the parent: a forked process has no threads to serve them."""
    for connection in OPEN:
        connection.abandon()
    OPEN.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
