"""``jobpool status`` in words and tables, from the data that the server gives."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TextIO

from jobpool.model.status import FunctionStatus, JobStatus, PoolStatus, RequestStatus
from jobpool.model.units import Duration, Memory
from jobpool.show.answers import read_answer
from jobpool.show.reason import explained
from jobpool.show.view import cpus_text, show_table
from jobpool.transport.messages.base import Question
from jobpool.transport.messages.client import AskStarts, AskStatus

__all__ = [
    "ENDED_SHOWN",
    "asked_status",
    "function_row",
    "headline",
    "job_row",
    "progress_text",
    "show_status",
    "used_text",
]

ENDED_SHOWN = 5
"""Ended jobs that are listed, the last ones: a long run has hundreds, and each of them says little."""


def asked_status(ask: Callable[[Question[Any]], Any], *, start: bool) -> PoolStatus:
    """Ask the server for the status of the pool and, with ``start``, when its pending jobs may start."""
    status = read_answer(PoolStatus, ask(AskStatus()))
    if not start:
        return status
    starts = ask(AskStarts()).starts
    jobs = (replace(job, starts=starts.get(job.id)) if job.state == "pending" else job for job in status.jobs)
    return replace(status, jobs=tuple(jobs))


def show_status(status: PoolStatus, *, starts: bool = False, file: TextIO | None = None) -> None:
    """Print how a pool is; with ``starts``, also when its pending jobs may start."""
    file = file or sys.stdout
    if (as_of := status.as_of) is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(as_of))
        print(f"as it was at {when}, {_duration(time.time() - as_of)} ago:", file=file)
    print(headline(status), file=file)
    for line in (progress_text(status), *used_text(status), _pause_text(status)):
        if line:
            print(line, file=file)
    _show_functions(status, file)
    _show_jobs(status, starts, file)
    for text, warning in status.notices:
        print(f"{'warning: ' if warning else ''}{text}", file=file)


def headline(status: PoolStatus) -> str:
    """Say in one line what pool it is and how many calls are where."""
    calls = status.calls
    counts = f"{calls.waiting} waiting, {calls.running} running, {calls.done} done, {calls.failed} failed"
    return f"{status.name} on {status.system} ({status.phase}); calls: {counts}"


def progress_text(status: PoolStatus) -> str:
    """Say how fast it goes and how long it will take; empty when nothing is known."""
    parts = []
    if status.rate:
        parts.append(f"{_rate(status.rate)} lately")
    if status.left is not None:
        parts.append(f"about {_duration(status.left)} left with the workers that are there")
    return "; ".join(parts)


def _rate(rate: float) -> str:
    unit, seconds = next((entry for entry in (("s", 1), ("min", 60)) if rate * entry[1] >= 1), ("h", 3600))
    return f"{rate * seconds:.3g} calls/{unit}"


def used_text(status: PoolStatus) -> list[str]:
    """Say what is used of what was asked, a line for each kind of worker that ever was there."""
    return [_used(request) for request in status.requests if request.core_hours or request.workers]


def _pause_text(status: PoolStatus) -> str:
    """Say that no jobs are asked for now, for how long and why; empty when there is no pause."""
    pauses = [(request.pause, request.pause_reason) for request in status.requests if request.pause]
    if not pauses:
        return ""
    seconds, why = max(pauses)
    return f"no jobs are requested in the next {Duration(max(1, round(seconds)))}: {why}"


def _used(request: RequestStatus) -> str:
    parts = [f"{request.busy} of {request.workers} workers busy"]
    if request.cpus is not None:
        parts.append(f"CPUs used by a call: {cpus_text(request.cpus)} of {request.cores}")
    if request.largest_memory:
        asked = "" if request.memory is None else f" of {Memory(request.memory)}"
        most, largest = _memory(request.used_memory or 0), _memory(request.largest_memory)
        parts.append(f"memory: {most}{asked}" + (f", at most {largest}" if largest != most else ""))
    parts.append(f"{request.core_hours:.3g} core-hours")
    return f"{request.key}{': ' if request.key else ''}{'; '.join(parts)}"


def function_row(function: FunctionStatus) -> tuple[str, int, int, int, int]:
    """Return the cells of one function: its name, and how many of its calls wait, run, are done and failed."""
    name = f"{function.name} ({function.request})" if function.request else function.name
    return name, function.waiting, function.running, function.done, function.failed


def _show_functions(status: PoolStatus, file: TextIO) -> None:
    rows = [
        (
            *function_row(function),
            "" if function.seconds is None else _duration(function.seconds),
            "" if not function.largest_memory else _memory(function.largest_memory),
        )
        for function in status.functions
    ]
    if rows:
        show_table(("function", "waiting", "running", "done", "failed", "a call takes", "memory"), rows, file=file)


def _show_jobs(status: PoolStatus, starts: bool, file: TextIO) -> None:
    ended = sorted((job for job in status.jobs if job.state == "ended"), key=lambda job: job.age)
    shown = [*reversed(ended[:ENDED_SHOWN]), *(job for job in status.jobs if job.state != "ended")]
    headers = ["job", "state", "node", "workers", "for", "reason"]
    rows = [job_row(job, status.system) for job in shown]
    if starts:
        headers.insert(5, "may start")
        for row, job in zip(rows, shown, strict=True):
            row.insert(5, _start(job))
    if rows:
        show_table(headers, rows, file=file)
    if len(ended) > ENDED_SHOWN:
        print(f"{len(ended) - ENDED_SHOWN} more jobs ended before; --json lists up to 100 of them", file=file)


def job_row(job: JobStatus, system: str) -> list[str]:
    """Return the cells of one job: id, state, node, workers, how long, and the reason in words."""
    reason = job.reason
    if job.state == "pending" and reason:
        reason = explained(reason, system)
    workers = f"{job.busy} of {job.workers} busy" if job.workers else ""
    return [job.id or "", job.state, job.node or "", workers, str(Duration(int(job.age))), reason]


def _start(job: JobStatus) -> str:
    if job.state != "pending":
        return ""
    if job.starts is None:
        return "not planned yet"
    form = "%H:%M" if job.starts - time.time() < 43200 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(job.starts))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 10 else str(Duration(round(seconds)))


def _memory(size: float) -> str:
    return str(Memory(int(size)))
