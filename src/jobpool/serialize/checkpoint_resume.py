"""The function that runs in place of a call that left a checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PICKLED", "RESUME", "resume"]

T = TypeVar("T")

RESUME = "resume"
"""The key under which agents know :func:`resume`. Keys of users' functions are hashes."""


def resume(go_on: Callable[[], T]) -> T:
    """Run the function that ``checkpoint()`` returned. It is an argument, which is dropped when the call has ended."""
    return go_on()


PICKLED = pickle.dumps(resume, 5)
"""The pickle of :func:`resume`, by name."""
