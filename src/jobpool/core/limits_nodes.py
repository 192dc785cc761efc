"""Whether a node of a partition can hold a job, and what SLURM makes of the job's CPUs there (measured on 22.05)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from jobpool.core.allocation import raised
from jobpool.core.limits_problem import Problem
from jobpool.model import AGENT_MEMORY, NodeShape, Partition, Request
from jobpool.units import Memory

__all__ = ["check_nodes", "cores_given", "cpus_asked", "cpus_taken", "memory_notes"]


def cpus_asked(request: Request) -> int:
    """CPUs of one job as the directives say it: cores, or hardware threads where both of a core are used."""
    return request.job_cores * request.threads_per_core


def cores_given(request: Request, partition: Partition) -> int:
    """Physical cores that SLURM gives one job: more than asked for where memory is limited per CPU."""
    given = raised(cpus_asked(request), request.job_memory, partition.max_memory_per_cpu)
    return -(-given // request.threads_per_core)


def cpus_taken(request: Request, partition: Partition) -> int:
    """CPUs that one job takes away from others, and that accounting counts: all threads of its cores."""
    threads = max((shape.threads_per_core for shape in partition.nodes), default=1)
    return cores_given(request, partition) * threads


def check_nodes(request: Request, partition: Partition) -> list[Problem]:
    """Return what no node of the partition could give."""
    problems = list(_check_counts(request, partition))
    nodes = _with_threads(request, partition)
    if partition.nodes and not nodes:
        most = max(shape.threads_per_core for shape in partition.nodes)
        text = (
            f"threads_per_core={request.threads_per_core}: the nodes of partition {partition.name!r} have "
            f"{most} hardware thread(s) per core"
        )
        return [*problems, Problem("threads_per_core", text, most)]
    if not nodes:
        return problems
    return problems + (_check_each(request, partition, nodes) or _check_together(request, partition, nodes))


def memory_notes(request: Request, partition: Partition) -> Iterator[str]:
    """Say when memory makes SLURM give more cores."""
    given = cores_given(request, partition)
    if given > request.job_cores:
        yield (
            f"partition {partition.name!r} gives at most {partition.max_memory_per_cpu} for each CPU, so a job of "
            f"{request.job_memory} gets, and is charged for, {given} cores instead of {request.job_cores}"
        )


def _with_threads(request: Request, partition: Partition) -> list[NodeShape]:
    return [shape for shape in partition.nodes if shape.threads_per_core >= request.threads_per_core]


def _check_counts(request: Request, partition: Partition) -> Iterator[Problem]:
    name = partition.name
    if partition.min_nodes is not None and partition.min_nodes > 1:
        yield Problem(
            "partition",
            f"partition {name!r} is for jobs of at least {partition.min_nodes} nodes; a job here is one node",
        )
    if partition.max_nodes == 0:
        yield Problem("partition", f"partition {name!r} gives no nodes to a job (MaxNodes=0)")
    most = partition.max_cpus_per_node
    if most is not None and cpus_asked(request) > most:
        text = (
            f"a job of {cpus_asked(request)} CPUs{_shared(request)} is more than partition {name!r} gives on a node; "
        )
        yield Problem("cores", f"{text}at most {most}", most // request.threads_per_core // request.workers_per_job)
    if request.constraint and partition.nodes and re.fullmatch(r"[\w.-]+", request.constraint):
        there = {feature for shape in partition.nodes for feature in shape.features}
        if request.constraint not in there:
            has = ", ".join(sorted(there)) or "none"
            yield Problem(
                "constraint", f"no node of partition {name!r} has the feature {request.constraint!r}; there are: {has}"
            )


def _check_each(request: Request, partition: Partition, nodes: list[NodeShape]) -> list[Problem]:
    where = f"any node of partition {partition.name!r}"
    problems = []
    if request.job_cores > (most := max(shape.cores for shape in nodes)):
        text = f"a job of {request.job_cores} cores{_shared(request)} is larger than {where}; at most {most} cores"
        problems.append(Problem("cores", text, most // request.workers_per_job))
    if request.job_gpus > (most := max(shape.gpus for shape in nodes)):
        has = f"at most {most} GPUs" if most else "they have none"
        text = f"a job of {request.job_gpus} GPUs{_shared(request)} is larger than {where}; {has}"
        problems.append(Problem("gpus", text, most // request.workers_per_job))
    return problems + _check_memory(request, partition, nodes, where)


def _check_memory(request: Request, partition: Partition, nodes: list[NodeShape], where: str) -> list[Problem]:
    most = max(_memory_of(shape, request, partition) for shape in nodes)
    needed = request.job_memory
    if needed is None or needed <= most:
        return []
    # Rounded down to MiB, the grain of the batch systems, so that the proposal fits after rounding up.
    nearest = Memory(max(0, (most - AGENT_MEMORY) // request.workers_per_job) // 2**20 * 2**20)
    text = (
        f"a job of {needed} memory ({request.workers_per_job} x {request.memory}, and {AGENT_MEMORY} for the agent) "
        f"is larger than {where} gives; at most {most}, which leaves {nearest} for each worker"
    )
    return [Problem("memory", text, nearest)]


def _memory_of(shape: NodeShape, request: Request, partition: Partition) -> Memory:
    limits = [shape.memory]
    if partition.max_memory_per_node is not None:
        limits.append(partition.max_memory_per_node)
    if partition.max_memory_per_cpu is not None:
        # With one thread of each core, a core counts as one CPU.
        limits.append(Memory(partition.max_memory_per_cpu * shape.cores * request.threads_per_core))
    return min(limits)


def _check_together(request: Request, partition: Partition, nodes: list[NodeShape]) -> list[Problem]:
    """Each number fits some node; ask whether one node has them all."""
    memory = request.job_memory or 0
    needs: tuple[tuple[str, Callable[[NodeShape], bool]], ...] = (
        (f"{request.job_cores} cores", lambda shape: shape.cores >= request.job_cores),
        (f"{Memory(memory)} memory", lambda shape: _memory_of(shape, request, partition) >= memory),
        (f"{request.job_gpus} GPUs", lambda shape: shape.gpus >= request.job_gpus),
    )
    if any(all(fits(shape) for _, fits in needs) for shape in nodes):
        return []
    asked = ", ".join(what for what, _ in needs)
    have = "; ".join(f"{shape.cores} cores, {shape.memory}, {shape.gpus} GPUs" for shape in nodes)
    text = f"no node of partition {partition.name!r} has {asked} together; there are nodes with {have}"
    return [Problem("cores", text)]


def _shared(request: Request) -> str:
    return "" if request.workers_per_job == 1 else f" ({request.workers_per_job} workers)"
