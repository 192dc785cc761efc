"""What an initializer changed in a variable, and how the change is applied to a new value from the client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from jobpool.worker.fingerprints import Unknown, fingerprint_of
from jobpool.worker.namespaces import ABSENT, STATE, Fingerprint, Namespace

__all__ = ["Change", "Rebound", "apply_change", "note_changes"]


@dataclass(frozen=True, slots=True)
class Rebound:
    """The initializer bound the variable to another object."""

    value: Any


@dataclass(frozen=True, slots=True)
class Items:
    """The initializer set items of a dictionary, or attributes of an object."""

    values: dict[Any, Any]
    attributes: bool


@dataclass(frozen=True, slots=True)
class Elements:
    """The initializer added elements to a set."""

    values: frozenset[Any]


@dataclass(frozen=True, slots=True)
class Within:
    """The initializer changed the object in another way, which cannot be repeated on a new value."""

    kind: str


Change = Rebound | Items | Elements | Within

_OF_THE_CLASS = frozenset(
    {"__builtins__", "__annotations__", "__abstractmethods__", "__dict__", "__weakref__", "_abc_impl"}
)
"""What Python itself changes in modules and classes."""


def apply_change(change: Change, value: Any) -> tuple[Any, str]:
    """Apply the change to a value. Return the result, and why the change is lost if it is, else an empty text."""
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
def note_changes(
    namespaces: Callable[[], Iterable[Namespace]], find: Callable[[Any], Namespace | None]
) -> Iterator[None]:
    """Note in the namespaces what a ``with`` block changed in their variables."""
    before = {
        namespace: {name: (value, _parts(value)) for name, value in _variables(namespace)} for namespace in namespaces()
    }
    yield
    for namespace in namespaces():
        variables = before.get(namespace)
        for name, value in _variables(namespace):
            if variables is None:  # imported meanwhile
                if namespace.at_import.get(name) != fingerprint_of(value, find):
                    namespace.changes[name] = Rebound(value)
                continue
            was, parts = variables.get(name, (ABSENT, None))
            change = Rebound(value) if value is not was else _changed_parts(value, parts)
            if change is None and _is_changed_within(value, namespace.fingerprints.get(name), find):
                change = Within(type(value).__name__)
            if change is not None:
                namespace.changes[name] = change


def _changed_parts(value: Any, before: dict[Any, Any] | frozenset[Any] | None) -> Change | None:
    now = _parts(value)
    if isinstance(now, dict) and isinstance(before, dict):
        items = {key: held for key, held in now.items() if before.get(key, ABSENT) is not held}
        return Items(items, attributes=not isinstance(value, dict)) if items else None
    if isinstance(now, frozenset) and isinstance(before, frozenset):
        return Elements(now - before) if now - before else None
    return None


def _is_changed_within(value: Any, sent: Fingerprint | None, find: Callable[[Any], Namespace | None]) -> bool:
    return sent is not None and not isinstance(sent, Namespace | Unknown) and sent != fingerprint_of(value, find)


def _variables(namespace: Namespace) -> Iterator[tuple[str, Any]]:
    return (
        (name, value) for name, value in namespace.variables().items() if name not in _OF_THE_CLASS and name != STATE
    )


def _parts(value: Any) -> dict[Any, Any] | frozenset[Any] | None:
    """Return the items, elements or attributes of a value; None if it has none."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, type | FunctionType | ModuleType):
        return None
    held = getattr(value, "__dict__", None)
    return dict(held) if isinstance(held, dict) else None
