"""What an initializer did to a variable, and the same once more on what the client sends in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from jobpool.worker.fingerprints import Unknown, print_of
from jobpool.worker.namespaces import ABSENT, STATE, Namespace, Print

__all__ = ["Change", "Rebound", "lay_over", "noted"]


@dataclass(frozen=True, slots=True)
class Rebound:
    """The variable is another object."""

    value: Any


@dataclass(frozen=True, slots=True)
class Items:
    """A dictionary has other items, an object other attributes."""

    values: dict[Any, Any]
    attributes: bool


@dataclass(frozen=True, slots=True)
class Elements:
    """A set has more elements."""

    values: frozenset[Any]


@dataclass(frozen=True, slots=True)
class Within:
    """Something else is changed in the object, which can't be done to another one."""

    kind: str


Change = Rebound | Items | Elements | Within

_OF_THE_CLASS = frozenset(
    {"__builtins__", "__annotations__", "__abstractmethods__", "__dict__", "__weakref__", "_abc_impl"}
)
"""What Python itself changes in modules and classes."""


def lay_over(change: Change, value: Any) -> tuple[Any, str]:
    """Return the value with the change, and in words what of it is lost."""
    match change:
        case Rebound(rebound):
            return rebound, ""
        case Items(values, attributes=False) if isinstance(value, dict):
            value.update(values)
        case Items(values, attributes=True) if hasattr(value, "__dict__"):
            vars(value).update(values)
        case Elements(values) if isinstance(value, set):
            value.update(values)
        case Within(kind):
            return value, f"it changed a {kind} in place"
        case _:
            return value, f"it is of type {type(value).__name__} now"
    return value, ""


@contextmanager
def noted(spaces: Callable[[], Iterable[Namespace]], living: Callable[[Any], Namespace | None]) -> Iterator[None]:
    """Note in the spaces, at the end of a ``with`` block, what was done to their variables in it."""
    before = {space: {name: (value, _parts(value)) for name, value in _variables(space)} for space in spaces()}
    yield
    for space in spaces():
        variables = before.get(space)
        for name, value in _variables(space):
            if variables is None:  # imported meanwhile
                if space.found.get(name) != print_of(value, living):
                    space.laid[name] = Rebound(value)
                continue
            was, parts = variables.get(name, (ABSENT, None))
            change = Rebound(value) if value is not was else _changed_parts(value, parts)
            if change is None and _is_changed_within(value, space.prints.get(name), living):
                change = Within(type(value).__name__)
            if change is not None:
                space.laid[name] = change


def _changed_parts(value: Any, before: dict[Any, Any] | frozenset[Any] | None) -> Change | None:
    now = _parts(value)
    if isinstance(now, dict) and isinstance(before, dict):
        items = {key: held for key, held in now.items() if before.get(key, ABSENT) is not held}
        return Items(items, attributes=not isinstance(value, dict)) if items else None
    if isinstance(now, frozenset) and isinstance(before, frozenset):
        return Elements(now - before) if now - before else None
    return None


def _is_changed_within(value: Any, sent: Print | None, living: Callable[[Any], Namespace | None]) -> bool:
    return sent is not None and not isinstance(sent, Namespace | Unknown) and sent != print_of(value, living)


def _variables(space: Namespace) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in space.variables().items() if name not in _OF_THE_CLASS and name != STATE)


def _parts(value: Any) -> dict[Any, Any] | frozenset[Any] | None:
    """Return what a value holds, where it holds it by names."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, type | FunctionType | ModuleType):
        return None
    held = getattr(value, "__dict__", None)
    return dict(held) if isinstance(held, dict) else None
