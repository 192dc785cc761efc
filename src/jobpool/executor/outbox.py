"""What a client will send to the server next, and the messages for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jobpool.transport.link import in_parts

__all__ = ["Outbox"]


class Outbox:
    """Calls that are not sent yet. The connection adds to it under its lock, and takes it as a whole."""

    def __init__(self) -> None:
        self.functions: dict[str, bytes] = {}
        """By their keys."""
        self.calls: defaultdict[str, list[tuple[int, str, bytes] | tuple[int, str, bytes, int, int]]]
        self.calls = defaultdict(list)
        """By the key of their kind."""
        self.cancelled: list[int] = []
        self.cancelled_rows: list[tuple[int, int]] = []

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """Yield the messages to the server, in order: a function before its calls, a call before its cancellation."""
        for functions in in_parts(self.functions.items(), lambda item: len(item[1])):
            yield "functions", dict(functions)
        for kind, calls in self.calls.items():
            for part in in_parts(calls, lambda call: len(call[2])):
                yield "calls", kind, part
        if self.cancelled:
            yield "cancel", self.cancelled
        if self.cancelled_rows:
            yield "cancel rows", self.cancelled_rows
