"""The functions of a worker's calls: unpickled when they are first called, and kept for the next call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from jobpool.serialize.pickling import loads_function
from jobpool.worker.checkpoint_signal import offers
from jobpool.worker.shared_objects import SharedObjects, VariableSet

__all__ = ["FunctionTable"]


class FunctionTable:
    """The functions by their keys."""

    def __init__(self, shared: SharedObjects) -> None:
        self._shared = shared
        self._pickles: dict[str, bytes] = {}
        self._made: dict[str, tuple[Callable[..., Any], VariableSet]] = {}

    def define(self, key: str, pickle: bytes) -> None:
        """Keep a function's pickle."""
        self._pickles[key] = pickle

    def forget(self, keys: Iterable[str]) -> None:
        """Drop functions that no call needs, and the values that are kept for them alone."""
        for key in keys:
            self._pickles.pop(key, None)
            self._made.pop(key, None)
        self._shared.keep_for([image for _, image in self._made.values()])

    def get(self, key: str) -> Callable[..., Any]:
        """Return a function, ready to be called. Raises ``NotUnpicklable``."""
        function: Callable[..., Any]
        if key in self._made:
            function, image = self._made[key]
            if self._shared.puts_in_place(image):
                return function
        data = self._pickles[key]
        function, image = loads_function(data, load=self._shared.load_with_image)
        if offers(function):  # it has a state, and each call begins with the state at the submit
            fresh: Callable[..., Any] = loads_function(data, load=functools.partial(self._shared.load, reset=True))
            return fresh
        self._made[key] = function, image
        return function
