"""Runs the initializer so that later calls see what it has set; the user is told what they cannot see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from jobpool.worker.fingerprints import fingerprint_of
from jobpool.worker.initializer_changes import note_changes
from jobpool.worker.shared_objects import SharedObjects

__all__ = ["run_initializer"]


LARGEST = 1024 * 1024
"""Maximum size in bytes of an initializer with its arguments that is compared before and after the run, in each
worker."""


def run_initializer(initializer: bytes, shared: SharedObjects) -> None:
    """Run a pickled (function, arguments), and note what the function changes in the variables that came with it.

    An exception of the function is raised.
    """
    function, args = shared.load(initializer)
    own = list(_own(function, args)) if len(initializer) <= LARGEST else []
    before = [fingerprint_of(value(), shared.registry.find) for _, value in own]
    with note_changes(shared.registry.namespaces, shared.registry.find):
        function(*args)
    for (what, value), earlier in zip(own, before, strict=True):
        if fingerprint_of(value(), shared.registry.find) != earlier:
            shared.tell(
                f"initializer {what}",
                f"the initializer changed {what}, and no call can see this change; to pass a value to calls, set a "
                "global variable, an attribute of a class, or a key of a global dictionary",
            )


def _own(function: Any, args: tuple[Any, ...]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what belongs to this function alone: a description, and a function that returns the value."""
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
