"""What waits in a client to be sent to the server, and the messages that it becomes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jobpool.transport.link import in_parts

__all__ = ["Outbox"]


class Outbox:
    """Calls on their way to the server. It is filled under the connection's lock, and taken as a whole."""

    def __init__(self) -> None:
        self.functions: dict[str, bytes] = {}
        """By their keys."""
        self.calls: defaultdict[str, list[tuple[int, str, bytes] | tuple[int, str, bytes, int, int]]]
        self.calls = defaultdict(list)
        """By the key of their kind."""
        self.cancelled: list[int] = []
        self.cancelled_rows: list[tuple[int, int]] = []

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """Yield what the server is told, in order: a function before its calls, a call before its end."""
        for functions in in_parts(self.functions.items(), lambda item: len(item[1])):
            yield "functions", dict(functions)
        for kind, calls in self.calls.items():
            for part in in_parts(calls, lambda call: len(call[2])):
                yield "calls", kind, part
        if self.cancelled:
            yield "cancel", self.cancelled
        if self.cancelled_rows:
            yield "cancel rows", self.cancelled_rows
