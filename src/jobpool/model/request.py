"""The request: a worker's resources, where its job may run, and how often lost calls run again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jobpool.model.errors import ConfigError
from jobpool.model.units import Duration, Memory

__all__ = ["AGENT_MEMORY", "Bind", "Request", "Retry"]

Bind = Literal["cores", "threads"]

AGENT_MEMORY = Memory(256 * 2**20)
"""The agent's share of a job's memory. An agent holds 60 MB, a fork-server and copies of Dask's messages some more
(measured); the rest is for the page tables and log buffers that a cgroup counts too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one worker needs, and where its job may run.

    ``cores``, ``memory`` and ``gpus`` are per worker, ``walltime`` is per job. ``cores`` are physical cores;
    ``threads_per_core`` says how many of each core's hardware threads the call may use.
    """

    cores: int = 1
    memory: Memory | None = None
    gpus: int = 0
    walltime: Duration | None = None
    workers_per_job: int = 1
    threads_per_core: int = 1
    bind: Bind | None = "cores"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    licenses: tuple[str, ...] = ()
    constraint: str | None = None
    exclude: tuple[str, ...] = ()
    job_extra: tuple[str, ...] = ()
    job_skip: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    system_options: tuple[tuple[str, str], ...] = ()
    """What only this batch system, or this site, has a word for: names and values, sorted. Each batch system says which
    it has."""

    @property
    def job_cores(self) -> int:
        """Physical cores of one job."""
        return self.cores * self.workers_per_job

    @property
    def job_gpus(self) -> int:
        """GPUs of one job."""
        return self.gpus * self.workers_per_job

    @property
    def job_memory(self) -> Memory | None:
        """Memory of one job: all workers' and the agent's share. None: the site's default."""
        return None if self.memory is None else Memory(self.memory * self.workers_per_job + AGENT_MEMORY)

    @property
    def threads(self) -> int:
        """Threads that one call may run at once."""
        return self.cores * self.threads_per_core


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a call runs again after a loss, and with what.

    Raises ``ConfigError``, with all problems, for values that cannot be used.
    """

    lost: int = 10
    """How often a call may lose its job for reasons outside of the call (preemption, node failure, ...)."""
    crashed: int = 2
    """How often a call's worker may die while it runs the call, before the call fails."""
    memory_growth: float | None = None
    """A call that was killed for memory runs again with this many times as much, above 1. None: it fails at once."""
    max_memory: str | int | Memory | None = None
    """Maximum memory of one worker after growth (``"64 GiB"``). None: as much as the site's nodes have."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("lost", "crashed"):
            if not _is_whole(getattr(self, name)):
                problems.append(f"{name}={getattr(self, name)!r}: it must be a whole number, at least 0")
        growth = self.memory_growth
        if growth is not None and not (isinstance(growth, (int, float)) and 1 < growth < math.inf):
            problems.append(f"memory_growth={growth!r}: it must be a number above 1, or None")
        try:
            most = None if self.max_memory is None else Memory.parse(self.max_memory)
            object.__setattr__(self, "max_memory", most)
        except ValueError as error:
            problems.append(f"max_memory={self.max_memory!r}: {error}")
        if problems:
            raise ConfigError.from_problems([f"Retry: {problem}" for problem in problems])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
