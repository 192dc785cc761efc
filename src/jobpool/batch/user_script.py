"""What a job script of the user's own asks for, and what it gets on a node."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.model.request import Request
from jobpool.model.rules import Grant, Wish
from jobpool.model.site import NodeShape

__all__ = ["OnScriptNode", "ScriptWish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptWish:
    """What the directives of a script say."""

    wish: Wish
    """On one node."""
    nodes: int = 1
    tasks_stated: bool = False
    hint: str = ""
    request: Request
    """Where it may run, for how long, with which licences; cores and memory are in ``wish``."""
    gpus: int = 0
    steps: bool = False
    """Whether a command starts tasks, as mpirun and mpiexec do."""
    sets_threads: bool = False
    """Whether it sets OMP_NUM_THREADS."""
    options: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    signal: str = ""
    problems: tuple[str, ...] = ()
    """Why the batch system refuses the script, whatever the site allows."""
    unread: tuple[str, ...] = ()
    """What of it is not explained, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnScriptNode:
    """What the script gets on nodes that are alike."""

    partition: str
    shape: NodeShape
    job: Grant
