"""How functions, modules and code that travel by value are made again, and what names of theirs last.

Anything that a pickle calls stands here, so that a worker can put its own in the place of each.
"""

from __future__ import annotations

import builtins
import functools
import marshal
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

import cloudpickle.cloudpickle as internals

from jobpool.serialize.pickling_classes import defined

__all__ = [
    "MAKERS",
    "PRIVATE",
    "belongs_to",
    "cached_again",
    "code_again",
    "lasting_name",
    "living_modules",
    "module_again",
    "named_objects",
    "own_variables",
    "reduce_code",
    "set_variables",
    "travels_by_value",
]

PRIVATE = "__jobpool_private__"
"""Marks global variables that are not those of a module of the user's: those of ``exec``, or of what is installed."""

_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})
"""Variables of a module that belong to the Python that imported it."""


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Reduce code as the interpreter stores it: in a tenth of the time that cloudpickle takes, and with its file.

    Both need the same Python on both sides. Tracebacks of a call show the user's own lines by the file. Version 2 of
    the form says nothing of how often an object is referred to, so that equal functions are equal pickles.
    """
    return code_again, (marshal.dumps(code, 2),)


def code_again(data: bytes) -> CodeType:
    """Make code again."""
    code: CodeType = marshal.loads(data)
    return code


living_modules: dict[str, ModuleType] = {}
"""Modules that came into this process by value, in a worker."""


def travels_by_value(module: str) -> bool:
    """Whether a module is the script, or one of the user's that cloudpickle or a worker knows as such."""
    return module == "__main__" or module in internals.list_registry_pickle_by_value() or module in living_modules


def belongs_to(module: str, variables: dict[str, Any]) -> bool:
    """Whether these are the global variables of a module of the user's, and no others that carry its name."""
    return any(
        found is not None and vars(found) is variables
        for found in (sys.modules.get(module), living_modules.get(module))
    )


def lasting_name(function: Any, variables: dict[str, Any]) -> str | None:
    """Return the name of a function that its module knows by it; what has none is made anew for each pickle.

    ``_`` is no name: the implementations of a generic function have it in turns, and the next loop takes it away.
    """
    name = getattr(function, "__qualname__", "")
    return name if variables.get(name) is function and name != "_" else None


def named_objects(spaces: dict[str, dict[str, Any]], addresses: set[int]) -> dict[str, dict[str, Any]]:
    """Return the global variables, by module, that are objects at these addresses."""
    named = {
        module: {name: value for name, value in list(variables.items()) if id(value) in addresses}
        for module, variables in spaces.items()
    }
    return {module: values for module, values in named.items() if values}


def cached_again(
    parameters: dict[str, Any], function: Callable[..., Any], _name: str | None = None
) -> Callable[..., Any]:
    """Make a function under ``functools.cache`` again. A worker looks for one that it has by this name."""
    again: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return again


def module_again(name: str) -> ModuleType:
    """Make a module again, without its variables."""
    return ModuleType(name)


def own_variables(module: ModuleType) -> dict[str, Any]:
    """Return the variables of a module that it did not get by being imported."""
    return {name: value for name, value in vars(module).items() if name not in _OF_THE_IMPORT}


def set_variables(module: ModuleType, variables: dict[str, Any]) -> None:
    """Give a module its variables."""
    vars(module).update(variables, __builtins__=builtins)


_INTERNALS = ("_make_function", "_function_setstate", "_make_skeleton_class", "_class_setstate", "_make_cell")

MAKERS = frozenset(
    [cached_again, code_again, module_again, set_variables, defined]
    + [getattr(internals, name, None) for name in _INTERNALS]
)
"""What nearly all pickles by value call."""
