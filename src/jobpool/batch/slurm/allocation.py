"""What SLURM allocates on a node for what the directives say, as measured on 22.05 with CR_Core_Memory.

A *core* has execution units of its own; hyper-threading gives it two *hardware threads*. SLURM allocates whole cores
and counts their hardware threads as *CPUs*, unless ``--threads-per-core=1`` (or ``--hint=nomultithread``) makes it
count one for each core; the other thread is the job's all the same.
"""

from __future__ import annotations

from jobpool.model.partition import NodeShape, Partition
from jobpool.model.rules import Grant, Wish
from jobpool.model.units import Memory

__all__ = ["grant", "raised"]


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
