"""Puts an object in the place of an equal one, wherever that is held."""

from __future__ import annotations

import gc
import sys
from types import CellType, FunctionType
from typing import Any

__all__ = ["is_held", "replace_everywhere"]


def is_held(value: Any) -> bool:
    """Say whether something else holds an object than a tuple in a list, over which who asks makes a loop."""
    return _references(value) > _BARE


def _references(value: Any) -> int:
    return sys.getrefcount(value)


def _bare() -> int:
    """Count the references to an object that nothing else holds: how many a call adds differs between Pythons."""

    def asked(value: Any) -> int:
        return _references(value)

    count = 0
    for _, value in [(None, object())]:
        count = asked(value)
    return count


_BARE = _bare()


def replace_everywhere(old: Any, new: Any) -> None:
    """Let all that holds ``old`` hold ``new``: containers, objects, and the defaults and closures of functions."""
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
