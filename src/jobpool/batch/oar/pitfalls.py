"""Pitfalls in the directives of a script for OAR: what OAR makes of them that is not as it looks."""

from __future__ import annotations

from collections.abc import Iterator

from jobpool.batch.user_script import ScriptWish

__all__ = ["pitfalls"]


def pitfalls(asked: ScriptWish) -> Iterator[str]:
    """Name what in the directives is not as it looks, each with what to write instead."""
    yield "OAR reads #OAR lines with 'oarsub -S SCRIPT' alone; without -S it runs the script and ignores them"
    if asked.request.walltime is None:
        yield "no walltime: the job gets what the site sets (two hours, as OAR is delivered), and is killed then"
    elif asked.hint == "hours":
        yield "walltime=N is hours; write walltime=0:N:0 for minutes"
    if asked.nodes == 0:
        yield "-l without a level for nodes: the cores may be on several nodes; write -l /nodes=1/core=N"
    if "checkpoint" not in asked.options:
        yield (
            "at its walltime, and when it is deleted, a job is killed without a signal; "
            "--checkpoint SECONDS --signal 12 sends SIGUSR2 so long before the walltime"
        )
    if asked.nodes > 1 and not asked.steps:
        yield f"/nodes={asked.nodes} without mpirun, oarsh or taktuk: the script uses the first node alone"
