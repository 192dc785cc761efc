"""``map``: order, chunks, time-outs, how far it reads ahead, and what it leaves behind."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor
from jobpool.model.errors import CallCrashed, NotPicklable
from jobpool.testing import wait_until


def double(value: int) -> int:
    return 2 * value


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.every_dialect
def test_results_come_in_the_order_of_the_items(pool: JobPoolExecutor) -> None:
    naps = [0.2, 0.0, 0.1, 0.0]
    assert list(pool.map(nap, naps)) == naps


def test_several_iterables_end_with_the_shortest(pool: JobPoolExecutor) -> None:
    assert list(pool.map(pow, [2, 3, 4], itertools.count(1))) == [2, 9, 64]
    assert list(pool.map(double, [])) == []


@pytest.mark.parametrize("chunksize", [None, 1, 3, 7, 1000])
def test_chunks_change_nothing_but_the_calls(pool: JobPoolExecutor, chunksize: int | None) -> None:
    assert list(pool.map(double, range(20), chunksize=chunksize)) == [2 * number for number in range(20)]


def test_an_exception_comes_in_the_place_of_its_result(pool: JobPoolExecutor) -> None:
    results = pool.map(lambda number: 12 // number, [1, 2, 0, 4])
    assert [next(results), next(results)] == [12, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("keywords", [{"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}])
def test_sizes_below_one_are_refused_at_the_call(pool: JobPoolExecutor, keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(keywords))):
        pool.map(double, [1], **keywords)


def test_an_item_that_cannot_travel_costs_its_own_place(pool: JobPoolExecutor) -> None:
    unsendable: Any = (number for number in "")
    results = pool.map(double, [1, unsendable])
    assert next(results) == 2
    with pytest.raises(NotPicklable, match="generator"):
        next(results)


@pytest.mark.parametrize("chunksize", [None, 3])
def test_a_function_that_cannot_travel_fails_the_first_result(pool: JobPoolExecutor, chunksize: int | None) -> None:
    stuck = (number for number in "")
    with pytest.raises(NotPicklable, match="generator"):
        next(pool.map(lambda number: next(stuck), itertools.count(), chunksize=chunksize, buffersize=2))


def test_a_timeout_counts_from_the_call(pool: JobPoolExecutor, gate: Gate) -> None:
    begin = time.monotonic()
    results = pool.map(gate.hold(), [1], timeout=0.3)
    with pytest.raises(TimeoutError):
        next(results)
    assert 0.2 < time.monotonic() - begin < 5
    gate.open()


def test_the_calls_are_submitted_at_once(pool: JobPoolExecutor, gate: Gate) -> None:
    results = pool.map(gate.hold(), [1, 2])
    gate.wait_for(2)  # nobody has taken a result
    gate.open()
    assert list(results) == [1, 2]


def test_buffersize_reads_no_further_ahead(pool: JobPoolExecutor) -> None:
    taken = itertools.count()
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in taken:
            read.append(number)
            yield number

    results = pool.map(double, endless(), buffersize=5)
    assert len(read) == 5
    assert [next(results) for _ in range(10)] == [2 * number for number in range(10)]
    assert len(read) == 15
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", ["5", 2.0])
def test_a_buffersize_that_is_no_whole_number_is_refused(pool: JobPoolExecutor, size: Any) -> None:
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        pool.map(double, [1], buffersize=size)


@pytest.mark.parametrize("buffersize", [1, 3, 100])
def test_buffersize_with_endless_short_and_no_iterables(pool: JobPoolExecutor, buffersize: int) -> None:
    both = pool.map(pow, itertools.count(), itertools.repeat(2), buffersize=buffersize)
    assert [next(both) for _ in range(20)] == [number**2 for number in range(20)]
    both.close()  # type: ignore[attr-defined]
    assert list(pool.map(double, range(20), buffersize=buffersize)) == [2 * number for number in range(20)]
    assert list(pool.map(double, [], buffersize=buffersize)) == []
    assert list(pool.map(double, buffersize=buffersize)) == []


def test_a_timeout_cancels_the_item_that_was_waited_for_too(site: Site, gate: Gate) -> None:
    with site.pool(1) as pool:
        first = pool.submit(gate.hold("first"))
        gate.wait_for(1, "first")
        results = pool.map(gate.hold("never"), [2, 3], timeout=0)
        with pytest.raises(TimeoutError):
            next(results)
        assert wait_until(lambda: pool.status().calls.waiting == 0, PATIENCE)
        gate.open()
        first.result(PATIENCE)
    assert gate.arrived("never") == 0


class Thing:
    pass


@pytest.mark.parametrize("keywords", [{}, {"chunksize": 3}, {"buffersize": 2}, {"progress": True}], ids=str)
def test_nothing_holds_a_result_but_who_took_it(pool: JobPoolExecutor, keywords: dict[str, Any]) -> None:
    def make(_: int) -> Thing:
        return Thing()

    gc.disable()
    try:
        for thing in pool.map(make, range(10), **keywords):
            seen = weakref.ref(thing)
            del thing
            assert seen() is None
    finally:
        gc.enable()


@pytest.mark.every_dialect
def test_results_that_nobody_takes_are_cancelled(pool: JobPoolExecutor, gate: Gate) -> None:
    hold = gate.hold()
    results = pool.map(lambda number: hold(number) if number else number, range(50))
    assert next(results) == 0
    gate.wait_for(2)
    results.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: pool.status().calls.waiting == 0, PATIENCE)  # the server has heard of it
    gate.open()
    assert pool.submit(double, 1).result(PATIENCE) == 2
    assert gate.arrived() < 25  # a few were on their way already


def test_an_item_that_kills_its_worker_costs_its_own_place(pool: JobPoolExecutor) -> None:
    def kill_at(last: int) -> int:
        if last == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return last

    results = pool.map(kill_at, range(100))
    assert list(itertools.islice(results, 99)) == list(range(99))
    with pytest.raises(CallCrashed, match="SIGKILL"):
        next(results)


@pytest.mark.parametrize("place", [0, 1, 150, 399])
def test_an_item_that_takes_long_holds_up_no_other(pool: JobPoolExecutor, gate: Gate, place: int) -> None:
    hold, folder = gate.hold("long"), str(gate.path)

    def work(number: int) -> int:
        if number == place:
            hold()
        Path(folder, f"done-{number}").touch(exist_ok=False)  # none runs twice
        return number

    results = pool.map(work, range(400))
    gate.wait_for(1, "long")
    assert wait_until(lambda: len(list(gate.path.glob("done-*"))) == 399, PATIENCE)
    gate.open()
    assert list(results) == list(range(400))


def test_calls_share_no_argument_that_one_of_them_changes(pool: JobPoolExecutor) -> None:
    def append(values: list[int]) -> list[int]:
        values.append(1)
        return values

    assert list(pool.map(append, [[0]] * 20)) == [[0, 1]] * 20


@pytest.mark.every_dialect
def test_cancel_futures_cancels_the_items_that_do_not_run(site: Site, gate: Gate) -> None:
    with site.pool(1) as pool:
        results = pool.map(gate.hold(), range(20))
        gate.wait_for(1)
        future = pool.submit(double, 1)  # behind them
        pool.shutdown(wait=False, cancel_futures=True)
        assert future.cancelled()
        # The news is on its way to the worker; until it is there, the next row could begin.
        assert wait_until(lambda: pool.status().calls.waiting == 0, PATIENCE)
        gate.open()
        with pytest.raises(CancelledError):
            list(results)
    assert gate.arrived() == 1


def test_the_progress_bar_counts_the_calls(
    pool: JobPoolExecutor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(pool.map(double, range(10), progress=True)) == [2 * number for number in range(10)]
    said = capsys.readouterr().err
    assert "10/10" in said
    assert "100%" in said


def test_ten_thousand_small_calls(pool: JobPoolExecutor) -> None:
    begin = time.monotonic()
    assert list(pool.map(double, range(10_000))) == [2 * number for number in range(10_000)]
    # Each alone would take a message there and back: a millisecond at the least.
    assert time.monotonic() - begin < 10


def test_a_map_goes_on_after_shutdown(site: Site, tmp_path: Path) -> None:
    with site.pool(1) as pool:
        results = pool.map(nap, [0.05] * 4)
        pool.shutdown(wait=False)
        assert list(results) == [0.05] * 4
