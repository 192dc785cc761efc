"""Rows of a map: the arguments of many calls in one payload, and what came of them.

A call costs some 30 microseconds on its way, however little it does, so ``map`` sends its items in batches. Each item
stays a call: it may run elsewhere than its neighbours, and ends with its own result or exception. Two forms of each
payload, told apart by the first byte:

- items of immutable builtin types alone: one pickle of all of them, at a tenth of a microsecond for each;
- others: a pickle of each, made on its own. In a common one, calls would share objects that they are given or return.
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

__all__ = ["NUMBERS", "SHORT", "TEXTS", "Raised", "Results", "batches", "loads_results", "loads_rows"]

ROWS = 256
"""Rows in a payload at most: its own cost is small then, and it may be cut and sent many times."""

PAYLOAD = 32 * 1024
"""Bytes of a payload after which it is full, for the same reason."""

NUMBERS, TEXTS = frozenset({type(None), bool, int, float, complex}), frozenset({str, bytes})
IMMUTABLE = NUMBERS | TEXTS

SHORT = 1024
"""Length of a text up to which it need not be counted: the rows of a payload together come to a MiB at most."""

_TOGETHER, _APART = b"T", b"A"
_VALUES, _RESULT, _EXCEPTION = 0, 1, 2


def batches(
    items: Iterator[tuple[Any, ...]], most: int = ROWS, to: Destination = ANYWHERE, taken: list[object] | None = None
) -> Iterator[tuple[bytes | NotPicklable, int]]:
    """Yield the arguments of the next calls, pickled, and how many calls they are for.

    Where they cannot travel: an error that names the first argument which cannot, for one call.
    """
    while rows := list(itertools.islice(items, min(most, ROWS))):
        if _is_plain(rows):
            yield _TOGETHER + pickle.dumps(rows, 5), len(rows)
        else:
            yield from _apart(rows, to, taken)


def _is_plain(rows: list[tuple[Any, ...]]) -> bool:
    """Whether the rows hold nothing but small immutable things."""
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
    """Return the arguments of calls, on the worker. Those that are unpickled, with ``load``, when they are taken may
    raise then."""
    parts: list[Any] = pickle.loads(memoryview(payload)[1:])
    return parts if payload[:1] == _TOGETHER else _Apart(parts, load)


class _Apart:
    def __init__(self, parts: list[bytes], load: Callable[[bytes], Any]) -> None:
        self._parts, self._load = parts, load

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        return loads_arguments(self._parts[place], load=self._load)[0]


class Results:
    """What came of calls, on the worker, in their order."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self.values: list[Any] = []
        """Where results of ``NUMBERS`` types and short ``TEXTS`` are appended."""
        self.size = 0
        """Bytes of what was added otherwise."""
        self._failures, self._words = 0, ""

    def add(self, value: object) -> None:
        """Add any other result, as it is now. Raises ``NotPicklable``."""
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
        """Return how many exceptions were added since the last time, and the first of them in words, if there were."""
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
        """Return all that was added since the last time, as one payload."""
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
    """Return what came of calls, in the client: ``Raised`` stands for an exception."""
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
    """Stands for a call that has an exception and no result."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _result(data: bytes) -> Any:
    try:
        return loads_result(data)
    except NotUnpicklable as error:
        return Raised(detached(error))
