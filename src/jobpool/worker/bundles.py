"""Takes a part of a bundle of calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from jobpool.model import Call

__all__ = ["first_of"]


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
