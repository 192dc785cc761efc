"""Pickles functions, arguments, results and exceptions, and unpickles them on the other side.

Installed functions and classes are pickled by name. Others are pickled by value, so that they need not be installed on
the workers: those of ``__main__``, of notebook cells, and of the user's own modules, which are the modules outside of
the Python installation and its site-packages. A class that was pickled by value is the same class when it comes back to
the client: cloudpickle numbers such classes, and finds the original by its number.

Results are pickled by value only if necessary: the client finds a class by name that a call imported by name.

If something cannot be pickled, :class:`~jobpool.NotPicklable` names it, and the argument or variable that refers to it.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import process
from types import FunctionType, MethodType
from typing import Any

import cloudpickle

from jobpool.model.errors import NotPicklable, NotUnpicklable
from jobpool.serialize import blame, random_generators
from jobpool.serialize.blame import described, type_name, words
from jobpool.serialize.by_value import (
    ANYWHERE,
    HOME,
    ArgumentPickler,
    Destination,
    Pieces,
    by_value,
    fails,
    travels_by_value,
)
from jobpool.serialize.function_cache import LARGEST, Look, holds, look
from jobpool.serialize.own_modules import is_own
from jobpool.serialize.pickling_classes import parted
from jobpool.serialize.result_unpickler import loads_home
from jobpool.transport.size_limit import refusal

__all__ = [
    "ANYWHERE",
    "HOME",
    "Destination",
    "describe",
    "detached",
    "dumps_arguments",
    "dumps_by_value",
    "dumps_exception",
    "dumps_function",
    "dumps_initializer",
    "dumps_result",
    "loads",
    "loads_arguments",
    "loads_exception",
    "loads_function",
    "loads_result",
    "register_own_modules",
]

loads = pickle.loads

# CPython's own tests of executors ask for exactly this class; typeshed gives its parameter a wrong type.
_RemoteTraceback: Callable[[str], Exception] = vars(process)["_RemoteTraceback"]

TEXT_KEPT = 64 * 1024
"""Characters that are kept of the text and the traceback of an exception that is too large to be sent."""


def dumps_function(
    function: Callable[..., Any], to: Destination = ANYWHERE, taken: list[object] | None = None
) -> tuple[str, bytes]:
    """Pickle a function (any callable) and return its key, a hash of the pickle with its name, and the pickle.

    A function by value is pickled with the current values of the global variables that it uses. If a random number
    generator is among them, the user gets a ``SameRandomNumbers`` warning. The function appends to ``taken`` the
    objects that the caller must keep until the calls have ended: a manager drops an object that has no proxy.
    Raises ``NotPicklable``, which names the variable that cannot be pickled.
    """
    register_own_modules()
    if isinstance(function, FunctionType) and (known := _pickled.get(function)) is not None:
        modules, seen, key, data = known
        if modules == _modules_seen and holds(seen):
            return key, data
    noted = look(function, travels_by_value) if isinstance(function, FunctionType) else None
    taken = [] if taken is None else taken
    try:
        data = by_value(function, to, taken)
    except Exception as reason:  # a user's __reduce__ may raise anything
        raise blame.function_error(function, reason, fails(to)) from reason
    if taken and to.several:
        users = blame.users_function(function)
        _warn_of_generators(taken, [("", users)], blame.label(users))
    # The name is for people; the hash tells functions of the same name apart.
    key = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}:{_shown_name(function)}"
    if noted is not None and isinstance(function, FunctionType) and len(data) <= LARGEST:
        if len(_pickled) >= _PICKLED:
            _pickled.clear()
        _pickled[function] = _modules_seen, noted, key, data
    return key, data


_PICKLED = 32
"""Functions whose pickles are kept: more than a script submits alternately."""

_pickled: dict[FunctionType, tuple[int, Look, str, bytes]] = {}


def dumps_arguments(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    to: Destination = ANYWHERE,
    taken: list[object] | None = None,
) -> bytes:
    """Pickle the arguments of one call, as :func:`dumps_function` does functions.

    Raises ``NotPicklable``, which names the first argument that cannot be pickled, and its type.
    """
    taken = [] if taken is None else taken
    try:
        data = _dumps((args, dict(kwargs)), to, taken, own_by_value=True)
    except Exception as reason:  # a user's __reduce__ may raise anything
        raise blame.arguments_error(args, kwargs, reason, fails(to)) from reason
    if taken and to.several:
        _warn_of_generators(taken, blame.argument_steps(args, kwargs), "a call")
    return data


def dumps_initializer(function: Callable[..., Any], args: tuple[Any, ...], to: Destination = ANYWHERE) -> bytes:
    """Pickle a worker's initializer and its arguments. Raises ``NotPicklable`` as the two functions above."""
    try:
        register_own_modules()
        data = by_value((function, args), to)
    except Exception:
        dumps_function(function, to)
        dumps_arguments(args, {}, to)
        raise
    return _sendable("the initializer with its arguments", data)


def dumps_result(value: object) -> bytes:
    """Pickle what a call returned. Raises ``NotPicklable``, which names its type, or its size if it is too large."""
    try:
        data = _dumps(value, HOME, own_by_value=False)
    except Exception as reason:  # a user's __reduce__ may raise anything
        raise blame.result_error(value, reason, fails(HOME)) from reason
    return _sendable(f"the call's result, of type {type_name(type(value))}", data)


def _sendable(what: str, data: bytes) -> bytes:
    if error := refusal(what, data):
        raise error
    return data


def dumps_exception(error: BaseException) -> bytes:
    """Pickle an exception together with the text of its traceback, which pickle alone would drop.

    Never raises: for an exception that cannot be pickled, or is too large, it pickles a ``NotPicklable`` with the type
    and text of the exception.
    """
    text = "".join(traceback.format_exception(error))
    try:
        pickled = by_value(error, HOME)
    except BaseException as reason:  # noqa: BLE001 - a user's __reduce__ may raise anything
        pickled = pickle.dumps(
            blame.exception_error(NotPicklable, described(error), f"which cannot be pickled: {words(reason)}"), 5
        )
    told = described(error)
    data = pickle.dumps((pickled, told, text), 5)
    if too_large := refusal(f"the call's exception, {describe(error)}", data):
        data = pickle.dumps((pickle.dumps(too_large, 5), told[:TEXT_KEPT], text[-TEXT_KEPT:]), 5)
    return data


def loads_function(data: bytes, *, load: Callable[[bytes], Any] = loads) -> Any:
    """Unpickle a function on the worker, with ``load``.

    Raises ``NotUnpicklable``, which says which module is missing there, and where Python looked for it.
    """
    try:
        function = load(data)
    except BaseException as reason:  # importing the user's module runs the user's code, which may exit
        raise blame.loading_error("the function", reason) from reason
    return function


def loads_arguments(data: bytes, *, load: Callable[[bytes], Any] = loads) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Unpickle arguments on the worker. Raises ``NotUnpicklable`` as :func:`loads_function`."""
    try:
        args, kwargs = load(data)
    except BaseException as reason:  # __setstate__ runs the user's code
        raise blame.loading_error("an argument", reason) from reason
    return args, kwargs


def loads_result(data: bytes) -> Any:
    """Unpickle a result in the client. Raises ``NotUnpicklable``."""
    try:
        return loads_home(data)
    except BaseException as reason:  # as above; a sys.exit() would end the thread that completes all futures
        raise NotUnpicklable(f"the call's result cannot be unpickled here: {words(reason)}") from reason


def loads_exception(data: bytes) -> BaseException:
    """Unpickle the exception of a call in the client; its cause is the traceback from the worker, as text.

    Never raises: for an exception that cannot be unpickled, it returns ``NotUnpicklable`` with its type and text.
    """
    pickled, described, text = loads(data)
    try:
        error = loads_home(pickled)
    except BaseException as reason:  # noqa: BLE001 - an exception's own __init__ runs here
        error = blame.exception_error(NotUnpicklable, described, f"which cannot be unpickled here: {words(reason)}")
    if isinstance(error, BaseException):
        raised = error
    else:
        raised = blame.exception_error(NotUnpicklable, described, f"which came back as {type_name(type(error))}")
    raised.__cause__ = _RemoteTraceback(f'\n"""\n{text}"""')
    if isinstance(raised, StopIteration):
        # It would silently end a loop over results, or a generator; converted as in generators (PEP 479).
        instead = RuntimeError("the call raised StopIteration")
        instead.__cause__ = raised
        return instead
    return raised


def detached(error: NotPicklable) -> NotPicklable:
    """Return the error with text in place of its tracebacks, for a future to keep.

    Tracebacks refer to the frames of all callers, and so to the arguments, and often to the future itself: a cycle.
    """
    reason = error.__cause__
    if reason is not None:
        text = "".join(traceback.format_exception(reason))
        reason.__cause__, reason.__context__ = _RemoteTraceback(f'\n"""\n{text}"""'), None
        reason.__traceback__ = None
    error.__traceback__ = None
    return error


# ------------------------------------------------------------------------------------------------ fast path


class _Foreign(Exception):
    """The value contains more than plain data: cloudpickle has to pickle it."""


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        # Python calls this for everything but objects of exactly the builtin scalar and container types. ``pickle``
        # itself would pickle a class of ``__main__`` by name.
        raise _Foreign


def _dumps(value: object, to: Destination, taken: list[object] | None = None, *, own_by_value: bool) -> bytes:
    """Pickle plain data at C speed (2 us), anything else with cloudpickle (20 us and more)."""
    pieces = Pieces()
    try:
        _PlainPickler(pieces, 5).dump(value)
        return b"".join(pieces)
    except _Foreign:
        if not own_by_value:
            return by_value(value, to, taken)
        register_own_modules()
        pieces.clear()
        pickler = ArgumentPickler.to(pieces, to, taken)
        pickler.dump(value)
        rest = b"".join(pieces)
        return parted(by_value(pickler.things, to, taken), rest) if pickler.things else rest


def dumps_by_value(value: object) -> bytes:
    """Pickle a function or class of the user's by value, for a process on this host."""
    return by_value(value, HOME)


# ------------------------------------------------------------------------------------ what is pickled by value

_modules_seen = 0
_modules_told: dict[str, Any] = {}


def register_own_modules() -> None:
    """Tell cloudpickle which modules are the user's own. Costs next to nothing for those that it knows already."""
    global _modules_seen, _modules_told
    if len(sys.modules) == _modules_seen:
        return
    # A copy, which is made in one step: another thread, or a garbage collection, may import meanwhile.
    modules, told = sys.modules.copy(), _modules_told
    _modules_seen, _modules_told = len(modules), modules
    known = cloudpickle.list_registry_pickle_by_value()
    for name, module in modules.items():
        fresh = told.get(name) is not module  # to look at all of them for each new one would take some 10 ms
        if fresh and name not in known and name != "__main__" and is_own(name, module):
            cloudpickle.register_pickle_by_value(module)


# --------------------------------------------------------------------------------------- warnings and names


def _warn_of_generators(taken: list[object], steps: list[blame.Step], who: str) -> None:
    for generator in filter(random_generators.is_generator, taken):
        way = blame.way_to(generator, steps)
        holders = [holder for _, holder in way[:-1]]
        # As an argument, or part of one, a generator is meant to be copied. A generator of numpy contains another one.
        by_function = any(isinstance(holder, (FunctionType, functools.partial, MethodType)) for holder in holders)
        if by_function and not any(map(random_generators.is_generator, holders)):
            random_generators.warn(who, [name for name, _ in way if name], generator)


def describe(error: BaseException) -> str:
    """Return type and text of an exception in one line of at most 300 characters, for lists."""
    lines = [line for line in described(error).splitlines() if line[:1].strip()]
    return lines[0][:300] if lines else type(error).__name__


def _shown_name(function: object) -> str:
    """Return the name under which the calls of a function are counted: its own, without ``functools.partial``."""
    while isinstance(function := blame.users_function(function), functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return (name if isinstance(name, str) else type(function).__qualname__).replace("<locals>.", "")[-100:]
