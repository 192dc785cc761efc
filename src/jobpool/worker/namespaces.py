"""The variables of a module, class or function that came by value.

An initializer or a call may have changed a value since it came. Its *fingerprint* says what the client sent: while the
client sends the same, the value that is here is kept.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Hashable
from types import ModuleType
from typing import Any

__all__ = ["ABSENT", "STATE", "ClassNamespace", "Fingerprint", "FunctionNamespace", "ModuleNamespace", "Namespace"]

Fingerprint = Hashable
"""Equal for equal values. That of a shared class, function or module is its :class:`Namespace`."""

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()
"""The value of a variable that does not exist."""

STATE = "()"
"""The name under which a function's code, defaults and closure are one of its attributes."""

_LINE = "__firstlineno__"

_numbers = itertools.count()


class Namespace(abc.ABC):
    """The variables of one module, class or function."""

    def __init__(self, name: str, thing: Any) -> None:
        self.name, self.thing, self.number = name, thing, next(_numbers)
        self.fingerprints: dict[str, Fingerprint] = {}
        """By name: the fingerprint of what the client sent for the current value."""
        self.at_import: dict[str, Fingerprint] = {}
        """By name: the fingerprint of the value that the import of the module gave."""
        self.changes: dict[str, Any] = {}
        """By name: what the initializer changed, a ``Change`` of ``initializer_changes``."""

    @abc.abstractmethod
    def variables(self) -> dict[str, Any]:
        """Return a copy of the variables."""

    def read(self, name: str) -> Any:
        """Return a variable, or ``ABSENT``."""
        return self.variables().get(name, ABSENT)

    @abc.abstractmethod
    def write(self, name: str, value: Any) -> None:
        """Set a variable; ``ABSENT`` removes it."""


class ModuleNamespace(Namespace):
    """The global variables that functions of a module share."""

    thing: ModuleType

    def variables(self) -> dict[str, Any]:
        """Return a copy of the variables."""
        return dict(vars(self.thing))

    def read(self, name: str) -> Any:
        """Return a variable, or ``ABSENT``."""
        return vars(self.thing).get(name, ABSENT)

    def write(self, name: str, value: Any) -> None:
        """Set a variable; ``ABSENT`` removes it."""
        if value is ABSENT:
            vars(self.thing).pop(name, None)
        else:
            vars(self.thing)[name] = value


class ClassNamespace(Namespace):
    """The attributes of a class."""

    thing: type
    tracker: str
    """The number by which cloudpickle knows the class."""

    def variables(self) -> dict[str, Any]:
        """Return a copy of the variables."""
        return dict(vars(self.thing))

    def read(self, name: str) -> Any:
        """Return a variable, or ``ABSENT``."""
        return vars(self.thing).get(name, ABSENT)

    def write(self, name: str, value: Any) -> None:
        """Set a variable; ``ABSENT`` removes it."""
        line = vars(self.thing).get(_LINE)
        # A metaclass of the user's may refuse to set an attribute; then the class stays as it is.
        with contextlib.suppress(AttributeError, TypeError):
            if value is ABSENT:
                delattr(self.thing, name)
            else:
                setattr(self.thing, name, value)
        if line is not None and name != _LINE:  # Python 3.13 drops it when an attribute is set
            type.__setattr__(self.thing, _LINE, line)


class FunctionNamespace(Namespace):
    """The attributes of a function of a module; its code, defaults and closure are one of them (``STATE``)."""

    thing: Any  # a function

    def variables(self) -> dict[str, Any]:
        """Return a copy of the variables."""
        return {**vars(self.thing), STATE: self.read(STATE)}

    def read(self, name: str) -> Any:
        """Return a variable, or ``ABSENT``."""
        if name != STATE:
            return vars(self.thing).get(name, ABSENT)
        function = self.thing
        cells = tuple(map(_content, function.__closure__ or ()))
        slots = {slot: getattr(function, slot) for slot in _SLOTS}
        return function.__code__, slots, cells

    def write(self, name: str, value: Any) -> None:
        """Set a variable; ``ABSENT`` removes it."""
        if name != STATE:
            if value is ABSENT:
                vars(self.thing).pop(name, None)
            else:
                vars(self.thing)[name] = value
            return
        code, slots, contents = value
        self.thing.__code__ = code
        for slot, held in slots.items():
            setattr(self.thing, slot, held)
        for cell, held in zip(self.thing.__closure__ or (), contents, strict=True):
            if held is ABSENT:
                with contextlib.suppress(ValueError):
                    del cell.cell_contents
            else:
                cell.cell_contents = held


_SLOTS = ("__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__module__", "__name__", "__qualname__")


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return ABSENT
