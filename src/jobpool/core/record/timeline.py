"""When each call ran, in a bounded number of pieces, for the timeline of a report.

A grain of time decides. A call that takes longer is a bar of its own; shorter ones are added up in cells, one for each
job and grain. When there are more pieces than a page can show, the grain doubles: what becomes coarse is what would be
finer than a pixel in a picture of the whole run.

Calls in trouble (they raised, were killed, or ran again) stay bars however short they are, the first of them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobpool.core.events import JobKey
from jobpool.model.run_record import Bar, Cell, RunTimeline

__all__ = ["AGAIN", "CHECKPOINT", "DONE", "KILLED", "PIECES", "RAISED", "RUNS", "Interval", "Timeline"]

PIECES = 6000
"""Bars and cells at most: about 1 MB here, and in the page. A picture has not more pixels in a few rows."""

TROUBLED = 500
"""Calls in trouble that stay bars."""

GRAIN = 1 / 64
"""Seconds, at the beginning: calls that are hardly longer come back added up already (``tally.BRIEF``)."""

DONE, RAISED = "done", "raised"
KILLED = "killed"
"""It was given up, since its worker or job was lost."""
AGAIN = "ran again"
"""It lost its worker or job, and ran again elsewhere."""
CHECKPOINT = "left a checkpoint"
"""It goes on elsewhere from there."""
RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Interval:
    """One run of a call, or of rows that came back together."""

    name: str
    begin: float
    seconds: float
    calls: int = 1
    outcome: str = DONE
    words: str = ""

    @property
    def each(self) -> float:
        """Seconds of one of its calls."""
        return self.seconds / self.calls


class Timeline:
    """The pieces of a run. Times are those of the core's clock."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.grain = GRAIN
        self._bars: dict[JobKey, list[Interval]] = defaultdict(list)
        self._cells: dict[JobKey, dict[int, list[float]]] = defaultdict(dict)
        """By job and number of the grain: seconds of calls, calls that ended, and those of them in trouble."""
        self._pieces = 0
        self._troubled = 0

    def add(self, job: JobKey, bar: Interval) -> None:
        """Note how a call ran."""
        if bar.each < self.grain:
            self._widen(bar.seconds)
        self._put(job, bar)
        self._make_room()

    def spread(self, job: JobKey, begin: float, seconds: float, calls: int) -> None:
        """Note short calls that took so long together, one after the other. They count as ended at the end."""
        self._widen(seconds)
        self._merge(job, begin, seconds, calls, 0)
        self._make_room()

    def forget(self, job: JobKey) -> None:
        """Drop what is known of a job."""
        self._pieces -= len(self._bars.pop(job, ())) + len(self._cells.pop(job, ()))

    def _put(self, job: JobKey, bar: Interval) -> None:
        troubled = bar.outcome != DONE
        if bar.each < self.grain and not (troubled and self._troubled < TROUBLED):
            self._merge(job, bar.begin, bar.seconds, bar.calls, bar.calls if troubled else 0)
            return
        self._bars[job].append(bar)
        self._pieces += 1
        self._troubled += troubled

    def _merge(self, job: JobKey, begin: float, seconds: float, calls: int, troubled: int) -> None:
        first = max(0.0, begin - self._began) / self.grain
        last = max(first, (begin + seconds - self._began) / self.grain)
        cells = self._cells[job]
        for place in range(int(first), int(last) + 1):
            inside = min(place + 1.0, last) - max(place, first)
            self._cell(cells, place)[0] += inside * self.grain
        cell = self._cell(cells, int(last))
        cell[1] += calls
        cell[2] += troubled

    def _cell(self, cells: dict[int, list[float]], place: int) -> list[float]:
        cell = cells.get(place)
        if cell is None:
            cell = cells[place] = [0.0, 0, 0]
            self._pieces += 1
        return cell

    def _widen(self, seconds: float) -> None:
        """Take a grain with which so many seconds are few cells: not a million that are merged at once."""
        while seconds > self.grain * PIECES / 8:
            self._coarsen()

    def _make_room(self) -> None:
        while self._pieces > PIECES:
            self._coarsen()

    def _coarsen(self) -> None:
        bars, cells = self._bars, self._cells
        self.grain *= 2
        self._bars, self._cells, self._pieces, self._troubled = defaultdict(list), defaultdict(dict), 0, 0
        for job, finer in cells.items():
            coarser = self._cells[job]
            for place, amounts in finer.items():
                cell = self._cell(coarser, place // 2)
                cell[:] = [have + more for have, more in zip(cell, amounts, strict=True)]
        for job, several in bars.items():
            for bar in several:
                self._put(job, bar)

    def pieces(self, places: Mapping[JobKey, int], running: Iterable[tuple[JobKey, Interval]]) -> RunTimeline:
        """Return the pieces. ``places`` are the numbers of the jobs; ``running`` are calls that run now."""
        names: dict[str, int] = {}
        finished = ((job, bar) for job, several in self._bars.items() for bar in several)
        bars = tuple(
            Bar(
                places[job],
                names.setdefault(bar.name, len(names)),
                round(bar.begin - self._began, 3),
                round(bar.seconds, 4),
                bar.calls,
                bar.outcome,
                bar.words,
            )
            for job, bar in itertools.chain(finished, running)
            if job in places
        )
        cells = tuple(
            Cell(places[job], place, round(seconds, 4), int(calls), int(troubled))
            for job, several in self._cells.items()
            if job in places
            for place, (seconds, calls, troubled) in sorted(several.items())
        )
        return RunTimeline(grain=self.grain, bars=bars, cells=cells, names=tuple(names))
