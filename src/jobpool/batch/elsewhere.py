"""A batch system whose commands run on another host: the same commands, each with the name of that host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from jobpool.batch.base import BatchSystem, Submission
from jobpool.model.command import Command

__all__ = ["at", "commands_at"]

_MAKE_COMMANDS = frozenset({"prepare", "poll", "find", "account", "starts", "estimate", "cancel", "limits"})
"""The methods of a batch system that return commands."""


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    system: BatchSystem
    host: str

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.system, name)
        return _moved(found, self.host) if name in _MAKE_COMMANDS else found


def at(system: BatchSystem, host: str | None) -> BatchSystem:
    """Return the batch system as it is used from here when its commands run on this host (None: here)."""
    return system if host is None else cast(BatchSystem, _Elsewhere(system, host))


def commands_at(commands: tuple[Command, ...], host: str | None) -> tuple[Command, ...]:
    """Return the commands, to be run on this host (None: here)."""
    return tuple(replace(command, host=host) for command in commands)


def _moved(method: Callable[..., Any], host: str) -> Callable[..., Any]:
    def moved(*arguments: Any, **keywords: Any) -> Any:
        match method(*arguments, **keywords):
            case Submission() as made:
                return replace(made, command=replace(made.command, host=host))
            case tuple() as commands:
                return commands_at(commands, host)
            case nothing:
                return nothing

    return moved
