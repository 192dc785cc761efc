"""The maximum size of what a message carries."""

from __future__ import annotations

from jobpool.model.errors import NotPicklable
from jobpool.model.units import Memory
from jobpool.transport import frames

__all__ = ["LARGEST", "refusal"]

LARGEST = frames.FRAME_LIMIT - 4 * 2**20
"""Maximum size in bytes of one call's arguments, its result, its exception, or of a function. A message may be larger:
it also contains what the call used and printed (64 KiB), or results of a map that are sent together (``chunks``)."""


def refusal(what: str, pickled: bytes | NotPicklable) -> NotPicklable | None:
    """Return the error if this is too large to be sent, else None. Check where the data is made: later, more than the
    call would fail."""
    if isinstance(pickled, NotPicklable):
        return pickled
    if len(pickled) <= LARGEST:
        return None
    return NotPicklable(
        f"{what}: {Memory(len(pickled))} pickled, more than the {Memory(LARGEST)} that can be sent",
        advice="write the data to a file that the nodes share, and give its path",
    )
