"""How ``map`` turns futures into an iterator over results."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from jobpool.future import JobFuture

__all__ = ["call_each", "chunks", "each_of", "in_order", "shortest", "with_progress"]

T = TypeVar("T")


def in_order(futures: deque[JobFuture[Any]], more: Callable[[], None], end: float | None) -> Iterator[Any]:
    """Yield the results in order, dropping each future before its result is out, and cancel the rest when left."""
    try:
        while futures:
            futures[0].result(None if end is None else end - time.monotonic())
            more()
            # Not by a variable, which would hold the result until somebody asks for the next one.
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


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
    """Call the function for each item of a chunk: what runs on the worker."""
    return [fn(*args) for args in chunk]


def each_of(chunks: Iterator[list[T]]) -> Iterator[T]:
    """Yield the items of each chunk, dropping each before it is out."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def with_progress(results: Iterator[T], total: int | None) -> Iterator[T]:
    """Yield the results under a progress bar: a widget in a notebook, text elsewhere."""
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="call") as bar:

        def shown(result: T) -> T:
            bar.update()
            return result

        yield from map(shown, results)  # tqdm's own iterator holds each result until the next
