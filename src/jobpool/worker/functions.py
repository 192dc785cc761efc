"""The functions of a worker's calls: made from their pickles when they are first called, and kept for the next call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from jobpool.serialize.pickling import loads_function
from jobpool.worker.checkpoint_signal import offers
from jobpool.worker.shared_objects import Image, SharedObjects

__all__ = ["FunctionTable"]


class FunctionTable:
    """Functions by their keys, with all that their pickles brought in its place."""

    def __init__(self, living: SharedObjects) -> None:
        self._living = living
        self._pickles: dict[str, bytes] = {}
        self._made: dict[str, tuple[Callable[..., Any], Image]] = {}

    def define(self, key: str, pickle: bytes) -> None:
        """Take a function's pickle."""
        self._pickles[key] = pickle

    def forget(self, keys: Iterable[str]) -> None:
        """Drop functions that no call needs, and what lives here for them alone."""
        for key in keys:
            self._pickles.pop(key, None)
            self._made.pop(key, None)
        self._living.keep_for([image for _, image in self._made.values()])

    def get(self, key: str) -> Callable[..., Any]:
        """Return a function, ready to be called. Raises ``NotUnpicklable``."""
        function: Callable[..., Any]
        if key in self._made:
            function, image = self._made[key]
            if self._living.puts_in_place(image):
                return function
        data = self._pickles[key]
        function, image = loads_function(data, load=self._living.load_with_image)
        if offers(function):  # it has a state, and each call begins with that of the submit
            anew: Callable[..., Any] = loads_function(data, load=functools.partial(self._living.load, anew=True))
            return anew
        self._made[key] = function, image
        return function
