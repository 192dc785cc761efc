"""Functions, arguments, results and exceptions as bytes, and as themselves again on the other side.

What is installed travels by name. What is not travels by value, so that it need not be installed on the workers:
functions and classes of ``__main__``, of notebook cells, and of the user's own modules, which are those that lie
outside of the Python installation and its site-packages. A class that travels by value comes home as the class it was:
cloudpickle numbers such classes, and finds the original by that number in the process that sent it first.

Results travel by value only where they must: a class that a call imported by name is found in the client by name.

What cannot travel is named, with the argument or variable that holds it, by :class:`~jobpool.errors.NotPicklable`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import site
import sys
import sysconfig
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import process
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from jobpool.again import (
    MAKERS,
    PRIVATE,
    belongs_to,
    cached_again,
    lasting_name,
    living_modules,
    module_again,
    named_objects,
    own_variables,
    reduce_code,
    set_variables,
)
from jobpool.errors import NotPicklable, NotUnpicklable
from jobpool.pickling_classes import Defining, parted
from jobpool.returning import loads_home
from jobpool.unchanged import LARGEST, Look, global_names, holds, look

__all__ = [
    "describe",
    "detached",
    "dumps_arguments",
    "dumps_by_value",
    "dumps_exception",
    "dumps_function",
    "dumps_initializer",
    "dumps_result",
    "is_own",
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


def dumps_function(function: Callable[..., Any]) -> tuple[str, bytes]:
    """Pickle a function (any callable) and return its key, a hash of the pickle with its name, and the pickle.

    Global variables that a function by value uses travel with the value that they have now.
    Raises ``NotPicklable`` that names the variable which cannot travel.
    """
    register_own_modules()
    if isinstance(function, FunctionType) and (known := _pickled.get(function)) is not None:
        modules, seen, key, data = known
        if modules == _modules_seen and holds(seen):
            return key, data
    noted = look(function, _travels_by_value) if isinstance(function, FunctionType) else None
    try:
        data = _by_value(function)
    except Exception as reason:  # a user's __reduce__ may raise anything
        raise _function_error(function, reason) from reason
    # The name is for people alone; calls that do the same are told apart by the hash.
    key = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}:{_shown_name(function)}"
    if noted is not None and isinstance(function, FunctionType) and len(data) <= LARGEST:
        if len(_pickled) >= _PICKLED:
            _pickled.clear()
        _pickled[function] = _modules_seen, noted, key, data
    return key, data


_PICKLED = 32
"""Functions whose pickles are kept: more than a script submits in turns."""

_pickled: dict[FunctionType, tuple[int, Look, str, bytes]] = {}


def dumps_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """Pickle the arguments of one call.

    Raises ``NotPicklable`` that names the first argument which cannot travel, and its type.
    """
    try:
        return _dumps((args, dict(kwargs)), own_by_value=True)
    except Exception as reason:  # a user's __reduce__ may raise anything
        raise _arguments_error(args, kwargs, reason) from reason


def dumps_initializer(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Pickle a worker's initializer and its arguments. Raises ``NotPicklable`` as the two functions above do."""
    try:
        register_own_modules()
        return _by_value((function, args))
    except Exception:
        dumps_function(function)
        dumps_arguments(args, {})
        raise


def dumps_result(value: object) -> bytes:
    """Pickle what a call returned. Raises ``NotPicklable`` that names its type."""
    try:
        return _dumps(value, own_by_value=False)
    except Exception as reason:  # a user's __reduce__ may raise anything
        error = NotPicklable(
            f"the call's result, of type {_name(type(value))}, cannot be pickled: {_words(reason)}",
            advice="return plain data, or write the result to a file and return its path",
        )
        raise error from reason


def dumps_exception(error: BaseException) -> bytes:
    """Pickle an exception together with the text of its traceback, which pickle alone would drop.

    Never raises: one that cannot be pickled travels as ``NotPicklable`` with its type and text.
    """
    text = "".join(traceback.format_exception(error))
    try:
        pickled = cloudpickle.dumps(error, 5)
    except BaseException as reason:  # noqa: BLE001 - a user's __reduce__ may raise anything
        pickled = pickle.dumps(
            _exception_error(NotPicklable, _describe(error), f"which cannot be pickled: {_words(reason)}"), 5
        )
    return pickle.dumps((pickled, _describe(error), text), 5)


def loads_function(data: bytes, *, load: Callable[[bytes], Any] = loads) -> Any:
    """Make the function again on the worker, with ``load``.

    Raises ``NotUnpicklable`` that says which module is missing there, and where it was looked for.
    """
    try:
        function = load(data)
    except BaseException as reason:  # importing the user's module runs the user's code, which may exit
        raise _loading_error("the function", reason) from reason
    return function


def loads_arguments(data: bytes, *, load: Callable[[bytes], Any] = loads) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make the arguments again on the worker. Raises ``NotUnpicklable`` as :func:`loads_function` does."""
    try:
        args, kwargs = load(data)
    except BaseException as reason:  # __setstate__ runs the user's code
        raise _loading_error("an argument", reason) from reason
    return args, kwargs


def loads_result(data: bytes) -> Any:
    """Make a result again in the client. Raises ``NotUnpicklable``."""
    try:
        return loads_home(data)
    except BaseException as reason:  # as above; a sys.exit() there would end the thread on which all futures wait
        raise NotUnpicklable(f"the call's result cannot be unpickled here: {_words(reason)}") from reason


def loads_exception(data: bytes) -> BaseException:
    """Make the exception of a call again in the client; its cause is the traceback from the worker, as text.

    Never raises: an exception that cannot be made again becomes ``NotUnpicklable`` with its type and text.
    """
    pickled, described, text = loads(data)
    try:
        error = loads_home(pickled)
    except BaseException as reason:  # noqa: BLE001 - an exception's own __init__ runs here
        error = _exception_error(NotUnpicklable, described, f"which cannot be made again here: {_words(reason)}")
    if isinstance(error, BaseException):
        raised = error
    else:
        raised = _exception_error(NotUnpicklable, described, f"which came back as {_name(type(error))}")
    raised.__cause__ = _RemoteTraceback(f'\n"""\n{text}"""')
    return raised


def detached(error: NotPicklable) -> NotPicklable:
    """Return an error for a future to keep: with text in the place of its tracebacks.

    These hold the frames of all callers, and so the arguments, and often the future itself: a cycle.
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
    """There is more than plain data in the value: take cloudpickle."""


class _Pieces(list[bytes]):
    """Where a pickler writes to. It hands large bytes over as they are; a BytesIO would copy them twice."""

    write = list.append


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        # Asked only for what is not exactly a builtin scalar or container. ``pickle`` would go on, and send a class of
        # ``__main__`` by name.
        raise _Foreign


def _dumps(value: object, *, own_by_value: bool) -> bytes:
    """Pickle plain data at C speed (2 us), anything else with cloudpickle (20 us and more)."""
    pieces = _Pieces()
    try:
        _PlainPickler(pieces, 5).dump(value)
        return b"".join(pieces)
    except _Foreign:
        if not own_by_value:
            return _by_value(value)
        register_own_modules()
        pieces.clear()
        pickler = _ArgumentPickler(pieces, 5)
        pickler.dump(value)
        return parted(_by_value(pickler.things), b"".join(pieces)) if pickler.things else b"".join(pieces)


class _ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle, which by itself sends a function under ``functools.cache`` by name, whatever the others do."""

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: reduce_code}, cloudpickle.Pickler.dispatch_table)

    def __init__(self, file: _Pieces, protocol: int) -> None:
        super().__init__(file, protocol)
        self.spaces: dict[str, dict[str, Any]] = {}
        """The global variables, by module, of the functions that were pickled."""
        self.objects: set[int] = set()
        """The addresses of objects of the user's classes that were pickled."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is FunctionType and value in MAKERS:
            return NotImplemented  # by name, without a look at where it comes from: it stands in each pickle
        if isinstance(value, functools._lru_cache_wrapper) and _travels_by_value(value.__module__):
            variables = getattr(value.__wrapped__, "__globals__", {})
            return cached_again, (value.cache_parameters(), value.__wrapped__, lasting_name(value, variables))
        if isinstance(value, ModuleType) and _travels_by_value(value.__name__):
            # In two steps, as cloudpickle does it for functions and classes but not for modules: those of a package
            # know each other.
            return module_again, (value.__name__,), own_variables(value), None, None, set_variables
        reduced = super().reducer_override(value)
        if type(reduced) is tuple and isinstance(value, type) and len(reduced) == _WITH_SETTER:
            # cloudpickle drops the name that tells an inner class from others, and has room for more to say.
            make, arguments, *rest = reduced
            return make, (*arguments[:-1], {"qualname": value.__qualname__}), *rest
        if reduced is NotImplemented and _travels_by_value(type(value).__module__):
            self.objects.add(id(value))
        return reduced

    def _function_getnewargs(self, function: FunctionType) -> tuple[Any, ...]:
        """Say also under which name the client's module knows the function, and whether it is the module's own."""
        code, variables, _, defaults, closure = super()._function_getnewargs(function)
        name = variables.get("__name__")
        if name is None or PRIVATE in variables:
            return code, variables, None, defaults, closure
        if _travels_by_value(name) and belongs_to(name, function.__globals__):
            self.spaces[name] = function.__globals__
            return code, variables, lasting_name(function, function.__globals__), defaults, closure
        variables[PRIVATE] = True
        return code, variables, None, defaults, closure


class _ArgumentPickler(Defining, _ValuePickler):
    @staticmethod
    def is_by_value(module: str) -> bool:
        return _travels_by_value(module)


_WITH_SETTER = 6
"""Parts of what a reducer returns that sets the state by a function of its own, as cloudpickle's of classes does."""


def dumps_by_value(value: object) -> bytes:
    """Pickle a function or class of the user's by value, wherever it came from."""
    return _by_value(value)


def _by_value(value: object) -> bytes:
    """Pickle a value, and after it the names of objects in it that are global variables, too.

    In a worker ``engine.config`` is then the living ``config``, which an initializer may have set.
    """
    pieces = _Pieces()
    pickler = _ValuePickler(pieces, 5)
    pickler.dump(value)
    if pickler.objects and (named := named_objects(pickler.spaces, pickler.objects)):
        pickler.dump(named)
    return b"".join(pieces)


def _travels_by_value(module: str) -> bool:
    return module == "__main__" or module in cloudpickle.list_registry_pickle_by_value() or module in living_modules


# ----------------------------------------------------------------------------------- what travels by value

_modules_seen = 0


def register_own_modules() -> None:
    """Tell cloudpickle which modules are the user's own. Costs nothing while no module was imported."""
    global _modules_seen
    if len(sys.modules) == _modules_seen:
        return
    # A copy, which is made in one step: another thread, or a garbage collection, may import meanwhile.
    modules = sys.modules.copy().items()
    _modules_seen = len(modules)
    known = cloudpickle.list_registry_pickle_by_value()
    for name, module in modules:
        if name not in known and name != "__main__" and is_own(name, module):
            cloudpickle.register_pickle_by_value(module)


def is_own(name: str, module: Any) -> bool:
    """Say whether a module is the user's own, by its file: neither installed nor built in."""
    if name.partition(".")[0] == "jobpool" or getattr(module, "__name__", None) != name:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False  # built in, or an extension, which cannot travel by value
    path = Path(os.path.realpath(file))
    if {"site-packages", "dist-packages"} & set(path.parts) or any(path.is_relative_to(p) for p in _installation()):
        return False
    levels = name.count(".") + (path.name == "__init__.py")
    return len(path.parents) <= levels or not _holds_packages(path.parents[levels])


@functools.cache
def _holds_packages(directory: Path) -> bool:
    """Say whether pip has installed something there (``pip install --target``, a module of the site on PYTHONPATH)."""
    return next(directory.glob("*.dist-info"), None) is not None


@functools.cache
def _installation() -> tuple[str, ...]:
    """Directories of what every Python of this environment has."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, site.getusersitepackages()}
    paths |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    # realpath: a virtual environment's prefix may be a link. A prefix "/" would claim all files.
    return tuple(path for path in map(os.path.realpath, sorted(paths)) if path != "/")


# ------------------------------------------------------------------------------------------ who is to blame


def _arguments_error(args: Iterable[Any], kwargs: Mapping[str, Any], reason: Exception) -> NotPicklable:
    named = [(f"argument {position}", value) for position, value in enumerate(args, 1)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for what, value in named:
        if _fails(value):
            return NotPicklable(
                f"{what}, of type {_name(type(value))}, cannot be pickled: {_words(reason)}",
                advice="pass what it is made from (a path, parameters), and make it inside the function",
            )
    return NotPicklable(f"the arguments cannot be pickled: {_words(reason)}")


def _function_error(function: object, reason: Exception) -> NotPicklable:
    message = f"{_label(function)} cannot be pickled: "
    if trail := _blame(function, set()):
        *through, (variable, value) = trail
        used_by = "".join(f" (used by its {name})" for name, _ in reversed(through))
        message += f"its {variable}{used_by} is of type {_name(type(value))}: "
    return NotPicklable(
        message + _words(reason), advice="make the object inside the function, or in the pool's initializer"
    )


def _blame(value: object, seen: set[int]) -> list[tuple[str, object]]:
    """Return the variables from ``value`` down to the one that fails by itself."""
    seen.add(id(value))
    for variable, held in _variables(value):
        if id(held) not in seen and _fails(held):
            return [(variable, held), *_blame(held, seen)]
    return []


def _variables(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, functools.partial):
        yield "function", value.func
        yield from ((f"argument {position}", held) for position, held in enumerate(value.args, 1))
        yield from ((f"argument {name!r}", held) for name, held in value.keywords.items())
    elif isinstance(value, MethodType):
        yield "object", value.__self__
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield f"variable {name!r} (of the enclosing function)", cell.cell_contents
            except ValueError:
                continue  # not assigned yet
        for name in global_names(value.__code__):
            if name in value.__globals__:
                yield f"global variable {name!r}", value.__globals__[name]
        yield from (("default value", held) for held in value.__defaults__ or ())
        yield from ((f"default of {name!r}", held) for name, held in (value.__kwdefaults__ or {}).items())
    elif not isinstance(value, type):
        yield from ((f"attribute {name!r}", held) for name, held in getattr(value, "__dict__", {}).items())


def _fails(value: object) -> bool:
    try:
        cloudpickle.dumps(value, 5)
    except Exception:  # noqa: BLE001 - the question is whether, not why
        return True
    return False


def _exception_error(kind: type[NotPicklable], described: str, why: str) -> NotPicklable:
    return kind(
        f"the call raised {described}, {why}",
        advice="give the exception arguments that pickle can pass to its __init__ again, or raise a built-in one",
    )


def _loading_error(what: str, reason: BaseException) -> NotUnpicklable:
    missing = getattr(reason, "name", None) if isinstance(reason, ImportError) else None
    if missing is None:
        return NotUnpicklable(f"{what} cannot be unpickled on the worker: {_words(reason)}")
    return NotUnpicklable(
        f"{what} needs the module {missing!r}, which cannot be imported on the worker: {_words(reason)}",
        advice=f"install {missing!r} in the environment of the workers ({sys.prefix}), or put its directory on "
        f"PYTHONPATH; looked for in: {os.pathsep.join(sys.path)}",
    )


def describe(error: BaseException) -> str:
    """Return type and text of an exception in one line of at most 300 characters, for lists."""
    lines = [line for line in _describe(error).splitlines() if line[:1].strip()]
    return lines[0][:300] if lines else type(error).__name__


def _describe(error: BaseException) -> str:
    """Return type and text of an exception, even of one whose ``__str__`` fails."""
    return "".join(traceback.format_exception_only(error)).strip()


def _words(reason: BaseException) -> str:
    return f"{type(reason).__name__}: {reason}"


def _shown_name(function: object) -> str:
    """Return the name under which the calls of a function are counted: its own, and not that of what is around it."""
    while isinstance(function, functools.partial):
        # What map and Pool make of chunks is one of ours, and has the user's function as its first argument.
        ours = str(getattr(function.func, "__module__", "")).startswith("jobpool.")
        function = function.args[0] if ours and function.args else function.func
    name = getattr(function, "__qualname__", None)
    return (name if isinstance(name, str) else type(function).__qualname__).replace("<locals>.", "")[-100:]


def _label(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return f"the function {name!r}" if name else f"the {_name(type(function))}"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
