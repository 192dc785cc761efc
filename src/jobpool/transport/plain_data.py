"""Converts records to plain data for messages, and back by the declared types of their fields.

The side that reads names the record it expects: nothing in the data can name a class.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

__all__ = ["as_plain", "from_plain"]

T = TypeVar("T")


def as_plain(value: Any) -> Any:
    """Return a record, or a value of a field, as data that :func:`jobpool.transport.packing.pack_plain` takes."""
    match value:
        case None | bool() | bytes():
            return value
        case int() | float() | str():  # ``Memory`` and ``Duration`` are numbers, too
            return next(kind for kind in (int, float, str) if isinstance(value, kind))(value)
        case Path():
            return str(value)
        case tuple() | list():
            return [as_plain(item) for item in value]
        case Mapping():
            return {as_plain(key): as_plain(item) for key, item in value.items()}
        case _ if is_dataclass(value):
            return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"a {type(value).__name__} is no plain data")


def from_plain(kind: type[T], data: Any) -> T:
    """Return the record of this type. Raises ``ValueError`` if the data is no such record."""
    return cast(T, _read(kind, data))


def _read(kind: Any, data: Any) -> Any:
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _read_first(of, data)
    if origin is Literal and data in of:
        return data
    if origin is tuple and isinstance(data, list):
        return tuple(_read(of[0], item) for item in data)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(data, dict):
        return {_read(of[0], key): _read(of[1], item) for key, item in data.items()}
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(data, dict):
        kinds = _kinds(kind)
        if data.keys() == kinds.keys():
            return kind(**{name: _read(kinds[name], item) for name, item in data.items()})
    if isinstance(kind, type) and _fits(kind, data):
        return data if type(data) is kind else kind(data)
    raise ValueError(f"{data!r:.100} is no {getattr(kind, '__name__', kind)}")


def _read_first(kinds: tuple[Any, ...], data: Any) -> Any:
    for kind in kinds:
        try:
            return _read(kind, data)
        except ValueError:
            continue
    raise ValueError(f"{data!r:.100} is none of {', '.join(str(kind) for kind in kinds)}")


def _fits(kind: type, data: Any) -> bool:
    if kind is NoneType or data is None:
        return kind is NoneType and data is None
    if isinstance(data, bool) or kind is bool:
        return kind is bool and isinstance(data, bool)
    if issubclass(kind, float):
        return isinstance(data, int | float)
    if issubclass(kind, Path):
        return isinstance(data, str)
    return isinstance(data, int | str | bytes) and issubclass(kind, type(data))


@functools.cache
def _kinds(record: type) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in fields(cast(Any, record))}
