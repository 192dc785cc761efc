"""Fingerprints of values: hashes of their pickles, to tell whether the client sent the same value again.

A shared class, function or module counts as itself, whatever its variables are, and code is compared as code. So the
fingerprint of a value says what the value itself contains, and costs little time.
"""

from __future__ import annotations

import functools
import hashlib
import marshal
import pickle
import threading
from collections import ChainMap
from collections.abc import Callable
from io import IOBase
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from jobpool.serialize import reducers
from jobpool.serialize.by_name import BY_THEMSELVES, name_of
from jobpool.serialize.function_cache import global_names
from jobpool.worker.namespaces import ABSENT, Fingerprint, Namespace

__all__ = ["NOTHING", "Unknown", "fingerprint_of"]

NOTHING = "nothing"
"""The fingerprint of a variable that does not exist."""


class Unknown:
    """The fingerprint of a value that cannot be pickled: equal to no other."""


_AS_THEY_ARE = frozenset({type(None), bool, int, str})

Find = Callable[[Any], Namespace | None]
"""Returns the namespace of this object if it is shared, else None."""


def fingerprint_of(value: Any, find: Find) -> Fingerprint:
    """Return the fingerprint of a value, equal for equal values; ``Unknown`` if the value cannot be pickled."""
    if type(value) in _AS_THEY_ARE:
        return type(value), value
    if (namespace := find(value)) is not None:
        return namespace
    if value is ABSENT:
        return NOTHING
    if type(value) not in BY_THEMSELVES and (name := name_of(value)) is not None:
        return "named", name  # a random generator of an installed module is the same, whatever was drawn from it
    if type(value) is FunctionType and _is_code_alone(value) and find(value.__globals__):
        return "code", value.__code__, value.__qualname__
    digest = _Digest()
    try:
        _Printer(digest, find).dump(value)
    except Exception:  # noqa: BLE001 - the user's __reduce__ runs here; it came by pickle, but may be odd
        return Unknown()
    return type(value).__qualname__, digest.hash.digest()


def _is_code_alone(function: FunctionType) -> bool:
    parts = function.__defaults__, function.__kwdefaults__, function.__closure__, function.__dict__
    return not any(parts) and not function.__annotations__


class _Digest:
    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return len(data)

    def update(self, buffer: pickle.PickleBuffer) -> bool:
        """Hash an array's memory directly: in the pickle it would be a copy."""
        self.hash.update(buffer.raw())
        return False


def _code(code: CodeType) -> tuple[Any, ...]:
    return _stands_for, (marshal.dumps(code, 2),)  # version 2 says nothing of how often an object is referred to


def _lock(lock: Any) -> tuple[Any, ...]:
    return _stands_for, (type(lock).__name__,)


def _stands_for(*_: Any) -> None:
    """Represent an object in the hashed pickle, which nobody unpickles."""


class _Printer(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _code, type(threading.Lock()): _lock, type(threading.RLock()): _lock},
        reducers.BY_TYPE,  # what can be sent has a fingerprint
        *cloudpickle.Pickler.dispatch_table.maps,
    )

    def __init__(self, digest: _Digest, find: Find) -> None:
        super().__init__(digest, 5, digest.update)
        self._find = find

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType | type | ModuleType | functools._lru_cache_wrapper):
            namespace = self._find(value)
            if namespace is not None:
                return _stands_for, ("shared", namespace.number)
        elif (name := name_of(value)) is not None:
            return _stands_for, ("named", *name)
        if type(value) is FunctionType and cloudpickle.cloudpickle._should_pickle_by_reference(value) is False:
            if reducers.is_dispatcher(value):
                return reducers.dispatcher(value, lambda _module: True)
            return _stands_for, (), _function_state(value, self._find)
        if isinstance(value, functools._lru_cache_wrapper):
            return _stands_for, (value.cache_parameters(),), value.__wrapped__
        if isinstance(value, IOBase) and (reduced := reducers.stream(value)):
            return reduced
        reduced = super().reducer_override(value)
        if reduced is not NotImplemented or isinstance(value, _BY_NAME) or type(value) in self.dispatch_table:
            return reduced
        return _with_own_names(value) if hasattr(value, "__dict__") else NotImplemented


_BY_NAME = (FunctionType, type, ModuleType, functools._lru_cache_wrapper, BuiltinFunctionType)


def _with_own_names(value: Any) -> Any:
    """Reduce an object, with new string objects as the names of its attributes.

    Unpickling interns these names. Whether an equal string elsewhere in the object is then the same string object
    depends on what this process has unpickled before, and the pickle says whether it is.
    """
    reduced = value.__reduce_ex__(5)
    if isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict):
        made, arguments, state, *rest = reduced
        return made, arguments, {"".join(list(name)): held for name, held in state.items()}, *rest
    return reduced


def _function_state(function: FunctionType, find: Find) -> tuple[Any, ...]:
    """Return everything that defines a function, without the variables of a shared module."""
    variables = function.__globals__
    own: dict[str, Any] = {}
    if find(variables) is None:
        own = {name: variables[name] for name in global_names(function.__code__) if name in variables}
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append("ABSENT")
    slots = function.__defaults__, function.__kwdefaults__, function.__annotations__, function.__qualname__
    return function.__code__, slots, function.__dict__, cells, own
