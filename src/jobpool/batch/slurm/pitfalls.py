"""Pitfalls in the directives of an sbatch script: what SLURM makes of them that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.site import Partition

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]) -> Iterator[str]:
    """Name what in the directives is not as it looks, each with what to write instead."""
    for line in asked.ignored:
        yield f"'{line}' stands behind the first command, where sbatch does not read it: move it to the head"
    for node in nodes:
        yield from _about_cpus(asked, node)
    yield from _about_tasks(asked)
    yield from _about_memory(asked, nodes, places)
    if "time" not in asked.options:
        times = sorted({str(place.default_time or place.max_time or "no limit") for place in places})
        given = " or ".join(times) or "what the partition sets"
        yield f"no --time: the job gets {given}, and is killed then; say how long it may run"
    if asked.signal and not asked.signal.startswith("B:"):
        yield f"--signal={asked.signal} never reaches the batch script, only steps; write --signal=B:{asked.signal}"
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


def _about_memory(asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]) -> Iterator[str]:
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
