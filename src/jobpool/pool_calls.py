"""What a ``Pool``'s calls run on a worker: few lines, without anything that would have to be imported there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["map_chunk", "nothing", "starmap_chunk"]


def map_chunk(function: Callable[..., Any], chunk: Iterable[Any]) -> list[Any]:
    """Call the function with each item."""
    return list(map(function, chunk))


def starmap_chunk(function: Callable[..., Any], chunk: Iterable[Iterable[Any]]) -> list[Any]:
    """Call the function with the items of each item."""
    return list(itertools.starmap(function, chunk))


def nothing() -> None:
    """Stand in the place of a call that could not be made."""
