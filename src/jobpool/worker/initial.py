"""What an initializer sets stays set.

In a process pool all functions of a module share its global variables, so an initializer may do ``global model`` and
every call finds it. A function that travels by value comes with globals of its own. So the variables that the
initializer set are noted by their module, and laid over the globals of each function that arrives later.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

import cloudpickle.cloudpickle

__all__ = ["Initial"]

# Where cloudpickle, at the end of making a function again, fills in its globals. A later version may do it otherwise;
# then the initializer's variables are its own, and nothing else changes.
_set_state: Callable[[FunctionType, Any], None] | None = getattr(cloudpickle.cloudpickle, "_function_setstate", None)

Globals = dict[str, Any]


class Initial:
    """The global variables that this worker's initializer set, by module."""

    def __init__(self) -> None:
        self._variables: dict[str, Globals] = {}

    def run(self, initializer: bytes) -> None:
        """Run a pickled (function, arguments). Raises what it raises."""
        found: dict[int, Globals] = {}
        function, args = _load(initializer, lambda variables: found.setdefault(id(variables), variables))
        before = [(variables, dict(variables)) for variables in found.values()]
        function(*args)
        for variables, earlier in before:
            new = {name: value for name, value in variables.items() if earlier.get(name, found) is not value}
            self._variables.setdefault(variables["__name__"], {}).update(new)

    def load(self, data: bytes) -> Any:
        """Unpickle, and let functions see what the initializer set in their modules."""
        if not any(self._variables.values()):
            return pickle.loads(data)
        return _load(data, lambda variables: variables.update(self._variables.get(variables["__name__"], {})))


def _load(data: bytes, visit: Callable[[Globals], object]) -> Any:
    """Unpickle, and visit the globals of each function that comes by value."""

    def set_state(function: FunctionType, state: Any) -> None:
        assert _set_state is not None
        _set_state(function, state)
        visit(function.__globals__)

    class Visitor(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = super().find_class(module, name)
            return set_state if found is _set_state and found is not None else found

    return Visitor(io.BytesIO(data)).load()
