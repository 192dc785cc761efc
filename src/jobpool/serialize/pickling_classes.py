"""Pickles arguments that contain the user's classes in two parts: the classes, and the arguments that refer to them.

The first part is the same for all calls, as long as the client does not change a class. So a worker reads it once.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Defining", "defined", "loads_defined", "parted", "unpickler"]


class Defining:
    """Mixin for a pickler: collects the classes that are pickled by value, and pickles references to them."""

    is_by_value: Callable[[str], bool]
    """Returns whether the classes of this module are pickled by value."""
    things: tuple[Any, ...] = ()
    """The classes that were collected."""

    def reducer_override(self, value: Any) -> Any:
        """Pickle a class as its index in :attr:`things`."""
        if isinstance(value, type) and self.is_by_value(value.__module__):
            self.things = (*self.things, value)
            return defined, (len(self.things) - 1,)
        return super().reducer_override(value)  # type: ignore[misc]


def parted(definitions: bytes, rest: bytes) -> bytes:
    """Return both parts as one pickle."""
    return pickle.dumps(_Parted(definitions, rest), 5)


class _Parted:
    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return loads_defined, self._parts


def loads_defined(definitions: bytes, rest: bytes) -> Any:
    """Unpickle both parts, in a process that keeps no classes of earlier calls."""
    return unpickler(rest, pickle.loads(definitions)).load()


def unpickler(rest: bytes, things: Sequence[Any], makers: Callable[[Any], Any] = lambda found: found) -> Any:
    """Return an unpickler of the second part. ``makers`` returns the replacement of a function that the pickle
    calls."""

    def find(found: Any) -> Any:
        return things.__getitem__ if found is defined else makers(found)

    return _Unpickler(rest, find)


class _Unpickler(pickle.Unpickler):
    def __init__(self, rest: bytes, find: Callable[[Any], Any]) -> None:
        super().__init__(io.BytesIO(rest))
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        return self._find(super().find_class(module, name))


def defined(place: int) -> Any:
    """Represent a class in the second part."""
    raise pickle.UnpicklingError(f"class {place} of a pickle whose definitions are missing")
