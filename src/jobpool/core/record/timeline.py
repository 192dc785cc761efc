"""When each call ran, in a bounded number of pieces, for the timeline of a report.

A call that takes longer than the *grain*, a length of time, is an interval of its own. Shorter calls are summed up in
cells, one for each job and grain. When there are more pieces than a page can show, the grain doubles: it is then still
shorter than a pixel in a picture of the whole run.

Calls with an error (they raised, were killed, or ran again) remain intervals even if they are short, up to a number.
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
"""Maximum number of intervals and cells: about 1 MB here and in the page, and all pixels in a few rows of a picture."""

TROUBLED = 500
"""Calls with an error that remain intervals."""

GRAIN = 1 / 64
"""Seconds, at the beginning. Calls that are slightly shorter are summed up before (``histograms.SHORT``)."""

DONE, RAISED = "done", "raised"
KILLED = "killed"
"""The call was given up, since its worker or job was lost."""
AGAIN = "ran again"
"""The call lost its worker or job, and ran again elsewhere."""
CHECKPOINT = "left a checkpoint"
"""The call continues elsewhere from the checkpoint."""
RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Interval:
    """One run of a call, or of rows that came back together."""

    name: str
    begin: float
    seconds: float
    calls: int = 1
    outcome: str = DONE
    message: str = ""

    @property
    def each(self) -> float:
        """Seconds of one call, on average."""
        return self.seconds / self.calls


class Timeline:
    """The intervals and cells of a run. Times are those of the core's clock."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.grain = GRAIN
        self._intervals: dict[JobKey, list[Interval]] = defaultdict(list)
        self._cells: dict[JobKey, dict[int, list[float]]] = defaultdict(dict)
        """By job and number of the grain: seconds of calls, calls that ended, and how many of these had an error."""
        self._pieces = 0
        self._troubled = 0

    def add(self, job: JobKey, interval: Interval) -> None:
        """Add one run of a call."""
        if interval.each < self.grain:
            self._widen(interval.seconds)
        self._put(job, interval)
        self._make_room()

    def spread(self, job: JobKey, begin: float, seconds: float, calls: int) -> None:
        """Add short calls that ran one after the other, ``seconds`` in all. They count as ended at the end."""
        self._widen(seconds)
        self._merge(job, begin, seconds, calls, 0)
        self._make_room()

    def forget(self, job: JobKey) -> None:
        """Drop the pieces of a job."""
        self._pieces -= len(self._intervals.pop(job, ())) + len(self._cells.pop(job, ()))

    def _put(self, job: JobKey, interval: Interval) -> None:
        troubled = interval.outcome != DONE
        if interval.each < self.grain and not (troubled and self._troubled < TROUBLED):
            self._merge(job, interval.begin, interval.seconds, interval.calls, interval.calls if troubled else 0)
            return
        self._intervals[job].append(interval)
        self._pieces += 1
        self._troubled += troubled

    def _merge(self, job: JobKey, begin: float, seconds: float, calls: int, troubled: int) -> None:
        first = max(0.0, begin - self._began) / self.grain
        last = max(first, (begin + seconds - self._began) / self.grain)
        cells = self._cells[job]
        for index in range(int(first), int(last) + 1):
            inside = min(index + 1.0, last) - max(index, first)
            self._cell(cells, index)[0] += inside * self.grain
        cell = self._cell(cells, int(last))
        cell[1] += calls
        cell[2] += troubled

    def _cell(self, cells: dict[int, list[float]], index: int) -> list[float]:
        cell = cells.get(index)
        if cell is None:
            cell = cells[index] = [0.0, 0, 0]
            self._pieces += 1
        return cell

    def _widen(self, seconds: float) -> None:
        """Enlarge the grain so that this time is few cells: otherwise a million cells would be made and merged at
        once."""
        while seconds > self.grain * PIECES / 8:
            self._coarsen()

    def _make_room(self) -> None:
        while self._pieces > PIECES:
            self._coarsen()

    def _coarsen(self) -> None:
        intervals, cells = self._intervals, self._cells
        self.grain *= 2
        self._intervals, self._cells, self._pieces, self._troubled = defaultdict(list), defaultdict(dict), 0, 0
        for job, finer in cells.items():
            coarser = self._cells[job]
            for index, amounts in finer.items():
                cell = self._cell(coarser, index // 2)
                cell[:] = [have + more for have, more in zip(cell, amounts, strict=True)]
        for job, several in intervals.items():
            for interval in several:
                self._put(job, interval)

    def pieces(self, indexes: Mapping[JobKey, int], running: Iterable[tuple[JobKey, Interval]]) -> RunTimeline:
        """Return the pieces. ``indexes`` are the numbers of the jobs; ``running`` are calls that run now."""
        names: dict[str, int] = {}
        finished = ((job, interval) for job, several in self._intervals.items() for interval in several)
        bars = tuple(
            Bar(
                indexes[job],
                names.setdefault(interval.name, len(names)),
                round(interval.begin - self._began, 3),
                round(interval.seconds, 4),
                interval.calls,
                interval.outcome,
                interval.message,
            )
            for job, interval in itertools.chain(finished, running)
            if job in indexes
        )
        cells = tuple(
            Cell(indexes[job], index, round(seconds, 4), int(calls), int(troubled))
            for job, several in self._cells.items()
            if job in indexes
            for index, (seconds, calls, troubled) in sorted(several.items())
        )
        return RunTimeline(grain=self.grain, bars=bars, cells=cells, names=tuple(names))
