"""A set of numbers that mostly count up, in little memory."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["IdSet"]


class IdSet:
    """The call ids that were ever seen, as intervals: a million consecutive ids are one interval."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        """Exclusive."""

    def add(self, id: int) -> bool:
        """Add a number. Return whether it is new."""
        starts, ends = self._starts, self._ends
        after = bisect_right(starts, id)
        if after and id < ends[after - 1]:
            return False
        joins_before = after > 0 and ends[after - 1] == id
        joins_after = after < len(starts) and starts[after] == id + 1
        if joins_before and joins_after:
            ends[after - 1] = ends.pop(after)
            del starts[after]
        elif joins_before:
            ends[after - 1] = id + 1
        elif joins_after:
            starts[after] = id
        else:
            starts.insert(after, id)
            ends.insert(after, id + 1)
        return True

    @property
    def intervals(self) -> int:
        """The number of intervals."""
        return len(self._starts)
