"""Lets a call hand the user's functions and classes to processes that it starts by ``multiprocessing``.

That pickles them by name. They came here by value, and stand in no module of this process: ``Pool().map(f, ...)`` in a
call would fail with "attribute lookup f on __main__ failed". So what cannot be found by its name goes on by value.

A process that was forked has all that lives in the worker, and goes on with that: what the call, or an initializer of
its own pool, has set there is what its functions see. So it is in a plain script.
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
    """Make ``multiprocessing`` in this process, and in those it forks, send by value what it could not send by name."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]


def _reduce(pickler: object, value: Any) -> Any:
    if isinstance(value, FunctionType | type) and (value.__module__ in shared_modules or not is_found(value)):
        return _again, (dumps_by_value(value),)
    return NotImplemented


def _again(data: bytes) -> Any:
    send_by_value()  # a spawned process is a fresh one, and sends its results, too
    return here().load(data, keep=True)
