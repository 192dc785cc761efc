"""What the workers of a job are like, and how that follows from what the server asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from jobpool.agent import binding
from jobpool.agent.cgroup import memory_limit
from jobpool.agent.job_facts import JobFacts
from jobpool.host.private_directory import JOB_ID, make_directory, open_directory, write_text
from jobpool.transport.messages.agent import AgentSettings, NodeWarning

__all__ = ["WorkerSettings", "worker_settings"]


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
    notice: tuple[int, ...] = ()
    """Signals by which a job is told that it will be killed: for the agent alone, although all processes get them."""
    step_variables: str = ""
    """A regular expression for variables of the agent's own place in the job, which workers do not get."""
    umask: int = 0o077
    """The client's: files that a call writes have the modes that they would have in the user's own process."""


def worker_settings(asked: AgentSettings, facts: JobFacts, job: str) -> tuple[WorkerSettings, list[NodeWarning]]:
    """Return what the workers of this job are like, and a message for each thing that could not be had.

    Raises ``OSError`` when there can be no directory for the logs.
    """
    size = asked.workers
    shares = binding.share_out(
        size=size,
        cores=asked.cores,
        threads_per_core=asked.threads_per_core,
        bind=asked.bind,
        counted=facts.cpus,
    )
    directory = open_directory(asked.log_directory)
    logs = make_directory(job, within=directory)
    os.close(directory)
    write_text(JOB_ID, f"{facts.id}\n", within=logs)
    environment = binding.thread_environment(asked.cores * asked.threads_per_core, asked.environment)
    os.environ.update(environment)  # for tasks of pool.client, which run in this process
    settings = WorkerSettings(
        size=size,
        logs=logs,
        environment=environment,
        working_directory=asked.working_directory,
        sys_path=tuple(asked.sys_path),
        initializer=asked.initializer,
        max_tasks_per_child=asked.max_tasks_per_child,
        cpus=shares.cpus,
        devices=binding.share_devices(os.environ, size=size, gpus=asked.gpus),
        memory=asked.memory,
        max_memory_growth=asked.max_memory_growth,
        log_level=asked.log_level,
        umask=asked.umask,
        notice=tuple(map(int, facts.notice)),
        step_variables=facts.step_variables,
    )
    memory = None if asked.memory is None else asked.memory * size
    site = f"workers are not bound to cores on {facts.cluster}"
    unbound = NodeWarning(shares.note, site if shares.of_site else None)
    notes = [unbound, NodeWarning(binding.too_little_memory(memory, memory_limit()))]
    return settings, [note for note in notes if note.sentence]
