"""Chunks of a map: the arguments of many calls in one payload, and the results of many calls in one payload.

To send one call costs about 30 microseconds, so ``map`` sends its items in chunks. Each item is a row of its chunk, and
remains a call: it may run in another worker than its neighbours, and has its own result or exception. The first byte of
a payload tells its format:

- Items of immutable builtin types alone: one pickle of all of them, at a tenth of a microsecond for each.
- Other items: one pickle for each. In a common pickle, calls would share the objects that they get or return.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

from jobpool.model.errors import NotPicklable, NotUnpicklable
from jobpool.serialize.pickling import (
    ANYWHERE,
    Destination,
    describe,
    detached,
    dumps_arguments,
    dumps_exception,
    dumps_result,
    loads,
    loads_arguments,
    loads_exception,
    loads_result,
)

__all__ = ["NUMBERS", "SHORT", "TEXTS", "Raised", "Results", "dumps_rows", "loads_results", "loads_rows"]

ROWS = 256
"""Maximum rows in a payload: its own cost per row is small then, and it can be cut and sent many times."""

PAYLOAD = 32 * 1024
"""Size in bytes from which a payload takes no more rows, for the same reason."""

NUMBERS, TEXTS = frozenset({type(None), bool, int, float, complex}), frozenset({str, bytes})
IMMUTABLE = NUMBERS | TEXTS

SHORT = 1024
"""Length up to which a text is not counted: the rows of a payload together have at most a MiB of such texts."""

_TOGETHER, _APART = b"T", b"A"
_VALUES, _RESULT, _EXCEPTION = 0, 1, 2


def dumps_rows(
    items: Iterator[tuple[Any, ...]], most: int = ROWS, to: Destination = ANYWHERE, taken: list[object] | None = None
) -> Iterator[tuple[bytes | NotPicklable, int]]:
    """Yield pickled arguments of the next calls, and the number of these calls.

    For a call whose arguments cannot be pickled: an error that names the argument, and 1.
    """
    while rows := list(itertools.islice(items, min(most, ROWS))):
        if _is_plain(rows):
            yield _TOGETHER + pickle.dumps(rows, 5), len(rows)
        else:
            yield from _apart(rows, to, taken)


def _is_plain(rows: list[tuple[Any, ...]]) -> bool:
    """Return whether the rows contain only small immutable objects."""
    kinds = set(map(type, itertools.chain.from_iterable(rows)))
    if not kinds <= IMMUTABLE:
        return False
    if str not in kinds and bytes not in kinds:
        return True
    return sum(len(arg) for row in rows for arg in row if isinstance(arg, (str, bytes))) <= PAYLOAD


def _apart(
    rows: list[tuple[Any, ...]], to: Destination, taken: list[object] | None
) -> Iterator[tuple[bytes | NotPicklable, int]]:
    parts: list[bytes] = []
    for row in rows:
        try:
            data: bytes | NotPicklable = dumps_arguments(row, {}, to, taken)
        except NotPicklable as error:
            data = detached(error)
        if parts and (isinstance(data, NotPicklable) or sum(map(len, parts)) + len(data) > PAYLOAD):
            yield _APART + pickle.dumps(parts, 5), len(parts)
            parts = []
        if isinstance(data, NotPicklable):
            yield data, 1
        else:
            parts.append(data)
    if parts:
        yield _APART + pickle.dumps(parts, 5), len(parts)


def loads_rows(payload: bytes, *, load: Callable[[bytes], Any] = loads) -> list[tuple[Any, ...]] | _Apart:
    """Return the arguments of calls, on the worker. In the second format, each row is unpickled with ``load`` when it
    is indexed, which may raise."""
    parts: list[Any] = pickle.loads(memoryview(payload)[1:])
    return parts if payload[:1] == _TOGETHER else _Apart(parts, load)


class _Apart:
    def __init__(self, parts: list[bytes], load: Callable[[bytes], Any]) -> None:
        self._parts, self._load = parts, load

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        return loads_arguments(self._parts[place], load=self._load)[0]


class Results:
    """The results and exceptions of calls, on the worker, in their order."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self.values: list[Any] = []
        """The caller appends results of ``NUMBERS`` types and short ``TEXTS`` here."""
        self.size = 0
        """Bytes of the results that were added by :meth:`add`."""
        self._failures, self._words = 0, ""

    def add(self, value: object) -> None:
        """Add any other result with its current value. Raises ``NotPicklable``."""
        if isinstance(value, str | bytes) and type(value) in TEXTS and len(value) <= PAYLOAD:
            self.values.append(value)
            self.size += len(value)
        else:
            self._add(_RESULT, dumps_result(value))

    def add_exception(self, error: BaseException) -> None:
        """Add the exception that a call raised."""
        self._add(_EXCEPTION, dumps_exception(error))
        self._words = self._words or describe(error)
        self._failures += 1

    def blame(self) -> tuple[int, str] | tuple[()]:
        """Return the number of exceptions since the last time, and a line on the first one; empty if there were
        none."""
        told = (self._failures, self._words) if self._failures else ()
        self._failures, self._words = 0, ""
        return told

    def _add(self, kind: int, data: bytes) -> None:
        self._pack_values()
        self._parts.append((kind, data))
        self.size += len(data)

    def _pack_values(self) -> None:
        if self.values:
            self._parts.append((_VALUES, pickle.dumps(self.values, 5)))
            self.values.clear()

    def take(self) -> bytes:
        """Return everything that was added since the last time, as one payload."""
        if not self._parts:
            payload = _TOGETHER + pickle.dumps(self.values, 5)
            self.values.clear()
        else:
            self._pack_values()
            payload = _APART + pickle.dumps(self._parts, 5)
            self._parts.clear()
        self.size = 0
        return payload


def loads_results(payload: bytes) -> list[Any]:
    """Return the results of calls, in the client; ``Raised`` in place of an exception."""
    content = memoryview(payload)[1:]
    values: list[Any] = pickle.loads(content)
    if payload[:1] == _TOGETHER:
        return values
    results: list[Any] = []
    for kind, data in values:
        if kind == _VALUES:
            results += pickle.loads(data)
        elif kind == _EXCEPTION:
            results.append(Raised(loads_exception(data)))
        else:
            results.append(_result(data))
    return results


class Raised:
    """The exception of a call, among results."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _result(data: bytes) -> Any:
    try:
        return loads_result(data)
    except NotUnpicklable as error:
        return Raised(detached(error))
