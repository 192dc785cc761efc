"""What a job script would really give, as text."""

from __future__ import annotations

from jobpool.batch.user_script import OnScriptNode
from jobpool.site.explain_script import ScriptExplanation

__all__ = ["as_text"]


def as_text(found: ScriptExplanation) -> str:
    """Write it for a terminal."""
    lines = [_told(node) for node in found.nodes]
    for title, texts in (
        ("Refused, or never started", found.problems),
        ("Pitfalls", found.pitfalls),
        ("Notes", found.notes),
        ("Not known", found.unknown),
    ):
        if texts:
            lines += ["", f"{title}:", *(f"  - {text}" for text in texts)]
    if found.keywords:
        listed = ", ".join(f"{name}={value}" for name, value in found.keywords)
        lines += ["", "About the same with jobpool:", f"  JobPoolExecutor({listed})"]
    return "\n".join(lines).lstrip("\n")


def _told(node: OnScriptNode) -> str:
    shape, job = node.shape, node.job
    threads = "" if shape.threads_per_core == 1 else f" with {shape.threads_per_core} hardware threads"
    memory = "memory as the site gives it" if job.memory is None else f"{job.memory} memory"
    return (
        f"On a node of partition {node.partition!r} ({shape.cores} cores{threads}, {shape.memory}): "
        f"{job.cores} core(s), {job.cpus} CPU(s), {memory}"
    )
