"""Unpickles results and exceptions in the client without changing the client's classes.

A class that was pickled by value is the same class when it comes back: cloudpickle finds it by its number. But before
it looks, cloudpickle creates the class again, and then sets the attributes of the original, so that its methods would
be the worker's copies, with the global variables of the time of the submit. Here, the original class is not changed.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle.cloudpickle as internals

__all__ = ["loads_home"]

# Internals of cloudpickle. With a later version that has others, this module has no effect, and the rest works.
_MAKERS = tuple(getattr(internals, name, None) for name in ("_make_skeleton_class", "_make_skeleton_enum"))
_SET_STATE = getattr(internals, "_class_setstate", None)
_KNOWN = getattr(internals, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})


SMALL = 16 * 1024
"""Bytes. To search a pickle of this size takes less time than to create an unpickler."""


def loads_home(data: bytes) -> Any:
    """Unpickle a result or an exception."""
    # Most results contain no class by value, and need no special unpickler.
    if len(data) <= SMALL and b"_class_setstate" not in data:
        return pickle.loads(data)
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._originals: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        # The returned functions refer to the list and not to this object, which refers to them and to the result:
        # otherwise the result would be in a cycle until the next garbage collection.
        if found is not None and found in _MAKERS:
            return functools.partial(_make_or_find, self._originals, found)
        return functools.partial(_set_state, self._originals) if found is not None and found is _SET_STATE else found


def _make_or_find(originals: list[type], make: Callable[..., type], *args: Any) -> type:
    # Not created before the lookup, as in cloudpickle: __init_subclass__ and metaclasses would see the class again.
    known: type | None = _KNOWN.get(args[-2])  # the class's number, before the argument for later versions
    if known is None:
        return make(*args)
    originals.append(known)
    return known


def _set_state(originals: list[type], found: type, state: Any) -> Any:
    if any(found is original for original in originals):
        return found
    assert _SET_STATE is not None
    return _SET_STATE(found, state)
