"""What a Grid Engine site calls things, and how it counts them: slots, parallel environments, resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobpool.batch.sge.fields import size
from jobpool.batch.sge.options import options_of_line, resources_of
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.rules import Grant, Rules, Wish
from jobpool.model.units import Memory

__all__ = ["MEMORY", "OPTIONS", "GridEngineRules", "Resource"]

OPTIONS: Mapping[str, str] = {
    "parallel_environment": "the parallel environment by which a job gets several slots of one node (qsub -pe)",
    "memory_resource": "the resource by which a job asks for memory (h_vmem, mem_free, ...)",
    "memory_margin": "memory that a job asks for beside its workers' memory=, where address space is what is limited",
    "gpu_resource": "the resource by which a job asks for GPUs",
    "slots_per_core": "how many slots one core is, where slots count hardware threads",
}
"""The names in ``system_options``, each with what it means."""

_ENVIRONMENTS = ("smp", "threads", "threaded", "shm", "sharedmem", "shared", "omp", "openmp", "multithread", "serial")
"""Names that sites give to the environment whose slots are all on one node, the likeliest first."""

MEMORY = ("h_vmem", "m_mem_free", "mem_free", "h_rss", "virtual_free", "mem", "memory", "ram", "s_vmem")
"""Resources for memory, the best first: what is consumed before what is merely looked at."""

_ADDRESS_SPACE = frozenset({"h_vmem", "s_vmem", "virtual_free", "h_data", "s_data"})
"""Those of them that count address space: more than what a process uses."""

_GPUS = ("gpu", "gpus", "ngpus", "num_gpus", "gpu_count", "cuda", "nvidia_gpu", "gpu_card")

MARGIN = Memory(2**30)
"""The default of ``memory_margin``, for one worker. What a limit of address space needs to let a process use less: an
agent maps 0.7 GB of which it uses 0.03, a worker with NumPy 0.2 GB and more with many threads (measured)."""

MARGIN_OF_OTHERS = Memory(256 * 2**20)
"""The same for each worker beside the first. Grid Engine 8.1.9 holds each process to the job's whole ``h_vmem`` of
address space, and all together to as much in use; older versions count the address space of all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of a site (a line of ``qconf -sc``)."""

    name: str
    shortcut: str = ""
    type: str = ""
    """``MEMORY``, ``INT``, ``BOOL``, ..."""
    consumable: str = "NO"
    """``YES``: of each slot. ``JOB`` or ``HOST``: of the whole job. ``NO``: nothing is taken away."""
    default: str = "0"
    """What a job has that does not ask for it."""
    exclusive: bool = False
    """A job that asks for it shares its node with no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEngineRules(Rules):
    """The rules of one site, as far as they are known."""

    environments: tuple[str, ...] | None = None
    """Parallel environments whose slots are all on one node. None: not known."""
    of_queues: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Those of them that each queue has."""
    resources: tuple[Resource, ...] | None = None
    """None: not known."""

    # ------------------------------------------------------------------------------------------- what things are called

    def environment(self, queue: str | None) -> str | None:
        """Name the environment for several slots of one node, in this queue. None: there is none."""
        if self.environments is None:
            return _ENVIRONMENTS[0]
        here = dict(self.of_queues).get(queue or "", self.environments)
        known = [name for name in self.environments if name in here]
        return next((name for name in _ENVIRONMENTS if name in known), known[0] if known else None)

    def memory_resource(self) -> str | None:
        """Name the resource for memory. None: there is none that jobs may ask for."""
        if self.resources is None:
            return MEMORY[0]
        known = {each.name: each for each in self.resources if each.type == "MEMORY"}
        consumed = [name for name in MEMORY if name in known and known[name].consumable != "NO"]
        others = [name for name in ("mem_free", "h_vmem") if name in known]
        return next(iter([*consumed, *others]), None)

    def default_memory(self) -> Memory | None:
        """Return what each slot has of the resource for memory where a job asks for none. None: no limit."""
        name = self.memory_resource()
        found = next((each for each in self.resources or () if each.name == name and each.consumable == "YES"), None)
        return None if found is None else size(found.default) or None

    def gpu_resource(self) -> str | None:
        """Name the resource for GPUs. None: there is none with a name that is known."""
        if self.resources is None:
            return _GPUS[0]
        names = {each.name.lower(): each.name for each in self.resources if each.type in ("INT", "RSMAP", "DOUBLE")}
        return next((names[name] for name in _GPUS if name in names), None)

    def of_job(self, name: str) -> bool:
        """Say whether a resource counts for the whole job. Else it counts for each slot."""
        found = next((each for each in self.resources or () if name in (each.name, each.shortcut)), None)
        return found is not None and found.consumable in ("JOB", "HOST")

    # ----------------------------------------------------------------------------------------------------- amounts

    def slots(self, request: Request) -> int:
        """Return the slots of one job."""
        options = dict(request.system_options)
        per_core = max(request.threads_per_core, int(options.get("slots_per_core", "1")))
        return request.job_cores * per_core

    def memory(self, request: Request) -> Memory | None:
        """Return the memory that is asked for: with the margin, where address space is what is limited."""
        if request.job_memory is None:
            return None
        options = dict(request.system_options)
        if options.get("memory_resource", self.memory_resource()) not in _ADDRESS_SPACE:
            return request.job_memory
        margin = Memory(MARGIN + MARGIN_OF_OTHERS * (request.workers_per_job - 1))
        return Memory(request.job_memory + Memory.parse(options.get("memory_margin", int(margin))))

    # ------------------------------------------------------------------------------------------------------- Rules

    def as_written(self, request: Request) -> Request:
        """Return the request as its directives say it: some are left out, and the user's own ones win."""
        skipped = {field: None for field, text in _TEXTS.items() if f"{text} x".startswith(request.job_skip or ("\0",))}
        stated = {name: value for line in request.job_extra for name, value in options_of_line(line)}
        own = {field: stated[option] for field, option in _OWN.items() if option in stated}
        asked = {name for line in request.job_extra for name, _ in resources_of(line)}
        other = {"walltime": None} if "h_rt" in asked else {}
        changes: dict[str, Any] = {**skipped, **other, **own}
        return replace(request, **changes) if changes else request

    def whole_node_option(self, request: Request) -> str:
        """Return the user's own ``-l exclusive=true``, by whatever name the site has for it."""
        names = {name for each in self.resources or () if each.exclusive for name in (each.name, each.shortcut)}
        for line in request.job_extra:
            for name, value in resources_of(line):
                if name in (names or {"exclusive", "excl"}) and value.lower() in ("true", "1", ""):
                    return f"-l {name}={value or 'true'}"
        return ""

    def wish_of(self, request: Request) -> Wish:
        """Return what the directives of a request ask for: slots, of which a node has so many."""
        wish = Rules.wish_of(self, request)
        return replace(wish, cpus_per_task=self.slots(request), threads=None, memory=self.memory(request))

    def cpus_given(self, request: Request, partition: Partition) -> int:
        """Return the slots that one job gets."""
        return self.slots(request)

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot."""
        slots = shape.cores * shape.threads_per_core
        if wish.cpus > slots:
            return None
        memory = wish.memory
        if memory is None and wish.memory_per_cpu is not None:
            memory = Memory(wish.memory_per_cpu * wish.cpus)
        if memory is not None and memory > shape.memory:
            return None
        given = slots if wish.exclusive else wish.cpus
        cores = -(-given // shape.threads_per_core)
        return Grant(cores=cores, cpus=given, counted=wish.cpus, memory=memory or partition.default_memory_per_node)


_TEXTS = {"partition": "-q", "account": "-P", "memory": "-l h_vmem=", "walltime": "-l h_rt="}
_OWN = {"partition": "q", "account": "P", "reservation": "ar"}
"""Settings that an option of the user's may say instead."""
