"""From what is asked to what a call sees: directives, what a node gives for them, and what of it is one worker's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobpool.model.request import Request
from jobpool.model.rules import Grant
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.allocation import fits_features
from jobpool.site.check import judge, partitions_of

__all__ = ["CallSees", "Explanation", "OnNode", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSees:
    """What one call finds on a node."""

    cpus: int
    """``len(os.sched_getaffinity(0))``: CPUs that it may run on."""
    cores: int
    """Physical cores that these belong to."""
    threads: int
    """What ``OMP_NUM_THREADS`` and the like are set to."""
    memory: Memory | None
    """Bytes. Over it the call is stopped. None: nobody asked for a limit; the job's memory is shared by its workers."""
    gpus: int
    """GPUs of its own."""
    deadline: Duration | None
    """Its job ends so many seconds after its start. None: not known, or never."""
    cpu_count: int
    """``os.cpu_count()``: the whole node's, whatever was asked for."""
    bound: bool
    """Whether it is kept to its own CPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnNode:
    """What becomes of a job on nodes that are alike."""

    partition: str
    """Where the nodes are."""
    shape: NodeShape
    """What one of the nodes has."""
    job: Grant
    """What a job gets on it."""
    workers: int
    """Workers of the job."""
    cores: int
    """Physical cores of one worker."""
    used_threads: int
    """Hardware threads of each core that a call is meant to use."""
    worker_memory: Memory | None
    """Bytes of one worker. None: they were not asked for."""
    call: CallSees
    """What a call finds there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request becomes."""

    system: str
    """The batch system."""
    directives: tuple[tuple[str, str], ...]
    """Each directive with the reason for it."""
    nodes: tuple[OnNode, ...]
    """By the kinds of nodes that jobs may run on. Empty where the nodes are not known."""
    problems: tuple[str, ...] = ()
    """Why the request would be refused, or never start."""
    notes: tuple[str, ...] = ()
    """What the request costs or how it is held back, without being refused."""
    unknown: tuple[str, ...] = ()
    """What could not be read, each with the batch system's words; nothing of it was compared."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data: sizes in bytes, times in seconds."""
        return asdict(self)


def explain(
    request: Request, limits: Limits, *, system: str, directives: Sequence[tuple[str, str]], max_workers: int
) -> Explanation:
    """Say what a request becomes. ``"auto"`` must have been settled."""
    verdict = judge(request, limits, max_workers=max_workers)
    return Explanation(
        system=system,
        directives=tuple(directives),
        nodes=tuple(_nodes(limits.rules.as_written(request), limits)),
        problems=tuple(map(str, verdict.problems)),
        notes=(*_notes(request, limits), *verdict.notes),
        unknown=verdict.unknown,
    )


def _nodes(request: Request, limits: Limits) -> Iterator[OnNode]:
    rules = limits.rules
    for partition in partitions_of(request, limits):
        seen = set()
        for shape in partition.nodes:
            key = shape.cores, shape.threads_per_core, shape.memory, shape.gpus
            given = rules.grant(rules.wish_of(request), partition, shape)
            fits = request.job_gpus <= shape.gpus and fits_features(request, shape, rules)
            if given is None or key in seen or not fits:
                continue
            seen.add(key)
            yield OnNode(
                partition=partition.name,
                shape=shape,
                job=given,
                workers=request.workers_per_job,
                cores=request.cores,
                used_threads=request.threads_per_core,
                worker_memory=request.memory,
                call=_call(request, limits, partition, shape, given),
            )


def _call(request: Request, limits: Limits, partition: Partition, shape: NodeShape, job: Grant) -> CallSees:
    everything = shape.cores * shape.threads_per_core
    # Jobs that are not kept apart would all bind to the same first cores; so nobody is bound there.
    together = limits.confined is False and job.cores < shape.cores
    # Nor where the job has fewer cores than its workers ask for.
    bound = request.bind is not None and not together and job.cores >= request.job_cores
    if together:
        cores, cpus = shape.cores, everything
    elif not bound:
        cores, cpus = job.cores, job.cpus
    else:
        per_core = shape.threads_per_core if request.bind == "cores" else request.threads_per_core
        cores, cpus = request.cores, request.cores * per_core
    return CallSees(
        cpus=cpus,
        cores=cores,
        threads=request.threads,
        memory=request.memory,
        gpus=request.gpus,
        deadline=request.walltime or partition.default_time or partition.max_time,
        cpu_count=everything,
        bound=bound,
    )


def _notes(request: Request, limits: Limits) -> Iterator[str]:
    if request.memory is None and limits.partitions:
        yield "memory is not given: a job gets the partition's default, and no call is stopped before the whole job is"
    if setting := limits.mapped_files_counted_by:
        yield (
            f"this site kills a job whose processes hold more than its memory ({setting}), and counts mapped files "
            "(numpy.memmap), in each process that maps them; memory= does not count them: ask for room for both"
        )
    if limits.confined is False:
        why = f" ({limits.unconfined_words})" if limits.unconfined_words else ""
        yield (
            f"this site does not keep jobs to their cores{why}, so a call may run on "
            "any CPU of its node; the numbers of threads hold all the same"
        )
    elif limits.confined is None and limits.partitions:
        yield "it is not known whether this site keeps jobs to their cores; the CPUs of a call are those where it does"
