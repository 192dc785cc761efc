"""Compare a request with what the site allows, before anything is queued.

SLURM takes a job that asks for more time than its partition gives, and lets it wait for ever. So what the limits say is
told here, in sentences with the nearest value that fits. What the limits do not say is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jobpool.model import AGENT_MEMORY, Limits, NodeShape, Partition, Request
from jobpool.units import Duration, Memory

__all__ = ["Problem", "check", "partitions_of"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the site does not allow."""

    setting: str
    """The keyword to change: ``walltime``, ``memory``, ..."""
    text: str
    """A sentence that says what is wrong and what would fit."""
    nearest: int | Duration | Memory | None = None
    """The nearest value of this setting that fits, where there is one."""

    def __str__(self) -> str:
        return self.text


def check(request: Request, limits: Limits) -> list[Problem]:
    """Return all problems of this request; none when the limits are not known."""
    if not limits.partitions:
        return []
    known = {partition.name for partition in limits.partitions}
    if unknown := [name for name in _names(request) if name not in known]:
        return [_unknown_partition(name, known) for name in unknown]
    found = [_check_partition(request, partition) for partition in partitions_of(request, limits)]
    return min(found, key=len, default=[])


def partitions_of(request: Request, limits: Limits) -> list[Partition]:
    """Return the partitions where a job for this request may run, as far as they are known."""
    if request.partition is None:
        return [partition for partition in limits.partitions if partition.default]
    names = _names(request)  # SLURM takes the first that can
    return [partition for partition in limits.partitions if partition.name in names]


def _names(request: Request) -> list[str]:
    return [] if request.partition is None else [name.strip() for name in request.partition.split(",")]


def _unknown_partition(name: str, known: Iterable[str]) -> Problem:
    return Problem("partition", f"there is no partition {name!r}; there are: {', '.join(sorted(known))}")


def _check_partition(request: Request, partition: Partition) -> list[Problem]:
    problems = []
    if not partition.up:
        problems.append(Problem("partition", f"partition {partition.name!r} is down: jobs in it do not start"))
    if partition.max_time is not None and request.walltime is not None and request.walltime > partition.max_time:
        text = (
            f"walltime {request.walltime} is longer than partition {partition.name!r} allows; "
            f"at most {partition.max_time}"
        )
        problems.append(Problem("walltime", text, partition.max_time))
    return problems + _check_nodes(request, partition)


def _check_nodes(request: Request, partition: Partition) -> list[Problem]:
    if not partition.nodes:
        return []
    where = f"any node of partition {partition.name!r}"
    problems = []
    if request.job_cores > (most := max(shape.cores for shape in partition.nodes)):
        text = f"a job of {request.job_cores} cores{_shared(request)} is larger than {where}; at most {most} cores"
        problems.append(Problem("cores", text, most // request.workers_per_job))
    if request.job_gpus > (most := max(shape.gpus for shape in partition.nodes)):
        has = f"at most {most} GPUs" if most else "they have none"
        text = f"a job of {request.job_gpus} GPUs{_shared(request)} is larger than {where}; {has}"
        problems.append(Problem("gpus", text, most // request.workers_per_job))
    problems += _check_memory(request, partition, where)
    return problems or _check_together(request, partition)


def _check_memory(request: Request, partition: Partition, where: str) -> list[Problem]:
    most = max(shape.memory for shape in partition.nodes)
    if partition.max_memory_per_node is not None:
        most = min(most, partition.max_memory_per_node)
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


def _check_together(request: Request, partition: Partition) -> list[Problem]:
    """Each number fits some node; ask whether one node has them all."""
    memory = request.job_memory or 0
    needs: tuple[tuple[str, Callable[[NodeShape], bool]], ...] = (
        (f"{request.job_cores} cores", lambda shape: shape.cores >= request.job_cores),
        (f"{Memory(memory)} memory", lambda shape: shape.memory >= memory),
        (f"{request.job_gpus} GPUs", lambda shape: shape.gpus >= request.job_gpus),
    )
    if any(all(fits(shape) for _, fits in needs) for shape in partition.nodes):
        return []
    asked = ", ".join(what for what, _ in needs)
    have = "; ".join(f"{shape.cores} cores, {shape.memory}, {shape.gpus} GPUs" for shape in partition.nodes)
    text = f"no node of partition {partition.name!r} has {asked} together; there are nodes with {have}"
    return [Problem("cores", text)]


def _shared(request: Request) -> str:
    return "" if request.workers_per_job == 1 else f" ({request.workers_per_job} workers)"
