"""Finds the name of an object that is a variable of an installed module, and neither a function nor a class.

``from random import gauss`` gives a bound method of a generator that the module has. Pickled by value, it would contain
the generator and its state, and each worker would draw the same numbers. So the variables of an installed module are
pickled as its functions and classes are: by name. In the worker, the name gives the worker's own object.

The object is found by its identity, in an index of all modules. The index is made when it is needed for the first time,
and extended by the modules that were imported since: about 20 us for each of them.
"""

from __future__ import annotations

import importlib
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle

from jobpool.serialize.rebuild import shared_modules, travels_by_value

__all__ = ["BY_THEMSELVES", "Named", "found", "is_found", "name_of"]

_WITHOUT = frozenset({"__main__", "__mp_main__", "builtins"})
"""Modules that may have objects of others: ``builtins`` has the last value of an interactive session."""

_OF_SYS = frozenset({"meta_path", "modules", "path", "path_hooks"})
"""Variables of ``sys`` that each worker has its own of. ``sys.argv`` is the script's, the last exception the user's."""

BY_THEMSELVES = frozenset(
    {type(None), bool, int, float, complex, str, bytes, tuple, frozenset, type(...), type(NotImplemented)}
    | {type, ModuleType, FunctionType, CodeType}
)
"""Types of values that cannot change, or that pickle itself finds by name."""

_OF_THE_IMPORT = frozenset({"__all__", "__annotations__", "__builtins__", "__loader__", "__path__", "__spec__"})

_index: dict[int, tuple[str, str]] = {}
"""By the id of a value: a module that has it, and the name of the variable. An entry may be outdated."""

_indexed: set[str] = set()
_modules_seen = 0


class Named:
    """Pickles a value by its name in a module."""

    __slots__ = ("name",)

    def __init__(self, name: tuple[str, str]) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return found, self.name


def found(module: str, name: str) -> Any:
    """Return the variable of an installed module."""
    return getattr(importlib.import_module(module), name)


def name_of(value: object) -> tuple[str, str] | None:
    """Return an installed module that has this object, and the object's name there; None if no module has it."""
    if len(sys.modules) != _modules_seen:
        _index_modules()
    name = _index.get(id(value))
    if name is None or vars(sys.modules.get(name[0], _NOTHING)).get(name[1]) is not value:
        return _name_in_sys(value)
    return None if travels_by_value(name[0]) or travels_by_value(_home(value)) else name


def _name_in_sys(value: object) -> tuple[str, str] | None:
    """Look at what ``sys`` has now: a library may have put another list in the place of the one in the index."""
    return next((("sys", name) for name in _OF_SYS if vars(sys)[name] is value), None)


def is_found(value: Any) -> bool:
    """Return whether a loaded module has this class or function under its own name."""
    held: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        held = getattr(held, name, None)
    return held is value


_NOTHING = ModuleType("nothing")


def _index_modules() -> None:
    global _modules_seen
    modules = sys.modules.copy()  # in one step: another thread may import meanwhile
    own = cloudpickle.list_registry_pickle_by_value() | shared_modules.keys()
    seen = len(modules)
    for name, module in modules.items():
        if name in _indexed or name in _WITHOUT or name in own or not issubclass(type(module), ModuleType):
            continue
        spec = module.__dict__.get("__spec__")
        if spec is None or spec.name != name:
            continue  # the module cannot be imported by this name
        if getattr(spec, "_initializing", False):
            seen = 0  # the import has not ended: look again the next time
            continue
        _indexed.add(name)
        _index_variables(name, module)
    _modules_seen = seen


def _index_variables(module: str, content: ModuleType) -> None:
    for name, value in list(content.__dict__.items()):
        kind = type(value)
        if kind in BY_THEMSELVES or name in _OF_THE_IMPORT or issubclass(kind, type):
            continue
        if module == "sys" and name not in _OF_SYS:
            continue
        if kind is BuiltinFunctionType and (value.__self__ is None or type(value.__self__) in (ModuleType, type)):
            continue
        known = _index.setdefault(id(value), (module, name))
        if known[0] != module and _root(known[0]) != (home := _root(_home(value))) and home == _root(module):
            _index[id(value)] = module, name  # prefer the module that defines the object to one that imported it


def _home(value: Any) -> str:
    """Return the module that defines the class of an object, or of a method's object."""
    held = value.__self__ if type(value) in (MethodType, BuiltinFunctionType) else value
    return str(getattr(type(held), "__module__", ""))


def _root(module: str) -> str:
    return module.partition(".")[0]
