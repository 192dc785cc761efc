"""The functions that a ``Pool``'s calls run on a worker. The module imports nothing that a worker would have to
load."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["map_chunk", "nothing", "starmap_chunk"]


def map_chunk(function: Callable[..., Any], chunk: Iterable[Any]) -> list[Any]:
    """Call the function with each item."""
    return [function(item) for item in chunk]  # list(map(...)) would end where the function raises StopIteration


def starmap_chunk(function: Callable[..., Any], chunk: Iterable[Iterable[Any]]) -> list[Any]:
    """Call the function with the items of each item."""
    return [function(*items) for items in chunk]


def nothing() -> None:
    """Do nothing, in place of a call that could not be submitted."""
