"""What is too large for a message."""

from __future__ import annotations

from jobpool.model.errors import NotPicklable
from jobpool.model.units import Memory
from jobpool.transport import frames

__all__ = ["LARGEST", "refusal"]

LARGEST = frames.FRAME_LIMIT - 4 * 2**20
"""Bytes of one call's arguments, its result, its exception, or of a function, at most. A message holds some more on
each stretch of its way: what the call used and printed (64 KiB), results of a map that go together (``rows``)."""


def refusal(what: str, pickled: bytes | NotPicklable) -> NotPicklable | None:
    """Return why this cannot be sent, if it cannot. Ask where it is made: later it costs more than the call."""
    if isinstance(pickled, NotPicklable):
        return pickled
    if len(pickled) <= LARGEST:
        return None
    return NotPicklable(
        f"{what}: {Memory(len(pickled))} pickled, more than the {Memory(LARGEST)} that can be sent",
        advice="write the data to a file that the nodes share, and give its path",
    )
