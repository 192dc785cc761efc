"""The backend of joblib, and so of scikit-learn: ``joblib.parallel_config(backend="jobpool")``."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from jobpool.config import resolve
from jobpool.executor.executor import JobPoolExecutor

__all__ = ["JobPoolBackend"]

_JOBLIBS_OWN = frozenset({"context", "max_nbytes", "mmap_mode", "temp_folder", "verbose"})
"""Parameters that ``Parallel`` passes to every backend, and that concern processes on this machine."""


class JobPoolBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Runs the batches of ``joblib.Parallel`` as calls of a pool.

    Args:
        executor: The pool to use; the backend does not end it. Default: the backend makes one with ``n_jobs`` workers.
        nesting_level: joblib's.
        inner_max_num_threads: joblib's; has no effect, since ``cores`` says what a call may use.
        **request: Keywords of :class:`~jobpool.JobPoolExecutor` for the pool that is made.

    Raises:
        TypeError: Both ``executor`` and a request.
        ConfigError, RequestRefused, PoolBroken: As :class:`~jobpool.JobPoolExecutor`, when a ``Parallel`` begins.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        executor: JobPoolExecutor | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **request: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        if executor is not None and request:
            raise TypeError(f"{', '.join(request)}: the executor that is given has its own")
        self._given, self._request = executor, request
        self._made: JobPoolExecutor | None = None
        self._futures: set[Future[Any]] = set()

    # ----------------------------------------------------------------------------------------------------- how many

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls ``n_jobs`` lets run at once."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            n_jobs = self.default_n_jobs
        if n_jobs == 1:
            return 1
        # To joblib, 1 means: in this process, which may run on a login node. A pool may have one worker.
        return max(2, self._workers(n_jobs))

    def _workers(self, n_jobs: int) -> int:
        most = self._most
        if n_jobs < 0:
            return max(1, most + 1 + n_jobs)
        bounded = self._given is not None or "max_workers" in self._request
        return min(n_jobs, most) if bounded else n_jobs

    @property
    def _most(self) -> int:
        settings = resolve.resolve(self._request) if self._given is None else self._given.settings
        return settings.max_workers

    # ------------------------------------------------------------------------------------------- what Parallel calls

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        executor: JobPoolExecutor | None = None,
        **given: Any,
    ) -> int:
        """Make the pool if there is none, and return how many calls run at once. ``given``: parameters of the backend,
        too."""
        self._given = executor or self._given
        self._request |= {key: value for key, value in given.items() if key not in _JOBLIBS_OWN}
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        # Weak, since each refers to the other: the pool shall end with the last reference, not with a garbage
        # collection.
        self.parallel = weakref.proxy(parallel)
        self._n_jobs = n_jobs
        self._have_executor()
        return n_jobs

    def _have_executor(self) -> JobPoolExecutor:
        if self._given is not None:
            return self._given
        workers = self._workers(self._n_jobs)
        if self._made is not None and self._made.settings.max_workers != workers:
            self._made.shutdown()  # and wait: the next pool may have the same name
            self._made = None
        if self._made is None:
            self._made = JobPoolExecutor(**{**self._request, "max_workers": workers})
        return self._made

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None) -> Future[Any]:
        """Run a batch of calls. Never raises: joblib may call this in a thread in which an exception would be lost."""
        future: Future[Any]
        try:
            # The batch is the argument and not the function: the pool keeps functions for later calls.
            future = self._have_executor().submit(operator.call, func)
        except Exception as error:  # noqa: BLE001 - pickling runs the user's code; the error goes where the result would
            future = Future()
            future.set_exception(error)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # what joblib 1.4 calls it

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return the results of a batch, or raise what a call of it raised."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the calls. End the pool with its running calls, unless the user gave the pool."""
        for future in list(self._futures):
            future.cancel()
        if self._made is not None:
            made, self._made = self._made, None
            made._abort()
            if ensure_ready:
                self._have_executor()

    def terminate(self) -> None:
        """End a ``Parallel``. The pool stays for the next one."""
        self.reset_batch_stats()
