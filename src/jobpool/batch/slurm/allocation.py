"""What SLURM allocates on a node for what the directives say, as measured on 22.05 with CR_Core_Memory.

A *core* has execution units of its own; hyper-threading gives it two *hardware threads*. SLURM allocates whole cores
and counts their hardware threads as *CPUs*, unless ``--threads-per-core=1`` (or ``--hint=nomultithread``) makes it
count one for each core; the other thread is the job's all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.batch.slurm.constraint import read_constraint
from jobpool.model.request import Request
from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Memory

__all__ = ["Grant", "Wish", "fits_features", "grant", "raised", "whole_nodes", "wish_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What directives ask for on one node."""

    tasks: int = 1
    cpus_per_task: int = 1
    threads: int | None = None
    """Hardware threads of each core that count as CPUs (``--threads-per-core``). None: all of them."""
    memory: Memory | None = None
    """Of the node (``--mem``)."""
    memory_per_cpu: Memory | None = None
    exclusive: bool = False
    """Each node is the job's own, with all its cores (``--exclusive``)."""

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


def wish_of(request: Request) -> Wish:
    """Say what a request's directives ask for."""
    skipped = any("--threads-per-core".startswith(beginning) for beginning in request.job_skip)
    return Wish(
        cpus_per_task=request.job_cores * request.threads_per_core,
        threads=None if skipped else request.threads_per_core,
        memory=request.job_memory,
        exclusive=any(line.strip().removeprefix("#SBATCH").strip() == "--exclusive" for line in request.job_extra),
    )


def whole_nodes(request: Request, partition: Partition) -> str:
    """Say by what each job of this request gets a node for itself. Empty: it shares one."""
    return partition.whole_nodes or ("--exclusive" if wish_of(request).exclusive else "")


def fits_features(request: Request, shape: NodeShape) -> bool:
    """Say whether the constraint allows such nodes; one that cannot be read here allows all."""
    wanted = read_constraint(request.constraint) if request.constraint else None
    return wanted is None or wanted.holds(frozenset(shape.features))


def grant(wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
    """Return what such a node gives. None: it cannot."""
    per_core = shape.threads_per_core if wish.threads is None else wish.threads
    if per_core > shape.threads_per_core:
        return None
    limit = partition.max_memory_per_cpu
    factor = 1
    if wish.memory_per_cpu is not None and limit is not None:
        factor = -(-wish.memory_per_cpu // limit)
    cpus = raised(wish.cpus * factor, wish.memory, limit)
    needed = -(-cpus // per_core)
    cores = shape.cores if wish.exclusive or partition.whole_nodes else needed
    # select/linear knows no cores: it counts all threads, whatever --threads-per-core says.
    counted = cores * (shape.threads_per_core if partition.whole_nodes.endswith("/linear") else per_core)
    memory = _memory(wish, partition, shape, counted, factor)
    if needed > shape.cores or (memory is not None and memory > shape.memory):
        return None
    return Grant(cores=cores, cpus=cores * shape.threads_per_core, counted=counted, memory=memory)


def raised(cpus: int, memory: Memory | None, limit: Memory | None) -> int:
    """Return the CPUs that a job gets where memory is limited per CPU.

    SLURM divides the job's memory by the limit, and adds CPUs in steps of the job's own, as long as they are not more.
    """
    if memory is None or limit is None:
        return cpus
    return max(cpus, -(-memory.mebibytes // limit.mebibytes) // cpus * cpus)


def _memory(wish: Wish, partition: Partition, shape: NodeShape, counted: int, factor: int) -> Memory | None:
    if wish.memory is not None:
        return wish.memory or shape.memory  # --mem=0 is all of it
    if wish.memory_per_cpu is not None:
        return Memory(-(-wish.memory_per_cpu // factor) * counted)
    if partition.default_memory_per_cpu is not None:
        return Memory(partition.default_memory_per_cpu * counted)
    return partition.default_memory_per_node
