"""The timeline of a report: what each job did, and below it the calls that ran in it.

::

    4711_0 node7   ▒▒▒▒▒▒▓▓████████████████████      the job: waiting, starting, serving, ...
    timed out              ██████ ██ █████ ██▌       a row for each of its workers, with a bar for each call
                           █████████ ████████▌
                           ▂▃▅▅▅▆▆▅▂▁                calls that are too short for a bar: how busy the workers were
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobpool.core.record.snapshot import ending_in_words
from jobpool.model.run_record import Bar, Cell, RunFigures, RunJob, RunTimeline
from jobpool.model.units import Duration
from jobpool.show.report_charts import LEFT, LETTER, WIDTH, box, key_of, picture, text
from jobpool.show.view import as_text

__all__ = ["timeline"]

STATIONS = {
    "submitting": "#e3d9a8",
    "pending": "#e9c46a",
    "starting": "#8ab6d6",
    "serving": "#b9cfc2",
    "draining": "#d5dfd9",
    "silent": "#a06cd5",
    "closing": "#b8bec7",
}
CALLS = {
    "done": "#33814f",
    "raised": "#c8432b",
    "killed": "#b23d79",
    "ran again": "#b06000",
    "left a checkpoint": "#177f7f",
    "runs": "#2f6db0",
}

JOBS = 200
"""Jobs in the picture; the others are in the record."""

ROWS = 500
"""Rows of workers in it, about six screens of the lowest ones."""

_HEIGHTS = ((40, 14), (150, 8), (ROWS, 4))
"""Pixels of a row for up to so many of them."""

_STRIP = 7
"""Pixels of a job's own bar."""
_CELLS = 18
"""Pixels of a step that says that all workers were busy."""


@dataclass(slots=True)
class _Job:
    """One job, and what is drawn of it."""

    record: RunJob
    workers: int
    bars: list[Bar] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    rows: list[list[tuple[float, Bar]]] = field(default_factory=list)
    """For each worker, its bars, with where each begins in the picture."""

    @property
    def bad(self) -> bool:
        """Whether it ended in a way that nobody wanted."""
        return bool(self.record.ending) and not self.record.ours

    @property
    def count(self) -> int:
        """Rows that it needs."""
        return len(self.rows) + bool(self.cells)


def timeline(record: RunFigures) -> str:
    """Draw each job's stations over time, and the calls in it."""
    jobs = _jobs(record)
    if not jobs:
        return "<p>None.</p>"
    shown = _chosen(jobs)
    height = next(height for most, height in _HEIGHTS if sum(job.count for job in shown) <= most or most == ROWS)
    seconds = max(record.seconds, 0.001)
    parts: list[str] = []
    y = 0.0
    for job in shown:
        y = _draw(parts, job, y, height, record.timeline, seconds)
    keys = key_of(STATIONS, "jobs") + key_of(CALLS, "calls")
    drawn = picture(y + 18, parts, seconds, "jobs and calls over time")
    return f"<p>{_what_is_shown(record, len(shown))}</p>{keys}{drawn}"


def _jobs(record: RunFigures) -> list[_Job]:
    workers = {key: request.workers_per_job for key, request in record.requests.items()}
    jobs = [_Job(job, workers.get(job.request, 1)) for job in record.jobs]
    for bar in record.timeline.bars:
        jobs[bar.job].bars.append(bar)
    for cell in record.timeline.cells:
        jobs[cell.job].cells.append(cell)
    for job in jobs:
        job.rows = _rows(job.bars, job.workers)
    return jobs


def _rows(bars: Iterable[Bar], workers: int) -> list[list[tuple[float, Bar]]]:
    """Share bars out to as many rows as ran at once, at most one for each worker.

    Results that came in one message seem to end together, though they ran one after the other: then the next one begins
    where the row is free.
    """
    rows: list[list[tuple[float, Bar]]] = []
    free: list[tuple[float, int]] = []
    for bar in sorted(bars, key=lambda bar: (bar.begin, bar.seconds)):
        begin, end = bar.begin, bar.begin + bar.seconds
        if free and (free[0][0] <= begin + _slack(bar) or len(rows) >= workers):
            until, row = heapq.heappop(free)
        else:
            until, row = 0.0, len(rows)
            rows.append([])
        rows[row].append((min(max(begin, until), end), bar))
        heapq.heappush(free, (max(end, until), row))
    return rows


def _slack(bar: Bar) -> float:
    """Return the seconds that a result may have been held back for others."""
    return min(0.1, bar.seconds / 2)


def _chosen(jobs: Sequence[_Job]) -> list[_Job]:
    """Return the jobs to draw: when there are too many, those first that came to a bad end."""
    chosen: dict[int, None] = {}
    rows = 0
    for place in sorted(range(len(jobs)), key=lambda place: not jobs[place].bad):
        rows += jobs[place].count
        if chosen and (len(chosen) >= JOBS or rows > ROWS):
            break
        chosen[place] = None
    return [jobs[place] for place in sorted(chosen)]


def _what_is_shown(record: RunFigures, jobs: int) -> str:
    pieces = record.timeline
    bars = sum(bar.calls for bar in pieces.bars)
    merged = sum(cell.calls for cell in pieces.cells)
    sentences = [
        f"Each bar below a job is a call, in as many rows as ran at once: {bars} calls. Point at one to read it."
        if bars
        else "",
        f"The {merged} calls shorter than {_time(pieces.grain)} are merged: the height of a step is the part of the "
        "job's workers that they kept busy, red the part of them in trouble."
        if merged
        else "",
        f"{left} more jobs, with their calls, are not drawn."
        if (left := len(record.jobs) - jobs + record.left_out)
        else "",
    ]
    return " ".join(filter(None, sentences))


def _draw(parts: list[str], job: _Job, y: float, height: int, pieces: RunTimeline, seconds: float) -> float:
    """Draw a job from here on; return where the next one begins."""
    record, scale = job.record, (WIDTH - LEFT) / seconds
    name = f"{record.id or '?'} {record.node or ''}".strip()
    ending = as_text(_ending(record))
    parts.append(text(0, y + 11, name, most=LEFT - 8, told=f"{name} {ending}"))
    if job.bad:
        parts.append(text(0, y + 25, record.ending, most=LEFT - 8, told=ending, style="bad"))
    _draw_stations(parts, record, y + 2, seconds, scale)
    top = y + 2 + _STRIP + 1
    for row in job.rows:
        for begin, bar in row:
            _draw_bar(parts, begin, bar, pieces.names, top, height, scale)
        top += height
    if job.cells:
        _draw_cells(parts, job, top, _CELLS, pieces.grain, scale)
        top += _CELLS
    return max(top, y + (29 if job.bad else 15)) + 3


def _ending(job: RunJob) -> str:
    return ending_in_words(job.ending, job.words, ours=job.ours)


def _draw_stations(parts: list[str], job: RunJob, y: float, seconds: float, scale: float) -> None:
    ends = [*(begin for _, begin in job.stations[1:]), seconds]
    for (state, begin), end in zip(job.stations, ends, strict=True):
        if state in STATIONS:
            told = f"{job.id or 'a job'}: {state} for {_time(end - begin)}, from {_time(begin)} on"
            parts.append(box(LEFT + begin * scale, y, (end - begin) * scale, _STRIP, STATIONS[state], told))


def _draw_bar(
    parts: list[str], begin: float, bar: Bar, names: Sequence[str], y: float, height: int, scale: float
) -> None:
    _, place, began, seconds, calls, outcome, words = bar
    name = names[place] if calls == 1 else f"{calls} x {names[place]}"
    told = f"{name}: {outcome}, from {_time(began)} on for {_time(seconds)}{': ' if words else ''}{as_text(words)}"
    x, width = LEFT + begin * scale, (began + seconds - begin) * scale
    width -= 0.7 if width > 3 else 0  # a gap, so that two calls do not look like one
    if outcome != "done":
        width = max(width, 2.0)
    parts.append(box(x, y + 0.5, width, height - 1, CALLS[outcome], told))
    if height >= 12 and width > (len(name) + 1) * LETTER:
        parts.append(text(x + 3, y + height - 4, name, style="inside"))


def _draw_cells(parts: list[str], job: _Job, y: float, height: float, grain: float, scale: float) -> None:
    """Draw what the short calls kept busy, in steps that can be seen."""
    merge = max(1, math.ceil(2 / (grain * scale)))
    steps: dict[int, list[float]] = defaultdict(lambda: [0.0, 0, 0])
    for _, place, busy, ended, bad in job.cells:
        step = steps[place // merge]
        for index, amount in enumerate((busy, ended, bad)):
            step[index] += amount
    width = grain * merge
    for place, (seconds, calls, troubled) in sorted(steps.items()):
        share = min(1.0, seconds / (width * job.workers))
        tall = max(1.5, share * height)
        trouble = f", {troubled:g} of them in trouble" if troubled else ""
        told = (
            f"{_time(place * width)} to {_time((place + 1) * width)}: {calls:g} calls ended{trouble}; "
            f"they kept {100 * share:.0f} % of the workers busy"
        )
        x = LEFT + place * width * scale
        parts.append(box(x, y + height - tall, width * scale, tall, CALLS["done"], told))
        if troubled:
            red = max(2.0, tall * troubled / max(1, calls))
            parts.append(box(x, y + height - red, width * scale, red, CALLS["raised"], told))


def _time(seconds: float) -> str:
    return str(Duration(round(seconds, 3 if seconds < 1 else 1 if seconds < 60 else 0)))
