"""Whether a node of a partition can hold a job, and how many of its CPUs a job takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from jobpool.model.request import AGENT_MEMORY, Request
from jobpool.model.rules import Rules
from jobpool.model.site import NodeShape, Partition
from jobpool.model.units import Memory
from jobpool.site.allocation import fits_features, whole_nodes
from jobpool.site.problem import Problem

__all__ = [
    "check_nodes",
    "cores_given",
    "cpus_asked",
    "cpus_taken",
    "features_unknown",
    "memory_notes",
    "whole_node_notes",
]


def cpus_asked(request: Request) -> int:
    """CPUs of one job as the directives say it: cores, or hardware threads where both of a core are used."""
    return request.job_cores * request.threads_per_core


def cores_given(request: Request, partition: Partition, rules: Rules) -> int:
    """Physical cores that one job gets: more than asked for where memory costs CPUs."""
    return -(-rules.cpus_given(request, partition) // request.threads_per_core)


def cpus_taken(request: Request, partition: Partition, rules: Rules) -> int:
    """CPUs that one job takes away from others, and that accounting counts: all threads of its cores."""
    if whole_nodes(request, partition, rules) and (shapes := _fitting(request, partition, rules)):
        return min(shape.cores * shape.threads_per_core for shape in shapes)
    threads = max((shape.threads_per_core for shape in partition.nodes), default=1)
    return cores_given(request, partition, rules) * threads


def check_nodes(request: Request, partition: Partition, rules: Rules, features: Iterable[str] = ()) -> list[Problem]:
    """Return what no node of the partition could give. ``features``: those of all nodes of the cluster."""
    problems = list(_check_counts(request, partition))
    if not partition.nodes:
        return problems
    allowed = [shape for shape in partition.nodes if fits_features(request, shape, rules)]
    if wrong := list(_check_features(request, partition, rules, allowed, frozenset(features))):
        return [*problems, *wrong]
    nodes = [shape for shape in allowed if shape.threads_per_core >= request.threads_per_core]
    if not nodes:
        most = max(shape.threads_per_core for shape in allowed)
        text = (
            f"threads_per_core={request.threads_per_core}: the nodes of {_named(request, partition)} have "
            f"{most} hardware thread(s) per core"
        )
        return [*problems, Problem("threads_per_core", text, most)]
    return problems + (_check_each(request, partition, nodes) or _check_together(request, partition, nodes))


def memory_notes(request: Request, partition: Partition, rules: Rules) -> Iterator[str]:
    """Say when memory makes the batch system give more cores."""
    given = cores_given(request, partition, rules)
    if given > request.job_cores and not whole_nodes(request, partition, rules):
        yield (
            f"partition {partition.name!r} gives at most {partition.max_memory_per_cpu} for each CPU, so a job of "
            f"{request.job_memory} gets, and is charged for, {given} cores instead of {request.job_cores}"
        )


def whole_node_notes(request: Request, partition: Partition, rules: Rules, *, max_workers: int) -> Iterator[str]:
    """Say when a job gets, and is charged for, a node of which it uses a part."""
    why, shapes = whole_nodes(request, partition, rules), _fitting(request, partition, rules)
    if not why or not shapes:
        return
    sizes = sorted({shape.cores for shape in shapes})
    if request.job_cores >= sizes[0]:
        return
    whose = "each job" if why == rules.whole_node_option(request) else f"each job in partition {partition.name!r}"
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    text = f"{whose} has a whole node ({why}): {size} cores are taken and charged, {request.job_cores} of them used"
    room = min(_workers_on(shape, request, partition) for shape in shapes)
    if (best := min(room, max_workers)) > request.workers_per_job:
        text += f"; workers_per_job={best} shares a node among them"
    yield text


def features_unknown(request: Request, partition: Partition, rules: Rules) -> Iterator[str]:
    """Say when the constraint was not compared with the nodes' features."""
    if request.constraint and partition.nodes and rules.read_constraint(request.constraint) is None:
        yield f"constraint={request.constraint!r}: it cannot be read here, so it was not compared with nodes' features"


def _fitting(request: Request, partition: Partition, rules: Rules) -> list[NodeShape]:
    """Return the nodes of the partition that can hold a job of this request."""
    return [
        shape
        for shape in partition.nodes
        if fits_features(request, shape, rules)
        and shape.gpus >= request.job_gpus
        and rules.grant(rules.wish_of(request), partition, shape) is not None
    ]


def _workers_on(shape: NodeShape, request: Request, partition: Partition) -> int:
    """Return how many workers of this request one such node holds."""
    counts = [shape.cores // request.cores]
    if request.memory:
        counts.append((_memory_of(shape, request, partition) - AGENT_MEMORY) // request.memory)
    if request.gpus:
        counts.append(shape.gpus // request.gpus)
    return min(counts)


def _named(request: Request, partition: Partition) -> str:
    of = f" with constraint={request.constraint!r}" if request.constraint else ""
    return f"partition {partition.name!r}{of}"


def _check_features(
    request: Request, partition: Partition, rules: Rules, allowed: list[NodeShape], features: frozenset[str]
) -> Iterator[Problem]:
    if not request.constraint or (wanted := rules.read_constraint(request.constraint)) is None:
        return
    here = sorted({feature for shape in partition.nodes for feature in shape.features})
    known = features | set(here)
    # A name that no node of the cluster has is refused, also where another one would do.
    if unknown := [name for name in wanted.names if name not in known]:
        named = " or ".join(map(repr, unknown))
        text = (
            f"no node of partition {partition.name!r} has the feature {named}; there are: {', '.join(here) or 'none'}"
        )
        yield Problem("constraint", text)
    elif not allowed:
        sets = sorted({",".join(shape.features) or "none" for shape in partition.nodes})
        text = f"no node of partition {partition.name!r} has {request.constraint!r}; there are nodes with: "
        yield Problem("constraint", text + "; ".join(sets))


def _check_counts(request: Request, partition: Partition) -> Iterator[Problem]:
    name = partition.name
    if partition.min_nodes is not None and partition.min_nodes > 1:
        yield Problem(
            "partition",
            f"partition {name!r} is for jobs of at least {partition.min_nodes} nodes; a job here is one node",
        )
    if partition.no_nodes:
        yield Problem("partition", f"partition {name!r} gives no nodes to a job ({partition.no_nodes})")
    most = partition.max_cpus_per_node
    if most is not None and cpus_asked(request) > most:
        text = (
            f"a job of {cpus_asked(request)} CPUs{_shared(request)} is more than partition {name!r} gives on a node; "
        )
        yield Problem("cores", f"{text}at most {most}", most // request.threads_per_core // request.workers_per_job)


def _check_each(request: Request, partition: Partition, nodes: list[NodeShape]) -> list[Problem]:
    where = f"any node of {_named(request, partition)}"
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
    text = f"no node of {_named(request, partition)} has {asked} together; there are nodes with {have}"
    return [Problem("cores", text)]


def _shared(request: Request) -> str:
    return "" if request.workers_per_job == 1 else f" ({request.workers_per_job} workers)"
