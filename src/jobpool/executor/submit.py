"""How calls are submitted, for the pool and its views: pickles functions and arguments, and makes futures."""

from __future__ import annotations

import abc
import functools
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

from jobpool.batch import registry
from jobpool.config.call_options import CallKind
from jobpool.config.resolve import Settings
from jobpool.executor import map as mapping
from jobpool.executor.connection import Connection
from jobpool.executor.future import JobFuture
from jobpool.model.errors import NotPicklable
from jobpool.serialize.chunks import ROWS, dumps_rows
from jobpool.serialize.pickling import Destination, detached, dumps_arguments, dumps_function
from jobpool.show.progress import with_progress

__all__ = ["SubmitMethods", "destination"]

P = ParamSpec("P")
T = TypeVar("T")


def destination(settings: Settings) -> Destination:
    """Return which processes unpickle the arguments of the calls of a pool with these settings."""
    several = settings.max_workers > 1 or settings.max_tasks_per_child is not None
    return Destination(local=registry.capabilities(settings.system).shares_machine, several=several)


class SubmitMethods(Executor, abc.ABC):
    """An executor whose calls go to a server."""

    _connection: Connection
    _kind: CallKind
    _to: Destination
    """Which processes unpickle what the client sends."""
    _lock: threading.Lock

    @abc.abstractmethod
    def _check_open(self) -> None:
        """Raise ``RuntimeError`` if the pool takes no more calls."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]:
        """Run ``fn(*args, **kwargs)`` on a worker and return its future.

        Functions and classes of ``__main__``, of a notebook, and of modules that are not installed are pickled by
        value, with the current values of the global variables that they use. If the function or an argument cannot be
        pickled, the future's exception is ``NotPicklable``, whose message names it.

        Raises:
            RuntimeError: After ``shutdown``.
            PoolBroken: The pool cannot run calls any more; the message says why.
        """
        taken: list[object] = []
        future: JobFuture[T]
        (future,) = self._submit(self._function(fn, taken), [self._arguments(args, kwargs, taken)])
        if taken:
            future._taken = taken
        return future

    def _submit(
        self, function: tuple[str, bytes | NotPicklable], payloads: Iterable[bytes | NotPicklable]
    ) -> list[JobFuture[Any]]:
        with self._lock:
            self._check_open()
            return self._connection.submit(function, payloads, self._kind.key)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)`` for the items of the iterables, in their order.

        Args:
            fn: The function.
            *iterables: As for the built-in ``map``; the shortest ends it.
            timeout: Seconds from this call within which a result must arrive; otherwise the iterator raises
                ``TimeoutError``. Default: no limit.
            chunksize: Items that make one call. Default: each item is a call; short calls are sent together anyway.
            buffersize: Maximum number of items that are submitted and whose results were not taken yet. Default: all.
            progress: Show the progress on stderr: a bar in a terminal, a line from time to time in a file.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` below 1.
            TypeError: ``buffersize`` that is no whole number.
            RuntimeError, PoolBroken: As :meth:`submit`.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        total = mapping.shortest(iterables)
        items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        results: Iterator[T]
        if chunksize is None or chunksize == 1:
            # A timeout holds for each call, and the agent does not know when one of several rows began.
            most = ROWS if self._kind.terms.timeout is None else 1
            results = self._results_of_rows(fn, items, buffersize, end, most=most)
        else:
            ahead = None if buffersize is None else -(-buffersize // chunksize)
            chunks = ((chunk,) for chunk in mapping.chunks(items, chunksize))
            chunked = self._results_of_rows(functools.partial(mapping.call_each, fn), chunks, ahead, end, most=1)
            results = mapping.each_of(chunked)
        return with_progress(results, total) if progress else results

    def _results_of_rows(
        self,
        fn: Callable[..., T],
        items: Iterator[tuple[Any, ...]],
        buffersize: int | None,
        end: float | None,
        *,
        most: int = ROWS,
    ) -> Iterator[T]:
        """Submit (now, not at the first ``next``) and return the iterator over the results."""
        taken: list[object] = []
        function, changed = self._function(fn, taken), threading.Condition()
        size = most if buffersize is None else max(1, min(most, buffersize // 4))
        sent: deque[mapping.MapChunk] = deque()
        executor, to = weakref.ref(self), self._to  # a forgotten iterator must not keep the pool alive

        def send(some: Iterator[tuple[Any, ...]]) -> None:
            for payload, count in dumps_rows(some, size, to, taken):
                if (pool := executor()) is not None:
                    sent.append(pool._submit_rows(function, payload, count, changed))
                    sent[-1].taken = taken

        send(itertools.islice(items, buffersize))
        return mapping.in_order(sent, None if buffersize is None else mapping.refill(items, send, size), end)

    def _submit_rows(
        self,
        function: tuple[str, bytes | NotPicklable],
        payload: bytes | NotPicklable,
        count: int,
        changed: threading.Condition,
    ) -> mapping.MapChunk:
        with self._lock:
            self._check_open()
            return self._connection.submit_rows(function, payload, count, changed, self._kind.key)

    def _function(self, fn: Callable[..., Any], taken: list[object]) -> tuple[str, bytes | NotPicklable]:
        try:
            return dumps_function(fn, self._to, taken)
        except NotPicklable as error:
            return "", detached(error)

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], taken: list[object]) -> bytes | NotPicklable:
        try:
            return dumps_arguments(args, kwargs, self._to, taken)
        except NotPicklable as error:
            return detached(error)
