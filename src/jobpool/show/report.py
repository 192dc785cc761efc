"""The report of a run: one HTML file that needs nothing else, from the server's record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from jobpool.batch import registry
from jobpool.core.record.advice import advise
from jobpool.model.run_record import RunCall, RunRecord
from jobpool.model.units import Duration, Memory
from jobpool.show.ended_pools import died
from jobpool.show.report_charts import STYLE, chart_of_calls
from jobpool.show.report_timeline import timeline
from jobpool.show.view import as_text, cpus_text

__all__ = ["write_report"]

SHOWN = 30
"""Calls in a table: more than somebody reads."""


def write_report(record: RunRecord, path: Path) -> Path:
    """Write the page, and return its path. Raises ``OSError``."""
    path.write_text(page(record), encoding="utf-8")
    return path


def page(record: RunRecord) -> str:
    """Return the whole page."""
    title = f"jobpool run {record.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_summary(record))}</p>",
        f'<p class="dead">{escape(sentence)}</p>' if (sentence := died(record)) else "",
        _sentences("Advice", advise(record), "What was asked for fits what was used, or too little is known to tell."),
        _sentences("What was told", record.notices, ""),
        f"<h2>Calls over time</h2>{chart_of_calls(record)}",
        f"<h2>Jobs and their calls</h2>{timeline(record)}",
        f"<h2>Asked and used</h2>{_asked(record)}",
        f"<h2>Functions</h2>{_functions(record)}",
        f"<h2>Slowest calls</h2>{_calls(record.slowest)}",
        f"<h2>Failed calls</h2>{_calls(record.failed)}{_given_up(record)}",
        f"<h2>Losses</h2>{_losses(record)}",
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _summary(record: RunRecord) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.ended_at - record.seconds))
    hours = sum(request.core_seconds for request in record.requests.values()) / 3600
    open_calls = f", {record.unresolved} not ended yet" if record.unresolved else ""
    jobs = len(record.jobs) + record.left_out
    return (
        f"On {record.system}, from {began} for {_time(record.seconds)}: {record.done} calls done, "
        f"{record.failed_calls} failed{open_calls}, in {jobs} job{'s' * (jobs != 1)}; "
        f"{hours:.3g} core-hours."
    )


def _sentences(title: str, sentences: Sequence[str], otherwise: str) -> str:
    if not sentences and not otherwise:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) or f"<li>{escape(otherwise)}</li>"
    return f"<h2>{title}</h2><ul>{items}</ul>"


def _asked(record: RunRecord) -> str:
    rows = []
    able = registry.capabilities(record.system)
    memory, walltime = ("none", "none") if able.shares_machine else ("the site's", "the partition's")
    for key, request in record.requests.items():
        functions = [entry for entry in record.functions if entry.request == key]
        wall = sum(entry.wall.total for entry in functions)
        cpus = sum(entry.cpu for entry in functions) / wall if wall else None
        largest = max((entry.memory.largest or 0 for entry in functions), default=0)
        rows.append(
            (
                key or "the pool's own",
                request.cores,
                "" if cpus is None else cpus_text(cpus),
                memory if request.memory is None else _size(request.memory),
                _size(largest) if largest else "",
                walltime if request.walltime is None else _time(request.walltime),
                _time(request.longest),
                _time(request.waiting),
                _time(request.starting),
                _time(request.worker_seconds),
                _time(wall),
            )
        )
    headers = (
        "request", "cores asked", "CPUs used", "memory asked", "memory used, at most", "walltime asked",
        "longest job", "waiting in the queue", "starting", "workers were there", "of it in calls",
    )  # fmt: skip
    return _table(headers, rows)


def _functions(record: RunRecord) -> str:
    rows = [
        (
            entry.name,
            entry.request,
            entry.done,
            entry.failed,
            *(
                "" if seconds is None else _time(seconds)
                for seconds in (entry.wall.mean, entry.wall.most, entry.wall.largest)
            ),
            "" if entry.cpus is None else cpus_text(entry.cpus),
            *(
                "" if not size else _size(size)
                for size in (entry.memory.median, entry.memory.most, entry.memory.largest)
            ),
            entry.threads,
        )
        for entry in record.functions
    ]
    headers = (
        "function", "request", "done", "failed", "time, mean", "99 %", "longest", "CPUs", "memory, median", "99 %",
        "largest", "threads",
    )  # fmt: skip
    return _table(headers, rows)


def _calls(calls: Sequence[RunCall]) -> str:
    rows = []
    for call in calls[:SHOWN]:
        said = escape(as_text(call.words))
        if call.log:
            said += f"<details><summary>output</summary><pre>{escape(call.log)}</pre></details>"
        cells = (call.name, call.job, _time(call.end), _time(call.wall), _time(call.cpu))
        rows.append((*map(escape, cells), escape(_size(call.peak_memory) if call.peak_memory else ""), said))
    headers = ("function", "job", "ended after", "took", "CPU", "memory", "what it said")
    more = f"<p>{len(calls) - SHOWN} more are in the record (--json).</p>" if len(calls) > SHOWN else ""
    return _table(headers, rows, escaped=True) + more


def _given_up(record: RunRecord) -> str:
    rows = [(count, words) for words, count in record.given_up.items()]
    return f"<h3>Given up</h3>{_table(('calls', 'error'), rows)}" if rows else ""


def _losses(record: RunRecord) -> str:
    return _table(("calls that ran again", "lost by"), [(count, cause) for cause, count in record.again.items()])


def _table(headers: Iterable[str], rows: Sequence[Sequence[object]], *, escaped: bool = False) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell if escaped else escape(as_text(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _time(seconds: float) -> str:
    if seconds >= 0.01 or not seconds:
        return str(Duration(seconds if seconds < 10 else round(seconds)))
    return f"{seconds * 1000:.2g} ms"


def _size(size: float) -> str:
    return str(Memory(int(size)))
