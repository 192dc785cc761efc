"""What the directives of an existing job script would really give, with the pitfalls in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobpool.model.request import Request
from jobpool.model.rules import Grant, Rules, Wish
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.site.allocation import fits_features
from jobpool.site.check import judge, partitions_of

__all__ = ["OnScriptNode", "ScriptExplanation", "ScriptWish", "explain_script"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptWish:
    """What the directives of a script say."""

    wish: Wish
    """On one node."""
    nodes: int = 1
    tasks_stated: bool = False
    hint: str = ""
    request: Request
    """Where it may run, for how long, with which licences; cores and memory are in ``wish``."""
    gpus: int = 0
    steps: bool = False
    """Whether a command starts tasks: srun, mpirun, mpiexec."""
    sets_threads: bool = False
    """Whether it sets OMP_NUM_THREADS."""
    options: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnScriptNode:
    """What the script gets on nodes that are alike."""

    partition: str
    shape: NodeShape
    job: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptExplanation:
    """What a script would really give."""

    nodes: tuple[OnScriptNode, ...]
    problems: tuple[str, ...] = ()
    """Why it would be refused, or never start."""
    pitfalls: tuple[str, ...] = ()
    """What is not as it looks, each with what to write instead."""
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    keywords: tuple[tuple[str, str], ...] = ()
    """The arguments of a ``JobPoolExecutor`` that asks for the same, as Python source."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data: sizes in bytes, times in seconds."""
        return asdict(self)


def explain_script(asked: ScriptWish, limits: Limits) -> ScriptExplanation:
    """Say what the directives give, on each kind of node where the job may run."""
    places = partitions_of(asked.request, limits)
    nodes = tuple(_nodes(asked, places, limits.rules))
    # Cores and memory are judged by what nodes give, below: a script's need not be those of a request.
    verdict = judge(replace(asked.request, cores=1, memory=None), limits)
    problems = [str(problem) for problem in verdict.problems]
    if places and any(place.nodes for place in places) and not nodes:
        names = ", ".join(place.name for place in places)
        problems.append(f"no node of partition {names} can hold what is asked for on one node")
    return ScriptExplanation(
        nodes=nodes,
        problems=tuple(problems),
        pitfalls=tuple(_pitfalls(asked, nodes, places)),
        # Pitfalls, here: the default walltime, and whole nodes of which the script's own cores are a part.
        notes=tuple(note for note in verdict.notes if not (note.startswith("walltime") or "whole node (" in note)),
        unknown=verdict.unknown,
        keywords=_keywords(asked, nodes),
    )


def _nodes(asked: ScriptWish, places: list[Partition], rules: Rules) -> Iterator[OnScriptNode]:
    for partition in places:
        seen = set()
        for shape in partition.nodes:
            key = shape.cores, shape.threads_per_core, shape.memory, shape.gpus
            given = rules.grant(asked.wish, partition, shape)
            fits = asked.gpus <= shape.gpus and fits_features(asked.request, shape, rules)
            if given is not None and key not in seen and fits:
                seen.add(key)
                yield OnScriptNode(partition=partition.name, shape=shape, job=given)


def _pitfalls(asked: ScriptWish, nodes: tuple[OnScriptNode, ...], places: list[Partition]) -> Iterator[str]:
    for line in asked.ignored:
        yield f"'{line}' stands behind the first command, where sbatch does not read it: move it to the head"
    for node in nodes:
        yield from _about_cpus(asked, node)
    yield from _about_whole_nodes(asked, nodes, places)
    yield from _about_tasks(asked)
    yield from _about_memory(asked, nodes, places)
    if "time" not in asked.options:
        times = sorted({str(place.default_time or place.max_time or "no limit") for place in places})
        given = " or ".join(times) or "what the partition sets"
        yield f"no --time: the job gets {given}, and is killed then; say how long it may run"
    if asked.signal and not asked.signal.startswith("B:"):
        yield f"--signal={asked.signal} never reaches the batch script, only steps; write --signal=B:{asked.signal}"
    if not asked.sets_threads and not asked.steps and any(node.job.cpus > 1 for node in nodes):
        yield (
            "OMP_NUM_THREADS is not set: OpenMP and BLAS start one thread for each CPU that the job may run on, and "
            "other libraries one for each CPU of the node; export OMP_NUM_THREADS, and the like, as many as cores"
        )
    if asked.steps and asked.wish.cpus_per_task > 1:
        yield (
            "--cpus-per-task is not handed on to srun since SLURM 22.05: "
            "write srun --cpus-per-task=$SLURM_CPUS_PER_TASK, or export SRUN_CPUS_PER_TASK"
        )


def _about_cpus(asked: ScriptWish, node: OnScriptNode) -> Iterator[str]:
    threads, wish, job = node.shape.threads_per_core, asked.wish, node.job
    where = f"on nodes of partition {node.partition!r} with {threads} hardware threads per core"
    if threads == 1 or wish.exclusive:
        return
    per_core = wish.threads or threads
    expected = -(-wish.cpus // per_core)
    if job.cores > expected:
        yield f"{where}, memory per CPU raises {wish.cpus} CPU(s) to {job.cpus}, silently: they are charged"
    elif per_core > 1:
        rounded = "" if job.cpus == wish.cpus else f", rounded up to {job.cpus}"
        yield (
            f"{where}, {wish.cpus} CPU(s){rounded} are {job.cores} core(s), not {wish.cpus}; "
            "--threads-per-core=1 makes SLURM count cores"
        )
    if asked.hint == "nomultithread":
        yield f"{where}, --hint=nomultithread keeps steps (srun) to one thread of a core, not the batch script itself"


def _about_whole_nodes(asked: ScriptWish, nodes: tuple[OnScriptNode, ...], places: list[Partition]) -> Iterator[str]:
    by_site = {place.name: place.whole_nodes for place in places if place.whole_nodes}
    for node in nodes:
        used = -(-asked.wish.cpus // (asked.wish.threads or node.shape.threads_per_core))
        if (why := by_site.get(node.partition)) and used < node.job.cores:
            yield (
                f"partition {node.partition!r} gives out whole nodes ({why}): {node.job.cores} cores are taken and "
                f"charged, and {used} are asked for"
            )


def _about_tasks(asked: ScriptWish) -> Iterator[str]:
    if asked.wish.tasks * asked.nodes > 1 and asked.tasks_stated and not asked.steps:
        yield (
            f"--ntasks={asked.wish.tasks * asked.nodes} without srun or mpirun: the script runs once, on the first "
            "node; for threads or processes of one program write --ntasks=1 --cpus-per-task=N"
        )
    if asked.nodes > 1 and not asked.steps:
        yield f"--nodes={asked.nodes} without srun or mpirun: the script uses the first node alone"
    elif asked.tasks_stated and asked.wish.tasks > 1 and "nodes" not in asked.options:
        yield "--ntasks without --nodes: SLURM may spread the tasks over nodes; write --nodes=1 to keep them together"


def _about_memory(asked: ScriptWish, nodes: tuple[OnScriptNode, ...], places: list[Partition]) -> Iterator[str]:
    wish = asked.wish
    if not any(option.startswith("mem") for option in asked.options):
        got = sorted({str(node.job.memory) for node in nodes if node.job.memory is not None})
        yield f"no --mem: the job gets {' or '.join(got) or 'what the site sets'}, by the partition's default"
    if wish.memory_per_cpu is not None and wish.threads is None and any(n.shape.threads_per_core > 1 for n in nodes):
        got = sorted({str(node.job.memory) for node in nodes})
        yield (
            f"--mem-per-cpu counts for each allocated CPU, so for both threads of a core: {' or '.join(got)} in all; "
            "write --mem"
        )


def _keywords(asked: ScriptWish, nodes: tuple[OnScriptNode, ...]) -> tuple[tuple[str, str], ...]:
    request, wish = asked.request, asked.wish
    per_core = wish.threads or (nodes[0].shape.threads_per_core if nodes else 1)
    cores = nodes[0].job.cores if wish.exclusive and nodes else -(-wish.cpus_per_task // per_core)
    found: list[tuple[str, Any]] = [("cores", cores)]
    if (wish.threads or 1) > 1:
        found.append(("threads_per_core", wish.threads))
    if wish.tasks > 1:
        found.append(("max_workers", wish.tasks * asked.nodes))
    memory = nodes[0].job.memory if nodes else wish.memory
    if memory:
        found.append(("memory", str(type(memory)(memory // wish.tasks))))
    if request.walltime is not None:
        found.append(("walltime", str(request.walltime)))
    if asked.gpus:
        found.append(("gpus", asked.gpus))
    same: tuple[tuple[str, Callable[[Request], Any]], ...] = (
        ("partition", lambda request: request.partition),
        ("account", lambda request: request.account),
        ("qos", lambda request: request.qos),
        ("reservation", lambda request: request.reservation),
        ("constraint", lambda request: request.constraint),
        ("licenses", lambda request: list(request.licenses) or None),
        ("exclude", lambda request: list(request.exclude) or None),
    )
    found += [(name, value) for name, read in same if (value := read(request)) is not None]
    return tuple((name, repr(value)) for name, value in found)
