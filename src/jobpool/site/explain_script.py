"""What the directives of an existing job script would really give, with the pitfalls in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobpool.batch.explainer import Explainer
from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.request import Request
from jobpool.model.rules import Rules
from jobpool.model.site import Limits, Partition
from jobpool.site.allocation import fits_features
from jobpool.site.check import judge, partitions_of

__all__ = ["ScriptExplanation", "explain_script"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptExplanation:
    """What a script would really give."""

    nodes: tuple[OnScriptNode, ...]
    """By the kinds of nodes that it may run on. Empty where the nodes are not known."""
    problems: tuple[str, ...] = ()
    """Why it would be refused, or never start."""
    pitfalls: tuple[str, ...] = ()
    """What is not as it looks, each with what to write instead."""
    notes: tuple[str, ...] = ()
    """What it costs or how it is held back, without being refused."""
    unknown: tuple[str, ...] = ()
    """What could not be read; nothing of it was compared."""
    keywords: tuple[tuple[str, str], ...] = ()
    """The arguments of a ``JobPoolExecutor`` that asks for the same, as Python source."""

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data: sizes in bytes, times in seconds."""
        return asdict(self)


def explain_script(asked: ScriptWish, limits: Limits, explainer: Explainer) -> ScriptExplanation:
    """Say what the directives give, on each kind of node where the job may run."""
    limits = replace(limits, rules=explainer.rules)
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
        problems=(*asked.problems, *problems),
        pitfalls=(*asked.unread, *explainer.pitfalls(asked, nodes, places), *_pitfalls(asked, nodes, places)),
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
    """Name those that are the same on every batch system."""
    by_site = {place.name: place.whole_nodes for place in places if place.whole_nodes}
    for node in nodes:
        used = -(-asked.wish.cpus // (asked.wish.threads or node.shape.threads_per_core))
        if (why := by_site.get(node.partition)) and used < node.job.cores:
            yield (
                f"partition {node.partition!r} gives out whole nodes ({why}): {node.job.cores} cores are taken and "
                f"charged, and {used} are asked for"
            )
    if not asked.sets_threads and not asked.steps and any(node.job.cpus > 1 for node in nodes):
        yield (
            "OMP_NUM_THREADS is not set: OpenMP and BLAS start one thread for each CPU that the job may run on, and "
            "other libraries one for each CPU of the node; export OMP_NUM_THREADS, and the like, as many as cores"
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
