"""What the data that users get has in common: a plain form, and the way back from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

__all__ = ["PublicData"]


class PublicData:
    """Base of frozen dataclasses that users get.

    The fields of each class are public and documented, with units. Sizes are in bytes and times in seconds.
    """

    __slots__ = ()

    def as_data(self) -> dict[str, Any]:
        """Return the same as dicts, lists, strings and numbers, as ``--json`` of the command line prints it."""
        data: dict[str, Any]
        try:
            # Packed and unpacked: msgspec.to_builtins keeps tuples, which are lists to whoever reads the JSON.
            data = msgspec.msgpack.decode(msgspec.msgpack.encode(self, enc_hook=_plain))
        except UnicodeEncodeError:  # a file's name that is not UTF-8: in a path, or in what a call raised
            data = _with_lists(msgspec.to_builtins(self, enc_hook=_plain))
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Make the record again that :meth:`as_data` took apart.

        Unknown keys are left out, so that a file of a newer version can be read.

        Raises:
            ValueError: A key is missing, or has a value of another type.
        """
        return msgspec.convert(data, cls, dec_hook=_made)


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, tuple | list) else value


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    for kind in (int, float, str):  # ``Memory`` and ``Duration`` are numbers, too
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a {type(value).__name__} is no plain data")


def _made(kind: type, value: Any) -> Any:
    # Called for the types that msgspec does not know: paths.
    if issubclass(kind, Path) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"{value!r:.100} is no {kind.__name__}")
