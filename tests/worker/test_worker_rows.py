"""Rows of a map at the workers: they run one by one, are cut where it is needed, and none runs that must not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from test_workers import in_loop
from workerskit import Watched, reached_soon, run_workers

from jobpool.model.call import Call
from jobpool.serialize import pickling
from jobpool.serialize.chunks import Raised, dumps_rows, loads_results
from jobpool.transport.messages.agent import Cut
from jobpool.transport.messages.base import Function

FIRST = 2**38


def submit_rows(watched: Watched, function: Any, *args: Any) -> Call:
    """Submit one bundle: a row for each argument."""
    key, pickled = pickling.dumps_function(function)
    watched.workers.define([Function(key, pickled)])
    ((payload, count),) = dumps_rows((arg,) for arg in args)
    assert isinstance(payload, bytes)
    call = Call(FIRST, key, payload, "", 0, count)
    watched.workers.submit([call])
    return call


def results(watched: Watched) -> dict[int, Any]:
    """Return what came of each row, by its place."""
    found: dict[int, Any] = {}
    for id, outcome in watched.outcomes.items():
        values = loads_results(outcome.payload)
        assert len(values) == outcome.rows
        found |= {id - FIRST + place: value for place, value in enumerate(values)}
    return found


@in_loop
async def test_each_row_has_its_own_end(tmp_path: Path) -> None:
    def invert(number: Any) -> Any:
        return [1 / number]

    async with run_workers(tmp_path) as watched:
        submit_rows(watched, invert, 1, 0, 2)
        await watched.until(lambda: len(results(watched)) == 3)
        first, bad, last = results(watched).values()
        assert (first, last) == ([1.0], [0.5])
        assert isinstance(bad, Raised)
        assert isinstance(bad.error, ZeroDivisionError)
        assert "in invert" in str(bad.error.__cause__)


@in_loop
async def test_results_are_sent_when_calls_take_a_while(tmp_path: Path) -> None:
    def slow(path: str) -> str:
        while path and Path(path).exists():
            time.sleep(0.01)
        time.sleep(0.003)
        return path

    held = tmp_path / "held"
    held.touch()
    async with run_workers(tmp_path) as watched:
        submit_rows(watched, slow, "", "", str(held), "")
        await watched.until(lambda: len(results(watched)) == 2)
        held.unlink()
        await watched.until(lambda: len(results(watched)) == 4)


@in_loop
async def test_rows_behind_a_long_one_are_taken_back_without_the_worker(tmp_path: Path) -> None:
    def hold(path: str) -> str:
        with Path(path + ".log").open("a") as file:
            file.write("ran\n")
        while path.endswith("held") and Path(path).exists():
            time.sleep(0.01)
        return path

    held, quick = tmp_path / "held", tmp_path / "quick"
    held.touch()
    async with run_workers(tmp_path) as watched:
        call = submit_rows(watched, hold, str(quick), str(held), str(quick), str(quick))
        await watched.until(lambda: watched.started.count(call.id) == 2)
        watched.workers.take_back()
        await watched.until(lambda: watched.returned)
        assert [report for report in watched.reports if isinstance(report, Cut)] == [Cut(call.id, 2)]
        assert watched.returned == [call.id + 2]
        held.unlink()
        await watched.until(lambda: len(results(watched)) == 2)
        assert await watched.run(len, "abc") == 3  # the worker is free, and has run nothing else before
        assert (tmp_path / "quick.log").read_text() == "ran\n"


@in_loop
async def test_a_bundle_that_waits_is_taken_back_whole(tmp_path: Path) -> None:
    def hold(path: str) -> None:
        while Path(path).exists():
            time.sleep(0.01)

    held = tmp_path / "held"
    held.touch()
    async with run_workers(tmp_path) as watched:
        (running,) = watched.submit(hold, (str(held),))
        call = submit_rows(watched, hold, "a", "b")
        await watched.until(lambda: running in watched.started)
        watched.workers.take_back()
        await watched.until(lambda: watched.returned)
        assert watched.returned == [call.id]
        held.unlink()
        await watched.outcome(running)


@in_loop
async def test_a_call_behind_a_long_one_is_taken_back_and_may_come_again(tmp_path: Path) -> None:
    def hold(path: str) -> str:
        while Path(path).exists():
            time.sleep(0.01)
        return "done"

    held = tmp_path / "held"
    held.touch()
    async with run_workers(tmp_path) as watched:
        running, behind = watched.submit(hold, (str(held),), ("nothing",))
        await watched.until(lambda: watched.started.count(running) == 2)  # before it began, and since it runs long
        watched.workers.take_back()
        await watched.until(lambda: behind in watched.returned)
        watched.workers.take_back()  # there is nothing more, and nothing comes of it
        held.unlink()
        await watched.outcome(running)
        assert await watched.run(len, "abc") == 3
        assert watched.returned == [behind]


@in_loop
async def test_a_worker_that_ends_after_its_call_may_be_asked_for_calls_just_then(tmp_path: Path) -> None:
    def hold(running: str) -> None:
        Path(running).touch()
        while Path(running).exists():
            time.sleep(0.01)

    async with run_workers(tmp_path, max_tasks_per_child=1) as watched:
        (id,) = watched.submit(hold, (str(tmp_path / "running"),))
        await reached_soon((tmp_path / "running").exists)  # before it has begun it would be taken back
        (slot,) = watched.workers._busy()
        watched.workers._withdrawal._take_back_from(slot)
        (tmp_path / "running").unlink()
        await watched.outcome(id)
        watched.workers._withdrawal._taken_back(slot)  # as if the millisecond ended now
        assert await watched.run(len, "abc") == 3


@in_loop
async def test_a_crash_names_the_rows_that_have_no_result_yet(tmp_path: Path) -> None:
    def die(number: int) -> int:
        time.sleep(0.004)
        if number == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return number

    async with run_workers(tmp_path) as watched:
        submit_rows(watched, die, 0, 1, 2, 3)
        (other,) = watched.submit(len, ("abc",))
        await watched.until(lambda: watched.died)
        assert watched.died[0].call == FIRST + 2
        assert watched.died[0].death.signal == signal.SIGSEGV
        assert results(watched) == {0: 0, 1: 1}
        await watched.outcome(other)


@in_loop
async def test_retracted_rows_do_not_begin(tmp_path: Path) -> None:
    def note(path: str) -> None:
        with Path(path).open("a") as file:
            file.write("ran\n")
        time.sleep(0.05)

    async with run_workers(tmp_path) as watched:
        call = submit_rows(watched, note, *[str(tmp_path / "log")] * 100)
        await reached_soon((tmp_path / "log").exists)
        watched.workers.retract(call.ids)
        await watched.until(lambda: watched.returned)
        assert await watched.run(len, "abc") == 3
        assert len((tmp_path / "log").read_text().splitlines()) <= 5


@in_loop
async def test_a_worker_runs_no_more_rows_than_calls_it_may(tmp_path: Path) -> None:
    async with run_workers(tmp_path, max_tasks_per_child=3) as watched:
        submit_rows(watched, lambda _: [os.getpid()], *range(8))
        await watched.until(lambda: len(results(watched)) == 8)
        pids = [pid for (pid,) in results(watched).values()]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 2]
        assert [report.at for report in watched.reports if isinstance(report, Cut)] == [3, 3]


@in_loop
async def test_a_function_that_cannot_be_made_there_ends_every_row(tmp_path: Path) -> None:
    class Unmakable:
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ("not a number",)

        def __call__(self, _: Any) -> None:
            pass

    async with run_workers(tmp_path) as watched:
        submit_rows(watched, Unmakable(), 1, 2)
        await watched.until(lambda: len(results(watched)) == 2)
        assert all("invalid literal" in str(value.error) for value in results(watched).values())
        with pytest.raises(ZeroDivisionError):
            await watched.run(lambda: 1 / 0)
