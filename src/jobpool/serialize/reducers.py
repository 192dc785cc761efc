"""Reducers for objects that pickle and cloudpickle cannot pickle, or would pickle as something else.

Each function here returns what ``__reduce__`` returns. If parts of an object may refer to the object itself, as the
implementations of a generic function that calls itself do, the object is created empty and filled afterwards.
"""

from __future__ import annotations

import functools
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from io import TextIOWrapper
from multiprocessing.connection import Connection
from random import SystemRandom
from typing import Any

import cloudpickle.cloudpickle

from jobpool.serialize.by_name import Named, found, name_of
from jobpool.serialize.rebuild import reduce_code

__all__ = ["BY_TYPE", "OF_THE_PROCESS", "dispatcher", "is_dispatcher", "stream", "with_slots"]


_FRESH: dict[str, Callable[[], Any]] = {"lock": threading.RLock, "_method_cache": weakref.WeakKeyDictionary}
"""Attributes of descriptors that belong to one process (a lock until Python 3.11), and how to create new ones."""


def _descriptor(value: Any) -> tuple[Any, ...]:
    state = {name: held for name, held in vars(value).items() if name not in _FRESH}
    fresh = tuple(name for name in _FRESH if name in vars(value))
    return _empty, (type(value), fresh), state, None, None, _fill


def _empty(kind: Any, fresh: tuple[str, ...]) -> Any:
    made = kind.__new__(kind)
    vars(made).update({name: _FRESH[name]() for name in fresh})
    return made


def _fill(made: Any, state: dict[str, Any]) -> None:
    vars(made).update(state)


def _weak_dictionary(value: Any) -> tuple[Any, ...]:
    return type(value), (), None, None, iter(list(value.items()))


def _struct(value: struct.Struct) -> tuple[Any, ...]:
    return struct.Struct, (value.format,)


def _new_type(value: Any) -> tuple[Any, ...]:
    return _by_name(value) or (_made_again, (type(value), value.__module__, value.__name__, value.__supertype__))


def _type_parameter(value: Any) -> tuple[Any, ...]:
    return _by_name(value) or (_made_again, (type(value), value.__module__, value.__name__))


def _by_name(value: Any) -> tuple[Any, ...] | None:
    name = name_of(value)
    return None if name is None else Named(name).__reduce__()


def _made_again(kind: Callable[..., Any], module: str, *args: Any) -> Any:
    again = kind(*args)
    again.__module__ = module
    return again


def _system_random(value: SystemRandom) -> tuple[Any, ...]:
    return type(value), ()  # it has no state: its numbers come from the system


def _cell(value: types.CellType) -> tuple[Any, ...]:
    make, content = cloudpickle.Pickler.dispatch_table[types.CellType](value)
    name = name_of(content[0]) if content else None
    return make, content if name is None else (Named(name),)


def _text_file(value: TextIOWrapper) -> tuple[Any, ...]:
    # cloudpickle would pickle the content of the file, as a file in memory.
    raise TypeError(f"cannot pickle an open file ({getattr(value, 'name', 'without a name')!r})")


def _connection(value: Connection) -> tuple[Any, ...]:
    # It would be pickled as the number of a descriptor, which is another one, or none, in another process.
    raise TypeError("cannot pickle an end of a multiprocessing.Pipe(): it is open in this process alone")


def with_slots(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a class that cloudpickle has reduced be created with its ``__slots__``.

    cloudpickle creates it without, so that instances come back with a ``__dict__``, which the original class does not
    have.
    """
    make, arguments, (attributes, more), *rest = reduced
    slots = tuple(name for name, held in vars(kind).items() if isinstance(held, _SLOT) or name in _SPECIAL_SLOTS)
    if make is not _MAKE_CLASS or not slots:  # a NamedTuple has no slots
        return reduced
    attributes = {name: held for name, held in attributes.items() if name not in slots}
    arguments = *arguments[:3], {**arguments[3], "__slots__": slots}, *arguments[4:]
    return make, arguments, (attributes, more), *rest


_MAKE_CLASS = getattr(cloudpickle.cloudpickle, "_make_skeleton_class", None)
_SLOT = types.MemberDescriptorType
_SPECIAL_SLOTS = ("__dict__", "__weakref__")


def stream(value: object) -> tuple[Any, ...] | None:
    """Reduce a standard stream of this process to that of the worker. None: it is no standard stream."""
    for name in ("stdout", "stderr", "stdin"):
        if value is getattr(sys, name) or value is getattr(sys, f"__{name}__"):
            return getattr, (sys, name)
    return None


# --------------------------------------------------------------------------------------------- functools.singledispatch


def is_dispatcher(function: types.FunctionType) -> bool:
    """Return whether ``functools.singledispatch`` made this function."""
    return function.__code__ is _DISPATCHER


def dispatcher(function: Any, by_value: Callable[[str], bool]) -> tuple[Any, ...] | None:
    """Reduce a generic function to its implementations. None: it can be pickled by name, with all of them.

    The worker creates the function's locks, and the weak references of its cache.
    """
    implementations = list(function.registry.items())
    module, name = function.__module__, function.__qualname__
    if not by_value(module) and getattr(sys.modules.get(module), name, None) is function:
        own = [pair for pair in implementations if any(by_value(getattr(part, "__module__", "")) for part in pair)]
        return (found, (module, name), (own, None), None, None, _register) if own else None
    added = {name: held for name, held in vars(function).items() if name not in _PARTS}
    state = function.__name__, name, module, function.__doc__, added
    return _generic, (), (implementations, state), None, None, _register


def _unimplemented(*_: object) -> None:
    """Do nothing, in place of the default implementation of a generic function."""


_DISPATCHER = functools.singledispatch(_unimplemented).__code__  # type: ignore[attr-defined]
_PARTS = frozenset(vars(functools.singledispatch(_unimplemented)))


def _generic() -> Any:
    return functools.singledispatch(_unimplemented)


def _register(made: Any, state: tuple[list[tuple[type, Any]], tuple[Any, ...] | None]) -> None:
    implementations, named = state
    for kind, implementation in implementations:
        made.register(kind, implementation)
    if named is None:
        return
    made.__name__, made.__qualname__, made.__module__, made.__doc__, added = named
    made.__wrapped__ = made.registry[object]
    vars(made).update(added)
    if "funcname" in made.__code__.co_freevars:  # the name in its error messages
        made.__closure__[made.__code__.co_freevars.index("funcname")].cell_contents = made.__name__


OF_THE_PROCESS = frozenset({type(threading.Lock()), type(threading.RLock()), threading.local, threading.Event})
"""Types that cannot be pickled at all, and whose objects each module has its own of."""


class _Reducers(dict[type, Any]):
    """Reducers by type, with those of cloudpickle and copyreg. A ChainMap would take 2 us for each object."""

    def __missing__(self, kind: type) -> Any:
        for theirs in cloudpickle.Pickler.dispatch_table.maps:
            if kind in theirs:
                return theirs[kind]
        raise KeyError(kind)


BY_TYPE = _Reducers(
    {
        types.CodeType: reduce_code,
        functools.cached_property: _descriptor,
        functools.singledispatchmethod: _descriptor,
        weakref.WeakKeyDictionary: _weak_dictionary,
        weakref.WeakValueDictionary: _weak_dictionary,
        struct.Struct: _struct,
        typing.NewType: _new_type,
        typing.ParamSpec: _type_parameter,
        typing.TypeVarTuple: _type_parameter,
        types.CellType: _cell,
        SystemRandom: _system_random,
        TextIOWrapper: _text_file,
        Connection: _connection,
    }
)
