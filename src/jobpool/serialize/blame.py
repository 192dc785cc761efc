"""Finds the object that makes pickling fail, and the path to it from the function, argument or result."""

from __future__ import annotations

import copyreg
import functools
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle

from jobpool.model.errors import NotPicklable, NotUnpicklable
from jobpool.serialize.by_name import is_found
from jobpool.serialize.function_cache import global_names
from jobpool.serialize.pitfalls import idiom
from jobpool.serialize.rebuild import travels_by_value

__all__ = [
    "arguments_error",
    "described",
    "exception_error",
    "function_error",
    "label",
    "loading_error",
    "result_error",
    "type_name",
    "users_function",
    "way_to",
    "words",
]

Step = tuple[str, Any]
"""The description of a part of an object, and the part."""

Fails = Callable[[object], bool]
"""Returns whether pickling this object raises an exception."""

DEEPEST = 50
"""Maximum length of a path. A chain of objects may fail only because it is long."""


def arguments_error(
    args: Iterable[Any], kwargs: Mapping[str, Any], reason: BaseException, fails: Fails
) -> NotPicklable:
    """Return the error that names the first argument that cannot be pickled, and the part of it that fails."""
    found = _first(argument_steps(args, kwargs), fails)
    if found is None:
        return NotPicklable(f"the arguments cannot be pickled: {words(reason)}")
    what, value = found
    advice = "pass what it is made from (a path, parameters), and make it inside the function"
    return _error(f"{what}, of type {type_name(type(value))},", [found], reason, fails, advice)


def function_error(function: object, reason: BaseException, fails: Fails) -> NotPicklable:
    """Return the error that names the variable of a function which cannot be pickled."""
    advice = "make the object inside the function, or in the pool's initializer"
    function = users_function(function)
    return _error(label(function), [("", function)], reason, fails, advice)


def result_error(value: object, reason: BaseException, fails: Fails) -> NotPicklable:
    """Return the error that names what cannot be pickled in the result of a call."""
    what = f"the call's result, of type {type_name(type(value))},"
    advice = "return plain data, or write the result to a file and return its path"
    return _error(what, [("result", value)], reason, fails, advice)


def exception_error(kind: type[NotPicklable], described: str, why: str) -> NotPicklable:
    """Return the error that replaces an exception that cannot be sent."""
    return kind(
        f"the call raised {described}, {why}",
        advice="give the exception arguments that pickle can pass to its __init__ again, or raise a built-in one",
    )


def loading_error(what: str, reason: BaseException) -> NotUnpicklable:
    """Return the error that says why something cannot be unpickled on the worker."""
    missing = getattr(reason, "name", None) if isinstance(reason, ImportError) else None
    if missing is None:
        return NotUnpicklable(f"{what} cannot be unpickled on the worker: {words(reason)}")
    return NotUnpicklable(
        f"{what} needs the module {missing!r}, which cannot be imported on the worker: {words(reason)}",
        advice=f"install {missing!r} in the environment of the workers ({sys.prefix}), or put its directory on "
        f"PYTHONPATH; looked for in: {os.pathsep.join(sys.path)}",
    )


def _error(what: str, way: list[Step], reason: BaseException, fails: Fails, advice: str) -> NotPicklable:
    way += _down(way[-1][1], fails)
    message = f"{what} cannot be pickled: "
    if len(way) > 1:
        message += " -> ".join([name for name, _ in way if name] + [type(way[-1][1]).__qualname__]) + ": "
    better = next((known for _, value in way if (known := idiom(value))), advice)
    return NotPicklable(message + words(reason), advice=better)


def _down(value: object, fails: Fails) -> list[Step]:
    """Return the path from an object that fails to the part that fails without its parts."""
    way: list[Step] = []
    seen: set[int] = set()
    step: Step | None = ("", value)
    while step is not None and len(way) <= DEEPEST:
        way.append(step)
        seen.add(id(step[1]))
        step = _first([part for part in parts(step[1]) if id(part[1]) not in seen], fails)
    return way[1:]


def _first(steps: list[Step], fails: Fails) -> Step | None:
    """Return the first step that fails, by bisection: there may be a million."""
    if not steps or not fails([value for _, value in steps]):
        return None
    while len(steps) > 1:
        half = steps[: len(steps) // 2]
        steps = half if fails([value for _, value in half]) else steps[len(half) :]
    return steps[0]


def way_to(wanted: object, steps: list[Step]) -> list[Step]:
    """Return the path from one of these steps to an object; empty if none leads to it."""
    seen: set[int] = set()
    ways = [[step] for step in steps]
    while ways and len(seen) < 10_000:
        way = ways.pop(0)
        value = way[-1][1]
        if value is wanted:
            return way
        if id(value) not in seen:
            seen.add(id(value))
            ways += [[*way, step] for step in parts(value)]
    return []


def argument_steps(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[Step]:
    """Return the arguments of a call with their descriptions."""
    named = [(f"argument {position}", value) for position, value in enumerate(args, 1)]
    return named + [(f"argument {name!r}", value) for name, value in kwargs.items()]


# ---------------------------------------------------------------------------------------------- what an object holds


def parts(value: Any) -> list[Step]:
    """Return the parts that are pickled with an object, as far as they are known."""
    kind: Any = type(value)
    if kind is list or kind is tuple:
        return [(f"[{place}]", item) for place, item in enumerate(value)]
    if kind is dict:
        return [*((f"key {key!r:.50}", key) for key in value), *((f"[{key!r:.50}]", value[key]) for key in value)]
    if kind is set or kind is frozenset:
        return [("an item", item) for item in value]
    if isinstance(value, functools.partial):
        return [("function", value.func), *argument_steps(value.args, value.keywords)]
    if kind is MethodType:
        return [("object", value.__self__), ("function", value.__func__)]
    if kind is FunctionType:
        return _of_function(value) if travels_by_value(value.__module__) or not is_found(value) else []
    if isinstance(value, type):
        return _attributes(value, vars(value)) if travels_by_value(value.__module__) or not is_found(value) else []
    if isinstance(value, ModuleType):
        return _variables(value) if travels_by_value(value.__name__) else []
    if hasattr(kind, "__wrapped__") or isinstance(value, functools._lru_cache_wrapper):
        return [("function", value.__wrapped__)]
    return _of_object(value)


def _of_function(function: FunctionType) -> list[Step]:
    steps: list[Step] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            steps.append((f"variable {name!r} (of the enclosing function)", cell.cell_contents))
        except ValueError:
            continue  # not assigned yet
    variables = function.__globals__
    used = [name for name in global_names(function.__code__) if name in variables]
    steps += [(f"global variable {name!r}", variables[name]) for name in used]
    steps += [("default value", held) for held in function.__defaults__ or ()]
    steps += [(f"default of {name!r}", held) for name, held in (function.__kwdefaults__ or {}).items()]
    return steps + [(f"attribute {name!r}", held) for name, held in vars(function).items()]


def _attributes(kind: type, state: Mapping[str, Any]) -> list[Step]:
    return [(f"{kind.__qualname__}.{name}", held) for name, held in state.items() if name not in _OF_CLASSES]


_OF_CLASSES = frozenset({"__dict__", "__weakref__", "__doc__", "__module__"})


def _variables(module: ModuleType) -> list[Step]:
    return [(f"{module.__name__}.{name}", held) for name, held in vars(module).items() if not name.startswith("__")]


def _of_object(value: Any) -> list[Step]:
    kind = type(value)
    if isinstance(value, (property, classmethod, staticmethod)):
        made = [getattr(value, name, None) for name in ("fget", "fset", "fdel", "__func__")]
        return [("function", held) for held in made if held is not None]
    try:
        reduce = cloudpickle.Pickler.dispatch_table.get(kind) or copyreg.dispatch_table.get(kind)
        reduced = reduce(value) if reduce else value.__reduce_ex__(5)
        if not isinstance(reduced, tuple):
            return []
        taken_apart: tuple[Any, ...] = (*reduced, None, None, None)
    except Exception:  # noqa: BLE001 - a user's __reduce__ may raise anything; then it is this object
        return []
    _, args, state, items, pairs, *_ = taken_apart
    steps: list[Step] = []
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if isinstance(part, dict):
            steps += _attributes(kind, part)
        elif part is not None:
            steps.append((f"state of {kind.__qualname__}", part))
    steps += [(f"class {held.__qualname__}" if held is kind else f"part of {kind.__qualname__}", held) for held in args]
    steps += [(f"[{place}]", item) for place, item in enumerate(items or ())]
    return steps + list(itertools.chain.from_iterable(parts({key: held}) for key, held in pairs or ()))


# -------------------------------------------------------------------------------------------------------------- words


def users_function(function: Any) -> Any:
    """Return the user's function, which ``map`` and ``Pool`` pass as an argument to a function of jobpool."""
    while isinstance(function, functools.partial) and function.args and _is_ours(function.func):
        function = function.args[0]
    return function


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("jobpool.")


def label(function: object) -> str:
    """Return the description of a function in an error."""
    name = getattr(function, "__qualname__", None)
    return f"the function {name!r}" if name else f"the {type_name(type(function))}"


def type_name(kind: type) -> str:
    """Return the name of a type, with its module unless it is built in."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def words(reason: BaseException) -> str:
    """Return type and text of an exception."""
    return f"{type(reason).__name__}: {reason}"


def described(error: BaseException) -> str:
    """Return type and text of an exception, even of one whose ``__str__`` fails."""
    return "".join(traceback.format_exception_only(error)).strip()
