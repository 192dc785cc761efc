"""What an initializer sets stays set, for all calls that come later; what cannot stay is told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from jobpool.worker.fingerprints import print_of
from jobpool.worker.initializer_changes import noted
from jobpool.worker.shared_objects import SharedObjects

__all__ = ["run_initializer"]


LARGEST = 1024 * 1024
"""Bytes of an initializer and its arguments that are compared before and after it; each worker does it at its start."""


def run_initializer(initializer: bytes, living: SharedObjects) -> None:
    """Run a pickled (function, arguments), and note what it does to the variables that came with it.

    Raises what it raises.
    """
    function, args = living.load(initializer)
    own = list(_own(function, args)) if len(initializer) <= LARGEST else []
    before = [print_of(value(), living.living) for _, value in own]
    with noted(living.spaces, living.living):
        function(*args)
    for (what, value), earlier in zip(own, before, strict=True):
        if print_of(value(), living.living) != earlier:
            living.tell(
                f"initializer {what}",
                f"the initializer has changed {what}, and no call will see that; for calls, set a global variable, an "
                "attribute of a class, or a key of a global dictionary",
            )


def _own(function: Any, args: tuple[Any, ...]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what no other function has: name, and how to look at it."""
    for number, value in enumerate(args, 1):
        yield f"its argument {number} (of type {type(value).__name__})", functools.partial(_itself, value)
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            yield f"the variable {name!r} of the function around it", functools.partial(_content, cell)


def _itself(value: Any) -> Any:
    return value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None
