"""Pitfalls in the directives of a PBS script: what PBS makes of them that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobpool.batch.user_script import OnScriptNode, ScriptWish
from jobpool.model.site import Partition

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish, nodes: Sequence[OnScriptNode], places: Sequence[Partition]) -> Iterator[str]:
    """Name what in the directives is not as it looks, each with what to write instead."""
    options = asked.options
    for line in asked.ignored:
        yield f"'{line}' stands behind the first command, where qsub does not read it: move it to the head"
    if asked.nodes > 1 and not asked.steps:
        yield (
            f"select={asked.nodes} chunks without mpirun or pbsdsh: the script runs once, on the first of them; for "
            "threads or processes of one program write select=1:ncpus=N"
        )
    if asked.nodes > 1 and "place" not in options:
        yield "several chunks without -l place: they may be on one node or on several; write -l place=scatter or pack"
    if asked.wish.memory is None:
        got = sorted({str(node.job.memory) for node in nodes if node.job.memory is not None})
        yield f"no mem in the chunk: the job gets {' or '.join(got) or 'what the site sets, or no limit at all'}"
    if "walltime" not in options:
        times = sorted({str(place.default_time or place.max_time or "no limit") for place in places})
        yield f"no -l walltime: the job gets {' or '.join(times) or 'what the queue sets'}; say how long it may run"
    if "-V" in options:
        yield (
            "-V hands on the environment of the shell that runs qsub, where everybody can read it (qstat -f); the "
            "functions of that shell do not come along: load modules in the script"
        )
