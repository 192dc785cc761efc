"""Tells whether a function has changed since it was pickled; if not, ``submit`` uses the pickle again.

To pickle a function by value takes at least 40 microseconds, since the pickle contains the functions and global
variables that it uses, with their current values. To compare the identities of all these objects takes 2 microseconds.
That is enough for objects that cannot change. A function that uses any other object is pickled for each ``submit``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from logging import Logger
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from jobpool.serialize.by_name import is_found, name_of
from jobpool.serialize.reducers import is_dispatcher

__all__ = ["Look", "global_names", "holds", "look"]

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})

LARGEST = 64 * 1024
"""Maximum length of a text or bytes object that is kept for this."""

_MISSING: Any = object()
"""The value of a global variable that does not exist, or is a builtin."""

_MOST = 100
"""Maximum number of functions that are compared."""


class _Seen(NamedTuple):
    """A function, and everything that its pickle depends on."""

    function: FunctionType
    code: CodeType
    defaults: Any
    names: tuple[str, ...]
    values: tuple[Any, ...]
    cells: tuple[Any, ...]


Look = list[_Seen]


def look(function: FunctionType, by_value: Callable[[str], bool]) -> Look | None:
    """Note what a function uses. None: it uses an object that may change without a change of identity.

    ``by_value`` tells whether the functions and classes of a module are pickled by value.
    """
    found: dict[FunctionType, _Seen] = {}
    waiting = [function]
    while waiting:
        this = waiting.pop()
        if this in found:
            continue
        seen = _see(this)
        if seen is None or len(found) == _MOST:
            return None
        found[this] = seen
        for value in (*seen.values, *seen.cells, *(seen.defaults or ())):
            if _is_constant(value, by_value):
                continue
            if not isinstance(value, FunctionType):
                if type(value) is Logger or name_of(value):  # pickled by name
                    continue
                return None
            waiting.append(value)
    return list(found.values())


def holds(seen: Look) -> bool:
    """Return whether nothing has changed."""
    for function, code, defaults, names, values, cells in seen:
        if function.__code__ is not code or function.__defaults__ is not defaults:
            return False
        if function.__dict__ or function.__kwdefaults__:
            return False
        variables = function.__globals__
        for name, value in zip(names, values, strict=True):
            if variables.get(name, _MISSING) is not value:
                return False
        if cells and any(now is not before for now, before in zip(_cells(function), cells, strict=True)):
            return False
    return True


def _see(function: FunctionType) -> _Seen | None:
    if function.__dict__ or function.__kwdefaults__:
        return None
    names = global_names(function.__code__)
    variables = function.__globals__
    values = tuple([variables.get(name, _MISSING) for name in names])
    cells = _cells(function)
    return _Seen(function, function.__code__, function.__defaults__, names, values, cells)


def _cells(function: FunctionType) -> tuple[Any, ...]:
    try:
        return tuple([cell.cell_contents for cell in function.__closure__ or ()])
    except ValueError:  # a cell that is not assigned yet
        return (object(),)


def _is_constant(value: Any, by_value: Callable[[str], bool]) -> bool:
    """Return whether the pickle of this object is always the same."""
    kind = type(value)
    if kind in _SCALARS:
        return kind not in (str, bytes) or len(value) <= LARGEST
    if kind is tuple or kind is frozenset:
        return all(_is_constant(item, by_value) for item in value)
    if isinstance(value, ModuleType):
        return not by_value(value.__name__)
    if isinstance(value, FunctionType) and is_dispatcher(value):
        return False  # the user may register more
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return not by_value(str(value.__module__)) and is_found(value)
    return value is _MISSING


@functools.lru_cache(maxsize=1000)
def global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names that the code, with the code nested in it, may look up as global variables, in order."""
    return tuple(dict.fromkeys(_names(code)))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
