"""``Pool``: the interface of ``multiprocessing.Pool``. It derives from the standard library's class.

::

    caller's threads                       feeder                        the connection's thread
    map, apply ─► tasks ─► (one thread) pickle, wait for space, submit ─► future ends
                                                                             │
                 results, callbacks ◄─ (one thread) deliverer ◄─ outcomes ◄──┘

The class inherits all methods that make calls, the chunks of a map, and the result objects: they put iterators of tasks
into a queue, and results into a table. In the standard library, threads of the pool pass the tasks to processes and the
outcomes to the results. Here two threads do this, with a :class:`~jobpool.JobPoolExecutor` between them.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future, process
from functools import partial
from multiprocessing import pool as stdlib
from typing import Any, TypeAlias

from jobpool.executor.executor import JobPoolExecutor
from jobpool.faces import pool_calls
from jobpool.model.errors import NotPicklable
from jobpool.serialize.pickling import dumps_arguments, dumps_function

__all__ = ["Pool", "ResultNotPicklable"]

log = logging.getLogger("jobpool.faces.pool")

CALLS_AHEAD = 2000
"""Maximum number of submitted calls per worker: two bundles of the shortest calls."""

BYTES_AHEAD = 64 * 2**20
"""Maximum bytes of the arguments of submitted calls, as long as each worker has two calls."""

Task: TypeAlias = tuple[int, int, Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""A task of the inherited methods: (number of the result, index in it, function, arguments, keywords)."""

Tasks: TypeAlias = tuple[Iterable[Task], Callable[[int], None] | None]
"""The tasks of one result, and a function that gets their number."""

# Not in typeshed, but used in the tasks since Python 3.3.
_INIT, _RUN, _CLOSE, _TERMINATE, _MAPSTAR, _STARMAPSTAR, _RAISE = (
    vars(stdlib)[name]
    for name in ("INIT", "RUN", "CLOSE", "TERMINATE", "mapstar", "starmapstar", "_helper_reraises_exception")
)
_RemoteTraceback: Any = vars(process)["_RemoteTraceback"]


class ResultNotPicklable(NotPicklable, stdlib.MaybeEncodingError):  # type: ignore[misc, name-defined]
    """What a call of a ``Pool`` returned or raised cannot be pickled."""

    def __init__(self, message: str, **details: Any) -> None:
        # Not super().__init__(): the base class of the standard library takes other arguments.
        Exception.__init__(self, message)
        self.message, self.details = message, details
        self.exc, self.value = message, "<it could not be sent>"


class Pool(stdlib.Pool):
    """``multiprocessing.Pool`` whose workers are batch jobs, or processes of this machine.

    All methods are those of the standard library's pool, with the same behaviour.

    Args:
        processes: Workers, at most. Default: this machine's cores, or 100 on a batch system.
        initializer: Called as ``initializer(*initargs)`` in each fresh worker process.
        initargs: Its arguments.
        maxtasksperchild: Tasks (calls, or chunks of a map) after which a worker process is replaced. Default: never.
        **request: The other keywords of :class:`~jobpool.JobPoolExecutor`: ``memory="2 GiB"``, ``walltime="5h"``, ...

    Raises:
        ValueError: ``processes`` or ``maxtasksperchild`` below 1.
        ConfigError, RequestRefused, PoolBroken: As :class:`~jobpool.JobPoolExecutor`.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **request: Any,
    ) -> None:
        # Not super().__init__(), which starts processes. The inherited methods use these attributes.
        self._state = _INIT
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            if not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0:
                raise ValueError("maxtasksperchild must be a positive int or None")
            request["max_tasks_per_child"] = maxtasksperchild
        self._executor = JobPoolExecutor(processes, initializer=initializer, initargs=tuple(initargs), **request)
        self._pool = range(self._executor.settings.max_workers)
        self._taskqueue: queue.SimpleQueue[Tasks | None] = queue.SimpleQueue()
        self._cache: dict[int, Any] = {}
        self._engine = _Engine(self._executor, self._taskqueue, self._cache)
        # A pool that is garbage collected has no calls, since their results refer to it: it only has to be closed.
        weakref.finalize(self, self._taskqueue.put, None).atexit = False
        self._state = _RUN

    @property
    def executor(self) -> JobPoolExecutor:
        """The executor of the pool, for ``status()``, ``name``, ``log_directory`` and others."""
        return self._executor

    def _check_running(self) -> None:
        # The inherited methods call this first. A forked process does not have the threads that would take the call.
        if self._executor._connection.foreign:
            raise RuntimeError("this pool belongs to the process that this one was forked from: make another one here")
        if self._state != _RUN:
            raise ValueError("Pool not running")

    def _guarded_task_generation(
        self, result_job: int, func: Callable[..., Any], iterable: Iterable[Any]
    ) -> Iterator[Task]:
        # In the inherited method, a SystemExit of the user's iterator would end the thread that all results need.
        index = -1
        try:
            for index, item in enumerate(iterable):
                yield result_job, index, func, (item,), {}
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the results are taken
            yield result_job, index + 1, _RAISE, (error,), {}

    def close(self) -> None:
        """Take no more calls, and end the pool when its calls have ended."""
        if self._state == _RUN:
            self._state = _CLOSE
            self._taskqueue.put(None)

    def terminate(self) -> None:
        """End the pool and its running calls at once, and wait. Results that are not there get a ``CancelledError``."""
        self._state = _TERMINATE
        self._engine.stop()

    def join(self) -> None:
        """Wait until the pool and its jobs have ended.

        Raises:
            ValueError: Neither :meth:`close` nor :meth:`terminate` was called before.
        """
        if self._state == _RUN:
            raise ValueError("Pool is still running")
        self._engine.join()


class _Engine:
    """Runs the tasks. It has no reference to the pool, so that a pool that nobody uses is garbage collected."""

    def __init__(
        self, executor: JobPoolExecutor, tasks: queue.SimpleQueue[Tasks | None], results: dict[int, Any]
    ) -> None:
        self._executor, self._tasks, self._results = executor, tasks, results
        self._outcomes: queue.SimpleQueue[tuple[int, int, tuple[bool, Any]] | None] = queue.SimpleQueue()
        self._room = _Room(executor.settings.max_workers)
        self._stopped = False
        self._feeder = threading.Thread(target=self._feed, name=f"feeder-{executor.name}", daemon=True)
        self._deliverer = threading.Thread(target=self._deliver, name=f"deliverer-{executor.name}", daemon=True)
        self._feeder.start()
        self._deliverer.start()
        _RUNNING.add(self)

    def stop(self) -> None:
        """End everything at once, and wait."""
        if self._executor._connection.foreign:
            return
        self._stopped = True
        self._tasks.put(None)
        self._room.open()
        self._executor._abort()
        self._outcomes.put(None)
        if threading.current_thread() is not self._deliverer:  # a callback may terminate the pool
            self._deliverer.join()

    def join(self) -> None:
        """Wait for the end."""
        self._feeder.join()
        self._deliverer.join()

    # ------------------------------------------------------------------------------------------------------ the feeder

    def _feed(self) -> None:
        tasks: Iterable[Task] | None
        for tasks, set_length in iter(self._tasks.get, None):
            count = self._submit(tasks, lazy=set_length is not None)
            if set_length is not None and not self._stopped:
                set_length(count)
            tasks = set_length = None  # drop the references: otherwise they would be kept until the next call
        self._executor.shutdown()
        self._outcomes.put(None)

    def _submit(self, tasks: Iterable[Task], *, lazy: bool) -> int:
        """Submit the tasks of one result, and return their number. ``lazy`` tasks may be endless."""
        count, function, pickled, to = 0, None, None, self._executor._to
        kept: list[object] = []
        for job, index, run, args, keywords in tasks:
            if self._stopped:
                break
            count = index + 1
            if run is _RAISE:
                self._raise_in_turn(job, index, *args)
                break
            chunked, called, rest = _taken_apart(run, args)
            try:
                # Once for all chunks, with the values of the global variables at the time of the first.
                if pickled is None or called is not function:
                    function, pickled = (
                        called,
                        dumps_function(partial(chunked, called) if chunked else called, to, kept),
                    )
                taken = kept.copy()
                self._send(job, index, pickled, dumps_arguments(rest, keywords, to, taken), taken)
            except Exception as error:  # noqa: BLE001 - the user's __reduce__ may raise anything; it is the result
                self._outcomes.put((job, index, (False, _as_pickle_raised(error))))
                if lazy and isinstance(error, BrokenExecutor):
                    break
        return count

    def _send(self, job: int, index: int, function: tuple[str, bytes], payload: bytes, taken: list[object]) -> None:
        size = len(payload)
        self._room.take(size)
        try:
            (future,) = self._executor._submit(function, [payload])
        except BaseException:
            self._room.give(size)
            raise
        future._taken = taken
        future.add_done_callback(partial(self._ended, job, index, size))

    def _raise_in_turn(self, job: int, index: int, error: BaseException) -> None:
        """Deliver the exception of an iterator after the results of the items before it, as the standard library
        does."""

        def raise_it(_: object) -> None:
            self._outcomes.put((job, index, (False, error)))

        try:
            self._executor.submit(pool_calls.nothing).add_done_callback(raise_it)
        except RuntimeError:  # the pool is broken; then nothing else will arrive
            raise_it(None)

    def _ended(self, job: int, index: int, size: int, future: Future[Any]) -> None:
        self._room.give(size)
        self._outcomes.put((job, index, _outcome(future)))

    # --------------------------------------------------------------------------------------------------- the deliverer

    def _deliver(self) -> None:
        outcome: tuple[bool, Any] | None
        for job, index, outcome in iter(self._outcomes.get, None):
            result = self._results.get(job)
            if result is not None and not self._stopped:
                self._set(result, index, outcome)
            result = outcome = None  # the caller has the only references now
        for result in list(self._results.values()):
            _end(result, CancelledError("the pool was terminated before this call had ended"))
        self._results.clear()

    def _set(self, result: Any, index: int, outcome: tuple[bool, Any]) -> None:
        try:
            result._set(index, outcome)
        except BaseException:
            # A callback of the user's raised. In the standard library this ends the thread, and no result arrives any
            # more.
            log.exception("a callback of a Pool's result raised")
            self._results.pop(result._job, None)
            result._event.set()


class _Room:
    """Limits the submitted calls, so that a long or endless ``imap`` does not fill the memory."""

    def __init__(self, workers: int) -> None:
        self._least, self._most = 2 * workers, CALLS_AHEAD * workers
        self._calls = self._bytes = 0
        self._opened = False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._has(size))
            self._calls += 1
            self._bytes += size

    def _has(self, size: int) -> bool:
        small = self._calls < self._most and self._bytes + size <= BYTES_AHEAD
        return small or self._calls < self._least or self._opened

    def give(self, size: int) -> None:
        with self._changed:
            self._calls -= 1
            self._bytes -= size
            self._changed.notify()

    def open(self) -> None:
        with self._changed:
            self._opened = True
            self._changed.notify()


_RUNNING: weakref.WeakSet[_Engine] = weakref.WeakSet()


def _at_exit() -> None:
    # As the standard library does, and before the executor's own exit function, which waits for the calls.
    for engine in list(_RUNNING):
        engine.stop()


atexit.register(_at_exit)


def _taken_apart(
    run: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Callable[..., Any] | None, Callable[..., Any], tuple[Any, ...]]:
    """Return the function for a chunk (None: a single call), the user's function, and the other arguments."""
    if run is _MAPSTAR or run is _STARMAPSTAR:
        ((function, chunk),) = args
        return pool_calls.map_chunk if run is _MAPSTAR else pool_calls.starmap_chunk, function, (chunk,)
    return None, run, args


def _outcome(future: Future[Any]) -> tuple[bool, Any]:
    if future.cancelled():
        return False, CancelledError()
    error = future.exception()
    if error is None:
        return True, future.result()
    cause = error.__cause__
    if isinstance(error, NotPicklable):
        error = ResultNotPicklable(error.message, **error.details)
    if isinstance(cause, _RemoteTraceback):
        cause = stdlib.RemoteTraceback(cause.tb)  # type: ignore[attr-defined]
    error.__cause__ = cause
    return False, error


def _as_pickle_raised(error: Exception) -> BaseException:
    """Return what pickle raised, as the standard library does, with jobpool's message as a note."""
    reason = error.__cause__
    if not isinstance(error, NotPicklable) or reason is None:
        return error
    reason.add_note(str(error))
    return reason


def _end(result: Any, error: BaseException) -> None:
    """End a result that will get no outcome any more. As in the standard library, its callbacks are not called."""
    if isinstance(result, stdlib.IMapIterator):
        with result._cond:  # type: ignore[attr-defined]
            result._items.append((False, error))  # type: ignore[attr-defined]
            result._length = result._index  # type: ignore[attr-defined]
            result._cond.notify_all()  # type: ignore[attr-defined]
    else:
        result._success, result._value = False, error
        result._event.set()
    result._pool = None
