"""Unpickle what comes back from a worker without changing the classes that are here.

A class by value comes home as the class it was: cloudpickle finds it by a number. But it also makes it anew before it
looks, and sets its attributes anew, so that its methods would become the worker's copies, with the global variables of
the time of the submit. The class that is here is the original, and stays as it is.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle.cloudpickle as internals

__all__ = ["loads_home"]

# cloudpickle's own parts. A later version may have others; then nothing here takes effect, and all else works.
_MAKERS = tuple(getattr(internals, name, None) for name in ("_make_skeleton_class", "_make_skeleton_enum"))
_SET_STATE = getattr(internals, "_class_setstate", None)
_KNOWN = getattr(internals, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})


SMALL = 16 * 1024
"""Bytes that are searched in less time than it takes to make an unpickler of our own."""


def loads_home(data: bytes) -> Any:
    """Unpickle a result or an exception."""
    # Most results have no class by value, and need no unpickler that looks at names.
    if len(data) <= SMALL and b"_class_setstate" not in data:
        return pickle.loads(data)
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._originals: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        # What is returned holds the list and not this object: it keeps what it returned and what it made, so the result
        # would live in a cycle until the garbage is collected.
        if found is not None and found in _MAKERS:
            return functools.partial(_make_or_find, self._originals, found)
        return functools.partial(_set_state, self._originals) if found is not None and found is _SET_STATE else found


def _make_or_find(originals: list[type], make: Callable[..., type], *args: Any) -> type:
    # Not made first, as cloudpickle does before it looks: __init_subclass__ and metaclasses would see the class again.
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
