"""What a client will send to the server next, and the messages for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jobpool.model.call import Call
from jobpool.transport.link import in_parts
from jobpool.transport.messages.base import Function, Functions
from jobpool.transport.messages.client import Calls, Cancel, CancelRows, ClientMessage

__all__ = ["Outbox"]


class Outbox:
    """Calls that are not sent yet. The connection adds to it under its lock, and takes it as a whole."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)
        """By the key of their kind."""
        self.cancelled: list[int] = []
        self.cancelled_rows: list[tuple[int, int]] = []

    def messages(self) -> Iterator[ClientMessage]:
        """Yield the messages to the server, in order: a function before its calls, a call before its cancellation."""
        for functions in in_parts(self.functions):
            yield Functions(functions)
        for kind, calls in self.calls.items():
            for part in in_parts(calls):
                yield Calls(kind, part)
        if self.cancelled:
            yield Cancel(self.cancelled)
        if self.cancelled_rows:
            yield CancelRows(self.cancelled_rows)
