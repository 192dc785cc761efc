"""The calls of a client that have not ended: their futures by id, and what the server says of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from jobpool.executor.ending_exceptions import tell_what_ends_scripts
from jobpool.executor.future import Job, JobFuture, Jobs
from jobpool.executor.map import MapChunk
from jobpool.model.call import Outcome
from jobpool.model.errors import JobPoolError, NotUnpicklable
from jobpool.serialize.chunks import Raised, loads_results
from jobpool.serialize.pickling import detached, loads_exception, loads_result
from jobpool.transport.messages.client import JobOfCalls

__all__ = ["PendingCalls"]

CHUNK_BITS = 10
"""Rows are numbered in steps of 1024, above the largest chunk: a call's number without these bits is its chunk's."""

FIRST_ROW = 1 << 38
"""Rows are numbered from here on, single calls below; a client's numbers end at 2 to the 40th (``client_links``)."""


class PendingCalls:
    """The futures of single calls, and the chunks of maps. ``lock`` is held by all who add to them."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock: Any = lock
        self._ids = itertools.count(1)
        self._chunk_ids = itertools.count(FIRST_ROW, 1 << CHUNK_BITS)
        self._futures: dict[int, JobFuture[Any]] = {}
        self._chunks: dict[int, MapChunk] = {}
        """By the first id without its lower bits."""
        self._jobs = Jobs()

    def __bool__(self) -> bool:
        return bool(self._futures or self._chunks)

    # ------------------------------------------------------------------------------------- from the caller's threads

    def new_future(self, tell_cancelled: Callable[[int], None]) -> JobFuture[Any]:
        """Make the future of a call, which is not pending yet."""
        return JobFuture(next(self._ids), tell_cancelled)

    def new_chunk(
        self, count: int, changed: threading.Condition, tell_cancelled: Callable[[MapChunk], None]
    ) -> MapChunk:
        """Make the chunk of calls of a map, which are not pending yet."""
        return MapChunk(next(self._chunk_ids), count, changed, tell_cancelled)

    def add(self, call: JobFuture[Any] | MapChunk) -> None:
        """Wait for the end of a call, or of a chunk."""
        if isinstance(call, MapChunk):
            self._chunks[call.id >> CHUNK_BITS] = call
        else:
            self._futures[call._id] = call

    def forget(self, id: int) -> bool:
        """Wait for a call no more. False: nobody did."""
        return self._futures.pop(id, None) is not None

    def forget_if_ended(self, chunk: MapChunk) -> None:
        """Wait for a chunk no more, when all of it has ended."""
        if chunk.ended:
            with self._lock:
                self._chunks.pop(chunk.id >> CHUNK_BITS, None)

    def all(self) -> list[JobFuture[Any] | MapChunk]:
        """Return what has not ended."""
        with self._lock:
            return [*self._futures.values(), *self._chunks.values()]

    # --------------------------------------------------------------------------------- in the connection's thread

    def started(self, facts: JobOfCalls, ids: Iterable[int]) -> None:
        """Take note that calls run."""
        job = self._jobs.get(facts)
        for id in ids:
            if future := self._futures.get(id):
                future._starts(job)
            elif chunk := self._chunk(id):
                chunk.starts(id)

    def wait_again(self, ids: Iterable[int]) -> None:
        """Take note that calls wait again."""
        for id in ids:
            if future := self._futures.get(id):
                future._waits_again()
            elif chunk := self._chunk(id):
                chunk.waits_again(id)

    def done(self, facts: JobOfCalls, outcomes: Iterable[Outcome]) -> None:
        """Deliver what came of calls."""
        job = self._jobs.get(facts)
        for outcome in outcomes:
            if outcome.rows:
                self._deliver_rows(outcome)
            else:
                self._deliver(outcome, job)

    def failed(self, ids: Iterable[int], make_error: Callable[[], JobPoolError]) -> None:
        """End calls with an exception, one of its own for each."""
        for id in ids:
            self._end(id, error=make_error())

    def end_all(self, error: JobPoolError) -> None:
        """End all calls with an exception."""
        with self._lock:
            ids = list(self._futures)
            chunks, self._chunks = self._chunks, {}
        for id in ids:
            self._end(id, error=error)
        for chunk in chunks.values():
            chunk.fail(error)

    def _deliver(self, outcome: Outcome, job: Job) -> None:
        id = outcome.call
        future = self._futures.get(id)
        if future is None:
            return
        future._ran(job, outcome.log, outcome.usage)
        if not outcome.ok:
            error = loads_exception(outcome.payload)
            tell_what_ends_scripts(error)
            self._end(id, error=error)
            return
        try:
            result = loads_result(outcome.payload)
        except NotUnpicklable as error:
            self._end(id, error=detached(error))
        else:
            self._end(id, result=result)

    def _deliver_rows(self, outcome: Outcome) -> None:
        if chunk := self._chunk(outcome.call):
            results = loads_results(outcome.payload)
            for result in results:
                if isinstance(result, Raised):
                    tell_what_ends_scripts(result.error)
            chunk.put(outcome.call, results)
            self.forget_if_ended(chunk)

    def _chunk(self, id: int) -> MapChunk | None:
        return self._chunks.get(id >> CHUNK_BITS)

    def _end(self, id: int, *, result: Any = None, error: BaseException | None = None) -> None:
        with self._lock:
            future = self._futures.pop(id, None)
        if future is not None:
            future._ends(result=result, error=error)
        elif error is not None and (chunk := self._chunk(id)):
            chunk.fail(error, id)
            self.forget_if_ended(chunk)
