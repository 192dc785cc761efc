"""Warns of random number generators that are pickled with a function: each worker begins with the same numbers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

__all__ = ["SameRandomNumbers", "is_generator", "is_kind", "warn"]

_NAMES = frozenset({"Generator", "RandomState", "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_LIBRARIES = ("numpy.", "torch", "cupy", "tensorflow.")
_PACKAGE = str(Path(__file__).parents[1])

_told: set[str] = set()


class SameRandomNumbers(UserWarning):
    """A random number generator is pickled with a function, and begins with the same numbers in each worker process."""


def is_generator(value: object) -> bool:
    """Return whether an object is a random number generator, whose state is pickled with it."""
    return is_kind(type(value))


def is_kind(kind: type) -> bool:
    """Return whether objects of this type are random number generators."""
    if issubclass(kind, Random):
        return not issubclass(kind, SystemRandom)
    return kind.__name__ in _NAMES and str(kind.__module__).startswith(_LIBRARIES)


def warn(function: str, way: Sequence[str], generator: Any) -> None:
    """Warn the user, once for each such variable."""
    kind = type(generator)
    text = (
        f"{function} is sent with a random number generator ({' -> '.join(way)}, a {kind.__module__}."
        f"{kind.__qualname__}), which begins with the same numbers in each worker process: make a generator in each "
        "call, from a seed that is an argument (docs/how-to-random-numbers.md)"
    )
    if text not in _told:
        _told.add(text)
        warnings.warn(text, SameRandomNumbers, stacklevel=_users_level())


def _users_level() -> int:
    """Return how many frames above ``warn`` the user's line is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
