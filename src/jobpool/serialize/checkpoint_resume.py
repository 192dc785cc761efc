"""What runs in the place of a call that left a checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PICKLED", "RESUME", "resume"]

T = TypeVar("T")

RESUME = "resume"
"""The key under which agents know :func:`resume`. Keys of users' functions are hashes."""


def resume(go_on: Callable[[], T]) -> T:
    """Run what ``checkpoint()`` returned. It travels as an argument, which goes when the call is over."""
    return go_on()


PICKLED = pickle.dumps(resume, 5)
"""As it travels: by name."""
