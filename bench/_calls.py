"""What the calls of the benches do. A module of its own, so that every peer can send the functions by name."""

from __future__ import annotations

import time

__all__ = ["burn", "echo", "nothing"]


def nothing(item: int) -> int:
    return item


def burn(seconds: float) -> float:
    """Use this much CPU: on a busy machine a call takes longer, but is the same work."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds


def echo(payload: bytes) -> bytes:
    return payload
