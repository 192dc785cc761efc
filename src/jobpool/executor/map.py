"""How ``map`` turns calls into an iterator over results.

::

    items ─► chunks of rows ─► Connection ─► server               with a buffersize: more as results are taken
    in_order ◄─ take ─ MapChunk, MapChunk ◄─ put ─ Connection     results as they come, in any order
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from jobpool.serialize.chunks import Raised

__all__ = ["MapChunk", "call_each", "chunks", "each_of", "in_order", "refill", "shortest"]

T = TypeVar("T")

_MISSING: Any = object()


class MapChunk:
    """Calls of a map that are sent in one payload, and their results: one thread sets them, another takes them."""

    def __init__(
        self, id: int, count: int, changed: threading.Condition, cancelled: Callable[[MapChunk], None]
    ) -> None:
        self.id, self.count = id, count
        self._left = count
        self._results: list[Any] = [_MISSING] * count
        self._running: set[int] = set()
        self._changed, self._tell_cancelled = changed, cancelled
        self._cancelled = False
        self.taken: list[object] = []
        """Objects that must not be collected before the calls have ended."""

    @property
    def ended(self) -> bool:
        """Whether all calls have ended."""
        return not self._left

    @property
    def left(self) -> int:
        """The number of calls that have not ended."""
        return self._left

    def put(self, id: int, results: Sequence[Any]) -> None:
        """Set the results of the calls from this id on."""
        place = id - self.id
        with self._changed:
            if self._cancelled:
                for at, result in enumerate(results, place):
                    self._put(at, result)
            else:
                self._results[place : place + len(results)] = results
                self._left -= len(results)
            self._changed.notify_all()

    def fail(self, error: BaseException, id: int | None = None) -> None:
        """End a call, or all calls that have not ended, with an exception."""
        with self._changed:
            for place in range(self.count) if id is None else [id - self.id]:
                self._put(place, Raised(error))
            self._changed.notify_all()

    def _put(self, place: int, result: Any) -> None:
        if self._results[place] is _MISSING:
            self._results[place] = result
            self._left -= 1

    def starts(self, id: int) -> None:
        """Note that a call runs. Short calls end before this is known."""
        self._running.add(id - self.id)

    def waits_again(self, id: int) -> None:
        """Note that a call waits again, because its job or worker was lost."""
        self._running.discard(id - self.id)

    def cancel(self) -> None:
        """Cancel all calls but those that are known to run."""
        with self._changed:
            if self.ended or self._cancelled:
                return
            self._cancelled = True
            for place in range(self.count):
                if place not in self._running:
                    self._put(place, Raised(CancelledError()))
            self._changed.notify_all()
        self._tell_cancelled(self)

    def wait(self) -> None:
        """Wait until all calls have ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended)

    def take(self, place: int, end: float | None) -> list[Any]:
        """Wait for the result at this index, and return it with the results that follow and have arrived, in reverse
        order.

        Raises ``TimeoutError`` at the time ``end`` (of ``time.monotonic``).
        """
        with self._changed:
            while self._results[place] is _MISSING:
                left = None if end is None else end - time.monotonic()
                if not self._changed.wait(left) and self._results[place] is _MISSING:
                    raise TimeoutError
            stop = self.count
            if self._left:
                stop = next((at for at in range(place, stop) if self._results[at] is _MISSING), stop)
            ready = self._results[place:stop]
            self._results[place:stop] = [None] * len(ready)  # the caller has the only references
        ready.reverse()
        return ready


def in_order(chunks: deque[MapChunk], more: Callable[[], None] | None, end: float | None) -> Iterator[Any]:
    """Yield the results in order, without a reference to those that were taken, and cancel the rest when closed."""
    try:
        while chunks:
            place = 0
            while place < chunks[0].count:
                ready = chunks[0].take(place, end)
                place += len(ready)
                while ready:
                    if more is not None:
                        more()
                    if type(ready[-1]) is Raised:
                        raise ready.pop().error
                    # Without a variable, which would refer to the result until the next one is taken.
                    yield ready.pop()
            chunks.popleft()
    finally:
        for chunk in chunks:
            chunk.cancel()


def refill(
    items: Iterator[tuple[Any, ...]], send: Callable[[Iterator[tuple[Any, ...]]], None], size: int
) -> Callable[[], None]:
    """Return a function that takes one more item, and sends ``size`` of them together; fewer at the end."""
    waiting: list[tuple[Any, ...]] = []

    def more() -> None:
        before = len(waiting)
        waiting.extend(itertools.islice(items, 1))
        if waiting and (len(waiting) == before or len(waiting) >= size):
            send(iter(waiting.copy()))
            waiting.clear()

    return more


def shortest(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many items a map over these has, or None when one of them does not know its length."""
    if not all(isinstance(iterable, Sized) for iterable in iterables):
        return None
    return min((len(iterable) for iterable in iterables if isinstance(iterable, Sized)), default=0)


def chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield lists of ``size`` items; the last may be shorter."""
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def call_each(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    """Call the function for each item of a chunk; this runs on the worker."""
    return [fn(*args) for args in chunk]


def each_of(chunks: Iterator[list[T]]) -> Iterator[T]:
    """Yield the items of each chunk, without a reference to those that were taken."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
