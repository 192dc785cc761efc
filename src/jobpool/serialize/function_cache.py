"""Whether a function is as it was: then its pickle is, too, and need not be made again for each ``submit``.

Pickling a function by value takes 40 microseconds and more, since it holds the functions and global variables that it
uses, with the values that they have now. Looking whether any of them is another object than before takes two. That
tells all about objects that cannot change in themselves; a function that uses any other is pickled each time.
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
"""Length of a text or bytes that may be held on to for this."""

_MISSING: Any = object()
"""Stands for a global variable that is not there, or a builtin."""

_MOST = 100
"""Functions that are looked at, at most."""


class _Seen(NamedTuple):
    """A function, and all that its pickle depends on."""

    function: FunctionType
    code: CodeType
    defaults: Any
    names: tuple[str, ...]
    values: tuple[Any, ...]
    cells: tuple[Any, ...]


Look = list[_Seen]


def look(function: FunctionType, by_value: Callable[[str], bool]) -> Look | None:
    """Note what a function uses. None: it uses something that may change unseen.

    ``by_value`` tells whether what a module of this name defines travels by value.
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
                if type(value) is Logger or name_of(value):  # what travels by its name
                    continue
                return None
            waiting.append(value)
    return list(found.values())


def holds(seen: Look) -> bool:
    """Whether all is as it was."""
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
    except ValueError:  # one that is not assigned yet
        return (object(),)


def _is_constant(value: Any, by_value: Callable[[str], bool]) -> bool:
    """Whether this object pickles the same as long as it is this object."""
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
    """Return the names that the code, and code nested in it, may look up as globals, in order."""
    return tuple(dict.fromkeys(_names(code)))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
