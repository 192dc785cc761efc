"""Lets a call pass the user's functions and classes to processes that it starts with ``multiprocessing``.

``multiprocessing`` pickles them by name. But they came to the worker by value, and no module of this process has them:
``Pool().map(f, ...)`` in a call would fail with "attribute lookup f on __main__ failed". So a function or class that
cannot be found by its name is pickled by value.

A forked process has the shared objects of the worker, and continues with them: its functions see what the call, or an
initializer of the call's own pool, has set. This is the same as in a plain script.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any

from jobpool.serialize.by_name import is_found
from jobpool.serialize.pickling import dumps_by_value
from jobpool.serialize.rebuild import shared_modules
from jobpool.worker.shared_objects import here

__all__ = ["send_by_value"]


def send_by_value() -> None:
    """Let ``multiprocessing`` in this process, and in processes that it forks, pickle by value if it cannot by name."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]


def _reduce(pickler: object, value: Any) -> Any:
    if isinstance(value, FunctionType | type) and (value.__module__ in shared_modules or not is_found(value)):
        return _again, (dumps_by_value(value),)
    return NotImplemented


def _again(data: bytes) -> Any:
    send_by_value()  # a spawned process is a new one, and sends results, too
    return here().load(data, keep=True)
