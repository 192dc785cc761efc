"""The timeline of a report: which row a call gets, what is drawn when there is too much, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape

from jobpool.core.events import JobKey
from jobpool.core.record.timeline import Interval, Timeline
from jobpool.model.run_record import (
    Bar,
    Cell,
    RunFigures,
    RunJob,
    RunRequest,
    RunSeries,
    RunTimeline,
    Station,
)
from jobpool.show.report_timeline import JOBS, timeline


def job(id: str, *, ending: str = "", ours: bool = False, words: str = "") -> RunJob:
    stations = [Station("pending", 0.0), Station("serving", 10.0), *([Station("ended", 90.0)] if ending else [])]
    return RunJob(
        key=("a", 0), request="", stations=tuple(stations), id=id, node="n1", ending=ending, words=words, ours=ours,
        calls=0, busy=0.0, cpu=0.0,
    )  # fmt: skip


def record(
    jobs: Sequence[RunJob], bars: Sequence[Bar] = (), cells: Sequence[Cell] = (), workers: int = 2
) -> RunFigures:
    request = RunRequest(
        cores=1, memory=None, gpus=0, walltime=None, workers_per_job=workers, partition=None, jobs=len(jobs),
        waiting=0.0, starting=0.0, serving=0.0, held=0.0, longest=0.0, worker_seconds=0.0, core_seconds=0.0,
    )  # fmt: skip
    return RunFigures(
        seconds=100.0, requests={"": request}, functions=(), jobs=tuple(jobs), left_out=0,
        timeline=RunTimeline(grain=1.0, bars=tuple(bars), cells=tuple(cells), names=("track", "decode")),
        series=RunSeries(width=1.0, steps=()), slowest=(), failed=(), again={}, given_up={}, done=0, failed_calls=0,
        unresolved=0, notices=(),
    )  # fmt: skip


def boxes(page: str) -> dict[str, tuple[float, float, float, float]]:
    """Return the boxes by what they say: x, y, width, height."""
    found = re.findall(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)" fill=".*?"><title>(.*?)</title>', page)
    # What covers a part of a box says the same and comes behind it.
    return {unescape(told): (float(x), float(y), float(wide), float(tall)) for x, y, wide, tall, told in found[::-1]}


def test_calls_that_ran_at_once_are_in_rows_of_their_own_and_others_share_one() -> None:
    bars = [Bar(0, 0, begin, seconds, 1, "done", "") for begin, seconds in ((10, 20), (10, 30), (30, 12), (40, 5))]
    drawn = boxes(timeline(record([job("7")], bars)))
    rows: dict[float, list[str]] = {}
    for told, (_, y, *_) in drawn.items():
        if "track" in told:
            rows.setdefault(y, []).append(told)
    assert sorted(map(len, rows.values())) == [2, 2]
    for row in rows.values():
        ends = [(drawn[told][0], drawn[told][0] + drawn[told][2]) for told in row]
        assert all(end <= begin for (_, end), (begin, _) in zip(sorted(ends), sorted(ends)[1:], strict=False))


def test_more_calls_at_once_than_workers_stay_in_the_rows_of_the_workers() -> None:
    # Those of a bundle come back in one message, as though they had ended together.
    bars = [Bar(0, 0, 20.0 - seconds, seconds, 1, "done", "") for seconds in (3.0, 2.0, 1.0)]
    drawn = boxes(timeline(record([job("7")], bars, workers=1)))
    calls = [place for told, place in drawn.items() if "track" in told]
    assert len({y for _, y, _, _ in calls}) == 1
    assert all(width > 0 for _, _, width, _ in calls)


def test_a_call_says_what_it_is_and_how_it_ended() -> None:
    bars = [Bar(0, 1, 12.0, 0.5, 1, "raised", "ValueError: <dark>"), Bar(0, 0, 20.0, 30.0, 256, "done", "")]
    told = list(boxes(timeline(record([job("7_1")], bars))))[::-1]
    assert told == [
        "7_1: pending for 10 s, from 0 s on",
        "7_1: serving for 1 min 30 s, from 10 s on",
        "decode: raised, from 12 s on for 0.5 s: ValueError: <dark>",
        "256 x track: done, from 20 s on for 30 s",
    ]


def test_short_calls_are_as_high_as_their_workers_were_busy() -> None:
    cells = [Cell(0, 20, 2.0, 400, 0), Cell(0, 30, 0.5, 100, 50)]
    page = timeline(record([job("7")], cells=cells))
    assert "The 500 calls shorter than 1 s are merged" in page
    drawn = boxes(page)
    full = drawn["20 s to 21 s: 400 calls ended; they kept 100 % of the workers busy"]
    part = drawn["30 s to 31 s: 100 calls ended, 50 of them in trouble; they kept 25 % of the workers busy"]
    assert full[3] == 4 * part[3]


def test_a_job_that_came_to_a_bad_end_says_so_and_is_drawn_before_good_ones() -> None:
    bad = job("bad", ending="node failed", words="NODE_FAIL <n1>")
    page = timeline(record([*(job(f"good-{number}", ending="completed", ours=True) for number in range(JOBS)), bad]))
    assert "1 more jobs, with their calls, are not drawn" in page
    assert re.search(r'class="bad"><title>node failed: NODE_FAIL &lt;n1&gt;</title>node failed<', page)
    assert "good-0 " in page
    assert f"good-{JOBS - 1} " not in page


def test_any_number_of_calls_makes_a_page_that_opens_at_once() -> None:
    keys = [JobKey("a", number) for number in range(50)]
    bars = Timeline(0.0)
    for number in range(200_000):
        bars.add(keys[number % 50], Interval("track", number / 2000, 0.025 * (1 + number % 3)))
    pieces = bars.pieces({key: place for place, key in enumerate(keys)}, ())
    page = timeline(replace(record([job(str(number)) for number in range(50)]), timeline=pieces))
    assert "The 200000 calls shorter than" in page
    assert 100_000 < len(page) < 2_000_000
