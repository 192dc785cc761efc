"""Whose commands a fake cluster has: for each batch system that it can be, what its programs answer.

All of them work on one engine, the queue of :mod:`jobpool.testing.fake.jobs`. A new one is a module with a constant
``COMMANDS``, a line in ``MODULES``, and a dialect (:mod:`jobpool.testing.fake.dialects`) whose ``scheduler`` names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from jobpool.testing.fake.dialects import Dialect
from jobpool.testing.fake.jobs import FakeJob, JobQueue
from jobpool.testing.fake.site import Answer, Asked, Site

__all__ = ["MODULES", "SystemCommands", "commands_of"]

MODULES = {
    "slurm": "jobpool.testing.fake.slurm",
    "fake": "jobpool.testing.fake.neutral",
    "lsf": "jobpool.testing.fake.lsf",
    "pbs": "jobpool.testing.fake.pbs",
}
"""By the word in ``scheduler=``."""


class _Carry(Protocol):
    def __call__(self, dialect: Dialect, program: str, site: Site, queue: JobQueue, asked: Asked) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCommands:
    """The commands of one batch system."""

    answer: _Carry
    """Carries out a command and returns what it prints. Raises ``BrokenDown`` where it brings the batch system down."""
    refused: Callable[[str, str], Answer]
    """What the submit command, which is named, prints with these words when the site says no."""
    unreachable: Callable[[str], Answer]
    """What a command says when it cannot speak with the batch system: nothing was done."""
    lost: Callable[[str], Answer]
    """What a submit command says when its answer does not come: its jobs may be there or not. ``Answer.hangs`` above 0:
    it says nothing until it is killed."""
    lists: Callable[[str, tuple[str, ...]], bool]
    """Whether this program with these arguments lists the queue: it shows what a listing shows that may be old."""
    stands_alone: Callable[[str, tuple[str, ...]], bool]
    """Whether this program with these arguments answers although the batch system is down."""
    variables: Callable[[FakeJob, str, float], dict[str, str]]
    """What a job's script is told in its environment: job, node, seconds since the epoch."""
    log_names: Callable[[FakeJob], Mapping[str, str]]
    """What a job's ``Order.output`` may contain, and what stands there in the name of its log."""
    files: Callable[[FakeJob, str], Mapping[str, str]] = lambda job, node: {}
    """Variables of a job's script, by job and node, that name a file, and what stands in it."""
    valued: frozenset[str] = frozenset()
    """Options of the submit command whose value is the next word (``-N``): a word that is none of them is a script."""


def commands_of(dialect: Dialect) -> SystemCommands:
    """Return the commands of the batch system whose dialect this is."""
    return cast(SystemCommands, importlib.import_module(MODULES[dialect.scheduler]).COMMANDS)
