"""Pitfalls in the directives of a bsub script: what LSF makes of them that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.site import Partition

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]) -> Iterator[str]:
    """Name what in the directives is not as it looks, each with what to write instead."""
    slots = asked.wish.cpus * asked.nodes
    if slots > 1 and "-R span" not in asked.options:
        yield f'-n {slots} without span[hosts=1]: LSF may spread the slots over hosts; write -R "span[hosts=1]"'
    if asked.nodes > 1 and not asked.steps:
        yield f"slots on {asked.nodes} hosts without blaunch or mpirun: the script uses the first host alone"
    yield from _about_memory(asked)
    if "-W" not in asked.options:
        times = sorted({str(place.default_time or place.max_time or "no limit") for place in places})
        given = " or ".join(times) or "what the queue sets"
        yield f"no -W: the job gets {given}, and is killed then; say how long it may run"
    if "-o" not in asked.options and "-oo" not in asked.options:
        yield "no -o: what the job prints comes by mail, or is lost where there is none; write -o job-%J.log"


def _about_memory(asked: ScriptWish) -> Iterator[str]:
    limit, reserve = "-M" in asked.options, "-R rusage" in asked.options
    if asked.wish.memory is None and (limit or reserve):
        yield (
            "an amount of memory without a unit counts KB, or what the site has set (LSF_UNIT_FOR_LIMITS); write the "
            "unit: 2GB"
        )
    if limit and not reserve:
        yield '-M is a limit and reserves nothing: other jobs may use up the memory; write -R "rusage[mem=...]", too'
    if not limit and not reserve:
        yield "no memory: the job gets what the queue sets, or what happens to be free"
