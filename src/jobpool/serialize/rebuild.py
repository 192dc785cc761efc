"""Rebuilds functions, modules and code that were pickled by value.

The functions that such a pickle calls are all here, so that a worker can replace each by its own.
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
    "PRIVATE",
    "REBUILDERS",
    "belongs_to",
    "lasting_name",
    "named_objects",
    "own_variables",
    "rebuild_cached",
    "rebuild_code",
    "rebuild_module",
    "reduce_code",
    "set_variables",
    "shared_modules",
    "travels_by_value",
]

PRIVATE = "__jobpool_private__"
"""Marks global variables that do not belong to a module of the user's, but to ``exec`` or to an installed module."""

_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})
"""Variables of a module that belong to the Python that imported it."""


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Reduce code as the interpreter stores it: in a tenth of the time that cloudpickle takes, and with its file name.

    Both ways need the same Python on both sides. With the file name, tracebacks of a call show the user's lines.
    Version 2 of the format does not depend on reference counts, so that equal functions have equal pickles.
    """
    return rebuild_code, (marshal.dumps(code, 2),)


def rebuild_code(data: bytes) -> CodeType:
    """Return the code object."""
    code: CodeType = marshal.loads(data)
    return code


shared_modules: dict[str, ModuleType] = {}
"""In a worker: the modules that came into this process by value."""


def travels_by_value(module: str) -> bool:
    """Return whether a module is pickled by value: the script, or a module of the user's that is registered as such."""
    return module == "__main__" or module in internals.list_registry_pickle_by_value() or module in shared_modules


def belongs_to(module: str, variables: dict[str, Any]) -> bool:
    """Return whether these are the global variables of the module of this name."""
    return any(
        found is not None and vars(found) is variables
        for found in (sys.modules.get(module), shared_modules.get(module))
    )


def lasting_name(function: Any, variables: dict[str, Any]) -> str | None:
    """Return the name under which a module has the function, or None: then each pickle creates a new function.

    ``_`` does not count as a name: several implementations of a generic function have it, one after another.
    """
    name = getattr(function, "__qualname__", "")
    return name if variables.get(name) is function and name != "_" else None


def named_objects(namespaces: dict[str, dict[str, Any]], addresses: set[int]) -> dict[str, dict[str, Any]]:
    """Return the global variables, by module, that are objects at these addresses."""
    named = {
        module: {name: value for name, value in list(variables.items()) if id(value) in addresses}
        for module, variables in namespaces.items()
    }
    return {module: values for module, values in named.items() if values}


def rebuild_cached(
    parameters: dict[str, Any], function: Callable[..., Any], _name: str | None = None
) -> Callable[..., Any]:
    """Return a function under ``functools.cache``. A worker uses the one that it has under this name instead."""
    rebuilt: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return rebuilt


def rebuild_module(name: str) -> ModuleType:
    """Return a new module, without variables."""
    return ModuleType(name)


def own_variables(module: ModuleType) -> dict[str, Any]:
    """Return the variables of a module without those that the import system sets."""
    return {name: value for name, value in vars(module).items() if name not in _OF_THE_IMPORT}


def set_variables(module: ModuleType, variables: dict[str, Any]) -> None:
    """Set the variables of a module."""
    vars(module).update(variables, __builtins__=builtins)


_INTERNALS = ("_make_function", "_function_setstate", "_make_skeleton_class", "_class_setstate", "_make_cell")

REBUILDERS = frozenset(
    [rebuild_cached, rebuild_code, rebuild_module, set_variables, defined]
    + [getattr(internals, name, None) for name in _INTERNALS]
)
"""The functions that nearly all pickles by value call."""
