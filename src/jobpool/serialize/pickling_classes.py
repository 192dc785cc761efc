"""Arguments that bring the user's classes along, in two pickles: the classes, and the arguments that refer to them.

The first is the same from call to call, as long as the client has not changed a class. So a worker reads it once.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Defining", "defined", "loads_defined", "parted", "unpickler"]


class Defining:
    """What makes a pickler put classes aside. To be mixed into one that pickles them by value."""

    is_by_value: Callable[[str], bool]
    """Tells whether what a module of this name defines travels by value."""
    things: tuple[Any, ...] = ()
    """The classes that were met."""

    def reducer_override(self, value: Any) -> Any:
        """Refer to a class by its place among :attr:`things`."""
        if isinstance(value, type) and self.is_by_value(value.__module__):
            self.things = (*self.things, value)
            return defined, (len(self.things) - 1,)
        return super().reducer_override(value)  # type: ignore[misc]


def parted(definitions: bytes, rest: bytes) -> bytes:
    """Return both pickles as one."""
    return pickle.dumps(_Parted(definitions, rest), 5)


class _Parted:
    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return loads_defined, self._parts


def loads_defined(definitions: bytes, rest: bytes) -> Any:
    """Unpickle both, where nothing is kept of earlier calls."""
    return unpickler(rest, pickle.loads(definitions)).load()


def unpickler(rest: bytes, things: Sequence[Any], makers: Callable[[Any], Any] = lambda found: found) -> Any:
    """Return an unpickler of the second part. ``makers`` gives what stands for a function that it calls."""

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
    """Stand for a class in the second part."""
    raise pickle.UnpicklingError(f"class {place} of a pickle whose definitions are missing")
