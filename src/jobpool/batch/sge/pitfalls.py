"""Pitfalls in the directives of a qsub script: what Grid Engine makes of them that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobpool.batch.user_script import ScriptWish
from jobpool.model.site import Partition
from jobpool.model.units import Memory

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish, places: Sequence[Partition]) -> Iterator[str]:
    """Name what in the directives is not as it looks, each with what to write instead."""
    slots, memory = asked.wish.cpus_per_task, asked.wish.memory_per_cpu
    if memory is not None and slots > 1:
        yield (
            f"memory counts for each slot: {memory} times {slots} slots are {Memory(memory * slots)} in all; divide "
            "what the whole job needs"
        )
    if "l h_vmem" in asked.options:
        yield (
            "h_vmem limits address space, of which a program maps more than it uses; a Python with NumPy some 500 MB "
            "more: where that is not enough, its allocations fail with MemoryError, and nobody is killed"
        )
    if memory is None:
        got = sorted({str(place.default_memory_per_cpu) for place in places if place.default_memory_per_cpu})
        yield f"no memory: each slot gets {' or '.join(got) or 'what the site sets'}, by the default of the resource"
    if "l h_rt" not in asked.options:
        times = sorted({str(place.default_time or "no limit") for place in places})
        yield f"no -l h_rt: the job may run for {' or '.join(times) or 'what the queue sets'}; say how long it may run"
    if "l s_rt" in asked.options:
        yield "s_rt: a job that catches its signal is not ended by h_rt any more (seen on 8.1.9); write -notify instead"
    if "V" in asked.options:
        yield "-V: everybody can read the variables that it hands on (qstat -j), secrets among them"
    if "S" not in asked.options:
        yield "no -S: most sites run the script in the queue's own shell, whatever its #! line says; write -S /bin/bash"
    if asked.steps and "pe" not in asked.options:
        yield "mpirun without -pe: the job has one slot; write -pe ENVIRONMENT SLOTS"
