"""Puts an object in the place of an equal one, wherever that is held."""

from __future__ import annotations

import copyreg
import gc
import sys
from types import CellType, FunctionType
from typing import Any

from jobpool.serialize.by_name import name_of

__all__ = ["is_held", "is_made_anew", "replace_everywhere"]


def is_made_anew(value: Any) -> bool:
    """Say whether unpickling has made an object. A member of an enum, a pattern or a logger was there before.

    Then all that holds it means that one: it must not be replaced. What says itself how it is unpickled may be such.
    """
    kind: Any = type(value)
    if kind.__hash__ is None:  # a list, a dictionary, an array: it can be changed, and so must not be shared
        return name_of(value) is None
    own = kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__
    return kind.__hash__ is object.__hash__ and not own and kind not in copyreg.dispatch_table


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
