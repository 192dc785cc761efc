"""What a request becomes, as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from jobpool.batch import registry
from jobpool.show.node_picture import as_svg, as_text_lines
from jobpool.show.view import plain_table
from jobpool.site.explain import Explanation, OnNode

__all__ = ["as_html", "as_text", "call_rows", "job_line"]

KEY = "A: a worker's threads that its call uses;  a: its second threads, idle;  +: the job's, no worker's;  .: free"


def as_text(explanation: Explanation) -> str:
    """Write it for a terminal."""
    lines = []
    if explanation.directives:
        lines += [_heading("Directives"), plain_table(("directive", "because"), explanation.directives)]
    for node in explanation.nodes:
        lines += [_heading(_where(node)), job_line(node, explanation.system), "", *as_text_lines(node), f"({KEY})", ""]
        lines += ["What a call sees there:", plain_table(("", "", ""), call_rows(node)).lstrip("\n")]
    lines += [f"Problem: {text}" for text in explanation.problems]
    lines += [f"Note: {text}" for text in explanation.notes]
    lines += [f"Not known: {text}" for text in explanation.unknown]
    return "\n".join(lines).rstrip("\n")


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _where(node: OnNode) -> str:
    shape = node.shape
    threads = "" if shape.threads_per_core == 1 else f" with {shape.threads_per_core} hardware threads each"
    gpus = f", {shape.gpus} GPUs" if shape.gpus else ""
    return f"On a node of partition {node.partition!r}: {shape.cores} cores{threads}, {shape.memory}{gpus}"


def job_line(node: OnNode, system: str) -> str:
    """Say what one job has of a node, under the batch system with this name."""
    job = node.job
    counts = f" ({job.cpus} CPUs, as {registry.title(system)} counts hardware threads)"
    cpus = counts if job.cpus != job.cores else ""
    memory = "memory as the site gives it" if job.memory is None else f"{job.memory} memory"
    return f"One job has {job.cores} core(s){cpus} and {memory}, for {node.workers} worker(s)."


def call_rows(node: OnNode) -> list[tuple[str, str, str]]:
    """Say what one call sees: a thing, its value, and how it can be looked at."""
    call = node.call
    where = "of its own" if call.bound else "shared with others"
    rows = [
        ("CPUs it may run on", f"{call.cpus}: {call.cores} core(s), {where}", "len(os.sched_getaffinity(0))"),
        ("threads of libraries", str(call.threads), "OMP_, MKL_, OPENBLAS_NUM_THREADS, ..."),
        ("memory", f"{call.memory}, then it is stopped" if call.memory else "the job's, shared", "future.usage"),
    ]
    if call.gpus:
        rows.append(("GPUs", f"{call.gpus} of its own", "CUDA_VISIBLE_DEVICES"))
    deadline = "none" if call.deadline is None else f"{call.deadline} after its job's start"
    rows.append(("deadline", deadline, "walltime="))
    rows.append(("not to be trusted", f"{call.cpu_count}: the whole node", "os.cpu_count()"))
    return rows


def as_html(explanation: Explanation) -> str:
    """Write it for a notebook."""
    return "".join(_html_parts(explanation))


def _html_parts(explanation: Explanation) -> Iterator[str]:
    yield _html_table(explanation.directives, code=0)
    for node in explanation.nodes:
        told = html.escape(job_line(node, explanation.system))
        yield f"<h4>{html.escape(_where(node))}</h4><p>{told}</p>{as_svg(node)}"
        yield "<p>Bright: what calls use; pale: the worker's second threads, idle; grey: the job's, no worker's.</p>"
        yield _html_table(call_rows(node), code=2)
    for title, texts in (
        ("Problem", explanation.problems),
        ("Note", explanation.notes),
        ("Not known", explanation.unknown),
    ):
        for text in texts:
            yield f"<p><b>{title}:</b> {html.escape(text)}</p>"


def _html_table(rows: Sequence[Sequence[str]], *, code: int) -> str:
    def cell(column: int, text: str) -> str:
        inner = html.escape(text)
        return f'<td style="text-align:left">{f"<code>{inner}</code>" if column == code else inner}</td>'

    body = "".join(f"<tr>{''.join(cell(column, text) for column, text in enumerate(row))}</tr>" for row in rows)
    return f"<table>{body}</table>"
