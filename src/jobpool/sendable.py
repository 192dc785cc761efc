"""What is too large for a message."""

from __future__ import annotations

from jobpool import wire
from jobpool.errors import NotPicklable
from jobpool.units import Memory

__all__ = ["LARGEST", "refusal"]

LARGEST = wire.FRAME_LIMIT - 2**20
"""Bytes of one call's arguments, or of a function, at most: a message holds some words more."""


def refusal(what: str, pickled: bytes | NotPicklable) -> NotPicklable | None:
    """Return why this cannot be sent, if it cannot."""
    if isinstance(pickled, NotPicklable):
        return pickled
    if len(pickled) <= LARGEST:
        return None
    return NotPicklable(
        f"{what} of the call: {Memory(len(pickled))} pickled, more than the {Memory(LARGEST)} that can be sent",
        advice="write the data to a file that the nodes share, and give its path",
    )
