"""How a batch system reads a request, and what it allocates on a node for it.

A *core* has execution units of its own; hyper-threading gives it two *hardware threads*. What a batch system calls a
*CPU* may be either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.units import Memory

__all__ = ["Constraint", "Grant", "Rules", "Wish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What directives ask for on one node."""

    tasks: int = 1
    cpus_per_task: int = 1
    threads: int | None = None
    """Hardware threads of each core that count as CPUs. None: all of them."""
    memory: Memory | None = None
    """Of the node."""
    memory_per_cpu: Memory | None = None
    exclusive: bool = False
    """Each node is the job's own, with all its cores."""

    @property
    def cpus(self) -> int:
        """CPUs of all tasks."""
        return self.tasks * self.cpus_per_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a job has on one node."""

    cores: int
    cpus: int
    """Hardware threads of these cores: what is taken from others, and what is charged."""
    counted: int
    """CPUs that memory per CPU is counted for."""
    memory: Memory | None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint that was read."""

    names: tuple[str, ...]
    """The features in it, each once."""
    holds: Callable[[frozenset[str]], bool]
    """Whether a node with these features may run the job."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a batch system that has none of its own: it gives whole cores, as many as are asked for.

    Each batch system that counts or reads otherwise has a subclass in its folder, and says so in ``Limits.rules``.
    Rules are stateless: two of one class are equal.
    """

    def as_written(self, request: Request) -> Request:
        """Return the request as its directives say it: some may be left out, and the user's own ones may win."""
        return request

    def whole_node_option(self, request: Request) -> str:
        """Return the user's own option by which each job gets a node for itself. Empty: there is none."""
        return ""

    def wish_of(self, request: Request) -> Wish:
        """Return what the directives of a request ask for."""
        return Wish(
            cpus_per_task=request.job_cores * request.threads_per_core,
            threads=request.threads_per_core,
            memory=request.job_memory,
            exclusive=self.whole_node_option(request) != "",
        )

    def cpus_given(self, request: Request, partition: Partition) -> int:
        """Return the CPUs that one job gets: those that it asks for, or more where its memory costs CPUs."""
        return request.job_cores * request.threads_per_core

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot."""
        per_core = shape.threads_per_core if wish.threads is None else wish.threads
        needed = -(-wish.cpus // per_core)
        if per_core > shape.threads_per_core or needed > shape.cores:
            return None
        cores = shape.cores if wish.exclusive or partition.whole_nodes else needed
        memory = wish.memory
        if memory is None and wish.memory_per_cpu is not None:
            memory = Memory(wish.memory_per_cpu * cores * per_core)
        if memory is not None and memory > shape.memory:
            return None
        given = partition.default_memory_per_node if memory is None else memory
        return Grant(cores=cores, cpus=cores * shape.threads_per_core, counted=cores * per_core, memory=given)

    def read_constraint(self, text: str) -> Constraint | None:
        """Read a constraint. None: what it means is not known, so nothing is compared with it."""
        return None

    def node_names(self, text: str) -> frozenset[str]:
        """List the nodes in the batch system's short form; what cannot be read is left as it is."""
        return frozenset(name.strip() for name in text.split(",") if name.strip())
