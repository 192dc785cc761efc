"""The pickler for everything beyond plain data: the user's own code by value, installed modules by name."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from io import IOBase
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, ClassVar, NamedTuple

import cloudpickle

from jobpool.serialize import random_generators, reducers
from jobpool.serialize.by_name import BY_THEMSELVES, Named, is_found, name_of
from jobpool.serialize.pickling_classes import Defining
from jobpool.serialize.proxies import is_shared, reduce_shared
from jobpool.serialize.rebuild import (
    PRIVATE,
    REBUILDERS,
    belongs_to,
    lasting_name,
    named_objects,
    own_variables,
    rebuild_cached,
    rebuild_module,
    set_variables,
    travels_by_value,
)

__all__ = ["ANYWHERE", "HOME", "ArgumentPickler", "Destination", "Pieces", "by_value", "fails", "travels_by_value"]


class Destination(NamedTuple):
    """Which processes unpickle something."""

    local: bool = False
    """They run on this machine."""
    several: bool = False
    """There may be several."""


ANYWHERE = Destination()
HOME = Destination(local=True)
"""The client of a call: what the client could send to a call, the call can send back."""


class Pieces(list[bytes]):
    """The file to which a pickler writes. It keeps large bytes without a copy; a BytesIO would copy them twice."""

    write = list.append


class _ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, with functions under ``functools.cache`` treated as all other functions.

    Objects of installed modules are pickled by name: all of them in the variables of functions, elsewhere those that
    are more than data. A dictionary that is an argument is pickled by value, even if a module has it as well.
    """

    dispatch_table: ClassVar[Any] = reducers.BY_TYPE

    @classmethod
    def to(cls, pieces: Any, to: Destination, taken: list[object] | None = None) -> _ValuePickler:
        """Return a pickler that writes to ``pieces``, and appends random number generators and proxies to ``taken``."""
        pickler: _ValuePickler = cls(pieces, 5)
        pickler._destination, pickler._taken, pickler._ordinary = to, taken, set()
        return pickler

    def __init__(self, file: Pieces, protocol: int) -> None:
        super().__init__(file, protocol)
        self.namespaces: dict[str, dict[str, Any]] = {}
        """The global variables, by module, of the functions that were pickled."""
        self.objects: set[int] = set()
        """The addresses of objects of the user's classes that were pickled."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ORDINARY:
            return NotImplemented
        if kind in self._ordinary:
            self.objects.add(id(value))
            return NotImplemented
        if kind is FunctionType:
            if value in REBUILDERS:
                return NotImplemented  # by name, without a check where it comes from: every pickle contains it
            if reducers.is_dispatcher(value) and (reduced := reducers.dispatcher(value, travels_by_value)):
                return reduced
            return self._function_reduce(value)
        if issubclass(kind, type):
            if kind is type and value in _BUILTIN:
                return NotImplemented  # each class by value names some, and to look them up takes 3 us
            reduced = super().reducer_override(value)
            if type(reduced) is not tuple or len(reduced) != _WITH_SETTER:
                return reduced
            if "__slots__" in vars(value):
                reduced = reducers.with_slots(value, reduced)
            # cloudpickle drops the name that tells an inner class from others, and has room for more to say.
            make, arguments, *rest = reduced
            return make, (*arguments[:-1], {"qualname": value.__qualname__}), *rest
        if kind is functools._lru_cache_wrapper:
            if travels_by_value(value.__module__) or not is_found(value):
                variables = getattr(value.__wrapped__, "__globals__", {})
                return rebuild_cached, (value.cache_parameters(), value.__wrapped__, lasting_name(value, variables))
            return NotImplemented
        if isinstance(value, ModuleType):
            if travels_by_value(value.__name__):
                # In two steps, as cloudpickle does for functions and classes but not for modules: the modules of a
                # package refer to each other.
                return rebuild_module, (value.__name__,), _put_names(own_variables(value)), None, None, set_variables
            return NotImplemented
        if kind is MethodType or kind is BuiltinFunctionType:
            return _reduce_method(value)
        if _is_ordinary(kind):
            if travels_by_value(kind.__module__):
                self._ordinary.add(kind)
                self.objects.add(id(value))
            else:
                _ORDINARY.add(kind)
            return NotImplemented
        return self._reduce_object(value)

    def _reduce_object(self, value: Any) -> Any:
        if random_generators.is_generator(value):
            if (name := name_of(value)) is None and self._taken is not None:
                self._taken.append(value)
        elif reduced := reducers.stream(value):
            return reduced
        elif reduced := reduce_shared(value, local=self._destination.local, home=self._destination is HOME):
            if self._taken is not None:
                self._taken.append(value)
            return reduced
        else:
            name = name_of(value)
        if name is not None:
            return Named(name).__reduce__()
        if travels_by_value(type(value).__module__):
            self.objects.add(id(value))
        return NotImplemented

    def _function_getnewargs(self, function: FunctionType) -> tuple[Any, ...]:
        """Also return the name under which the client's module has the function, and mark variables of other
        modules."""
        code, variables, _, defaults, closure = super()._function_getnewargs(function)
        name = variables.get("__name__")
        if name is None or PRIVATE in variables:
            return code, variables, None, defaults, closure
        if travels_by_value(name) and belongs_to(name, function.__globals__):
            self.namespaces[name] = function.__globals__
            return code, variables, lasting_name(function, function.__globals__), defaults, closure
        variables[PRIVATE] = True
        return code, variables, None, defaults, closure

    def _dynamic_function_reduce(self, function: FunctionType) -> Any:
        reduced = super()._dynamic_function_reduce(function)
        variables = reduced[2][1]
        _put_names(variables["__globals__"])
        if variables["__defaults__"]:
            variables["__defaults__"] = tuple(_put_names(dict(enumerate(variables["__defaults__"]))).values())
        if variables["__kwdefaults__"]:
            variables["__kwdefaults__"] = _put_names(variables["__kwdefaults__"].copy())
        return reduced


_BUILTIN = frozenset(value for value in vars(builtins).values() if type(value) is type)
"""``object``, ``property`` and all the others, which pickle finds by name."""

_ORDINARY: set[type] = set()
"""Types of installed modules whose objects pickle reduces without help. Types of the user's may be many, and large."""


def _is_ordinary(kind: type) -> bool:
    """Return whether objects of this type are data, or reduce themselves."""
    # Not callable(kind), which every class is.
    acts = kind in reducers.OF_THE_PROCESS or any("__call__" in vars(base) for base in kind.__mro__)
    return not (acts or issubclass(kind, IOBase) or random_generators.is_kind(kind) or is_shared(kind))


def _put_names(variables: dict[Any, Any]) -> dict[Any, Any]:
    """Replace objects of installed modules by their names, and return the variables."""
    for variable, value in variables.items():
        if type(value) not in BY_THEMSELVES and (name := name_of(value)) is not None:
            variables[variable] = Named(name)
    return variables


def _reduce_method(method: Any) -> Any:
    if name := name_of(method):
        return Named(name).__reduce__()
    if name := name_of(method.__self__):
        return getattr, (Named(name), method.__name__)
    return NotImplemented


class ArgumentPickler(Defining, _ValuePickler):
    """The same for arguments, whose classes go into a pickle of their own."""

    @staticmethod
    def is_by_value(module: str) -> bool:
        """Return whether the classes of this module are pickled by value."""
        return travels_by_value(module)


_WITH_SETTER = 6
"""Length of the tuple that a reducer returns with a function to set the state, as cloudpickle does for classes."""


def by_value(value: object, to: Destination = ANYWHERE, taken: list[object] | None = None) -> bytes:
    """Pickle a value, and after it the names of the objects in it that are also global variables.

    In a worker, ``engine.config`` is then the module's ``config``, which an initializer may have changed.
    """
    pieces = Pieces()
    pickler = _ValuePickler.to(pieces, to, taken)
    pickler.dump(value)
    if pickler.objects and (named := named_objects(pickler.namespaces, pickler.objects)):
        pickler.dump(named)
    return b"".join(pieces)


def fails(to: Destination) -> Callable[[object], bool]:
    """Return a function that tells whether a value cannot be pickled for this destination."""

    def it_fails(value: object) -> bool:
        try:
            _ValuePickler.to(_Nowhere(), to).dump(value)
        except Exception:  # noqa: BLE001 - the question is whether, not why
            return True
        return False

    return it_fails


class _Nowhere:
    def write(self, data: object) -> None:
        """Discard the data."""
