"""Replaces an object by an equal one, in everything that refers to it."""

from __future__ import annotations

import copyreg
import gc
import sys
from types import CellType, FunctionType
from typing import Any

from jobpool.serialize.by_name import name_of

__all__ = ["is_held", "is_newly_made", "replace_everywhere"]


def is_newly_made(value: Any) -> bool:
    """Return whether unpickling has created this object.

    A member of an enum, a pattern or a logger existed before, is meant by everything that refers to it, and must not be
    replaced. An object with a ``__reduce__`` of its own may be such an object.
    """
    kind: Any = type(value)
    if kind.__hash__ is None:  # a list, a dictionary, an array: it can be changed, and so must not be shared
        return name_of(value) is None
    own = kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__
    return kind.__hash__ is object.__hash__ and not own and kind not in copyreg.dispatch_table


def is_held(value: Any) -> bool:
    """Return whether anything refers to an object beside a tuple in the list over which the caller loops."""
    return _references(value) > _BARE


def _references(value: Any) -> int:
    return sys.getrefcount(value)


def _bare() -> int:
    """Count the references to an object to which nothing else refers: how many a call adds differs between Pythons."""

    def asked(value: Any) -> int:
        return _references(value)

    count = 0
    for _, value in [(None, object())]:
        count = asked(value)
    return count


_BARE = _bare()


def replace_everywhere(old: Any, new: Any) -> None:
    """Let everything that refers to ``old`` refer to ``new``: containers, objects, defaults and closures of
    functions."""
    for holder in gc.get_referrers(old):
        if isinstance(holder, dict):
            _in_dictionary(holder, old, new)
        elif isinstance(holder, list):
            holder[:] = [new if item is old else item for item in holder]
        elif isinstance(holder, CellType):
            holder.cell_contents = new
        elif isinstance(holder, tuple):
            for function in gc.get_referrers(holder):
                if isinstance(function, FunctionType) and function.__defaults__ is holder:
                    function.__defaults__ = tuple(new if item is old else item for item in holder)
        elif isinstance(attributes := getattr(holder, "__dict__", None), dict):
            _in_dictionary(attributes, old, new)


def _in_dictionary(items: dict[Any, Any], old: Any, new: Any) -> None:
    for key, value in list(items.items()):
        if value is old:
            items[key] = new
