"""What the workers of a job are like: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["WorkerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What the workers of one job are."""

    size: int
    logs: int
    """A descriptor of the directory (0700) of its logs. ``worker-0.log`` and so on: all that a worker's calls write."""
    environment: Mapping[str, str]
    """Set from the start, over the agent's own without the batch system's variables."""
    working_directory: str | None
    sys_path: tuple[str, ...]
    """The client's entries; those that exist here are appended."""
    initializer: bytes | None
    """A pickle of (function, arguments)."""
    max_tasks_per_child: int | None
    cpus: tuple[tuple[int, ...], ...] | None
    """The CPUs of each worker. None: wherever the agent may run."""
    devices: tuple[Mapping[str, str], ...] | None = None
    """Variables that name the GPUs of each worker. None: those of the job."""
    memory: int | None = None
    """Bytes that the process tree of a worker may hold. None: no limit of ours."""
    max_memory_growth: int | None = None
    """Bytes that a worker may hold more than after its first call. None: any."""
    log_level: int = 30
    """What the client's root logger had when the pool was made: 30 is ``logging.WARNING``."""
    umask: int = 0o077
    """The client's: files that a call writes have the modes that they would have in the user's own process."""
