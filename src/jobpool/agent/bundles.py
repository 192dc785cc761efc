"""Takes a part of a bundle of calls, or calls out of the bundles that wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Set

from jobpool.model.call import Call

__all__ = ["Waiting", "drop", "first_of"]

Waiting = deque[deque[Call] | asyncio.Future[None]]
"""Bundles that wait for a worker, and, between them, those who wait to take a worker's place."""


def drop(waiting: Waiting, unwanted: Set[int] | None = None) -> list[int]:
    """Take calls, or all calls, out of what waits. Returns their ids."""
    dropped: list[int] = []
    for _ in range(len(waiting)):
        item = waiting.popleft()
        if isinstance(item, deque):
            dropped += [call.id for call in item if unwanted is None or call.id in unwanted]
            item = deque(call for call in item if unwanted is not None and call.id not in unwanted)
            if not item:
                continue
        waiting.append(item)
    return dropped


def first_of(bundle: deque[Call], most: int, cut: Callable[[int, int], None]) -> list[Call]:
    """Take so many calls, or rows, from a bundle. ``cut`` is told of rows that are cut in two: their id, and where."""
    first: list[Call] = []
    while bundle and most:
        call = bundle.popleft()
        if call.rows > most:
            cut(call.id, most)
            call, rest = call.cut(most)
            bundle.appendleft(rest)
        first.append(call)
        most -= call.items
    return first
