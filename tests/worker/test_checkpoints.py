"""A call that is asked for a checkpoint leaves one, or goes on; never both, and never neither."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_workers import in_loop
from workerskit import Watched, reached_soon, run_workers, value

from jobpool.agent.time_left import clock_note, process_age, seconds_left
from jobpool.model.call import Call
from jobpool.serialize import chunks, pickling
from jobpool.serialize.checkpoint_resume import resume
from jobpool.transport.messages.agent import Cut
from jobpool.transport.messages.base import Checkpointed, Function
from jobpool.transport.messages.worker import NoCheckpoint


class Counter:
    """Counts until a file is there, from where it was."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.count = 0

    def __call__(self, *_: object) -> tuple[int, int]:
        import os
        from pathlib import Path

        first = self.count
        while not Path(self.directory, "done").exists():
            self.count += 1
            Path(self.directory, f"counts-{os.getpid()}").touch()
            time.sleep(0.002)
        return first, self.count

    def checkpoint(self) -> Any:
        return self


class Odd(Counter):
    """Gives something else as its checkpoint."""

    def __init__(self, directory: Path, how: str) -> None:
        super().__init__(directory)
        self.how = how

    def checkpoint(self) -> Any:
        match self.how:
            case "none":
                return None
            case "raises":
                raise RuntimeError("not now")
            case "exits":
                raise SystemExit(3)
            case "lock":
                return functools.partial(print, threading.Lock())
            case "hangs":
                while True:
                    time.sleep(0.01)
        return self


def checkpoints(watched: Watched) -> list[Checkpointed]:
    return [report for report in watched.reports if isinstance(report, Checkpointed)]


def refusals(watched: Watched) -> list[str]:
    return [report.words for report in watched.reports if isinstance(report, NoCheckpoint)]


async def counting(directory: Path, workers: int = 1) -> None:
    await reached_soon(lambda: len(list(directory.glob("counts-*"))) >= workers)


def go_on(watched: Watched, left: Checkpointed) -> int:
    key, pickled = pickling.dumps_function(resume)
    watched.workers.define([Function(key, pickled)])
    watched.workers.submit([Call(1000 + left.call, key, left.payload)])
    return 1000 + left.call


@in_loop
async def test_a_call_goes_on_elsewhere_from_its_checkpoint(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as first:
        (id,) = first.submit(Counter(tmp_path), ())
        await counting(tmp_path)
        await first.workers.last_checkpoints(30)
        await first.until(lambda: checkpoints(first))
        (left,) = checkpoints(first)
        assert left.call == id
        assert not first.died
        assert id not in first.returned
    (tmp_path / "done").touch()
    async with run_workers(tmp_path) as second:
        began, ended = value(await second.outcome(go_on(second, left)))
        assert 0 < began == ended


@in_loop
async def test_what_goes_on_can_leave_a_checkpoint_again(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as first:
        first.submit(Counter(tmp_path), ())
        await counting(tmp_path)
        await first.workers.last_checkpoints(30)
        (left,) = checkpoints(first)
    async with run_workers(tmp_path) as second:
        go_on(second, left)
        await counting(tmp_path, 2)
        await second.workers.last_checkpoints(30)
        (again,) = checkpoints(second)
    counter = pickling.loads_arguments(left.payload)[0][0]
    later = pickling.loads_arguments(again.payload)[0][0]
    assert 0 < counter.count < later.count


@in_loop
async def test_calls_without_one_are_not_waited_for(tmp_path: Path) -> None:
    async with run_workers(tmp_path, size=2) as watched:
        (long,) = watched.submit(time.sleep, (60,))
        watched.submit(Counter(tmp_path), ())
        await counting(tmp_path)
        async with asyncio.timeout(20):
            await watched.workers.last_checkpoints(30)
        assert [left.call for left in checkpoints(watched)] != [long]
        assert len(checkpoints(watched)) == 1


@in_loop
async def test_calls_behind_it_are_returned(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        first, *behind = watched.submit(Counter(tmp_path), (), (), ())
        await counting(tmp_path)
        await watched.workers.last_checkpoints(30)
        await watched.until(lambda: sorted(watched.returned) == behind)
        assert [left.call for left in checkpoints(watched)] == [first]


@in_loop
async def test_each_call_begins_with_the_state_of_the_submit(tmp_path: Path) -> None:
    (tmp_path / "done").touch()

    class Once:
        count = 0

        def __call__(self) -> int:
            self.count += 1
            return self.count

        def checkpoint(self) -> Any:
            return self

    async with run_workers(tmp_path) as watched:
        ids = watched.submit(Once(), (), (), ())
        assert [value(await watched.outcome(id)) for id in ids] == [1, 1, 1]


@in_loop
async def test_a_row_of_a_map_leaves_its_own(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        key, pickled = pickling.dumps_function(Counter(tmp_path))
        watched.workers.define([Function(key, pickled)])
        [(payload, _)] = chunks.dumps_rows(iter([(1,), (2,), (3,)]))
        assert isinstance(payload, bytes)
        watched.workers.submit([Call(500, key, payload, "", 0, 3)])
        await counting(tmp_path)
        await watched.workers.last_checkpoints(30)
        await watched.until(lambda: 501 in watched.returned)
        (left,) = checkpoints(watched)
        assert left.call == 500
        assert [report for report in watched.reports if isinstance(report, Cut)]
        assert len(chunks.loads_rows(left.payload)[0]) == 1


@in_loop
async def test_rows_that_are_done_keep_their_results(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        key, pickled = pickling.dumps_function(Counter(tmp_path))
        watched.workers.define([Function(key, pickled)])
        [(payload, _)] = chunks.dumps_rows(iter([(1,), (2,), (3,)]))
        assert isinstance(payload, bytes)
        (tmp_path / "done").touch()
        watched.workers.submit([Call(500, key, payload, "", 0, 3)])
        await watched.until(lambda: sum(outcome.rows for outcome in watched.outcomes.values()) == 3)


async def odd(directory: Path, how: str, within: float = 30.0) -> tuple[list[str], Watched]:
    """Ask a call that leaves no checkpoint, and see that it ends as any other."""
    async with run_workers(directory) as watched:
        (id,) = watched.submit(Odd(directory, how), ())
        await counting(directory)
        async with asyncio.timeout(20):
            await watched.workers.last_checkpoints(within)
        assert not checkpoints(watched)
        await watched.until(lambda: refusals(watched))
        if how != "hangs":
            (directory / "done").touch()
            first, count = value(await watched.outcome(id))
            assert first == 0 < count
        return refusals(watched), watched


@in_loop
async def test_nothing_is_no_checkpoint(tmp_path: Path) -> None:
    words, _ = await odd(tmp_path, "none")
    assert len(words) == 1
    assert "Odd.checkpoint()" in words[0]
    assert "None" in words[0]


@in_loop
async def test_one_that_raises(tmp_path: Path) -> None:
    words, _ = await odd(tmp_path, "raises")
    assert "RuntimeError: not now" in words[0]


@in_loop
async def test_one_that_exits(tmp_path: Path) -> None:
    words, _ = await odd(tmp_path, "exits")
    assert "SystemExit: 3" in words[0]


@in_loop
async def test_one_that_cannot_be_pickled(tmp_path: Path) -> None:
    words, _ = await odd(tmp_path, "lock")
    assert "cannot be pickled" in words[0]
    assert "lock" in words[0]


@in_loop
async def test_one_that_hangs_is_told_and_given_up(tmp_path: Path) -> None:
    words, watched = await odd(tmp_path, "hangs", within=2.5)
    assert "has not returned" in words[0]
    assert 0 in watched.started  # and so the job's end decides on it
    assert not watched.returned


@in_loop
async def test_a_call_that_is_in_c_leaves_it_when_it_is_back(tmp_path: Path) -> None:
    class Deaf(Counter):
        def __call__(self, *_: object) -> tuple[int, int]:
            from pathlib import Path

            Path(self.directory, "counts-0").touch()
            ctypes.PyDLL(None).usleep(1_500_000)  # holds the GIL, and looks at no signal
            return super().__call__()

    async with run_workers(tmp_path) as watched:
        (id,) = watched.submit(Deaf(tmp_path), ())
        await counting(tmp_path)
        await watched.workers.last_checkpoints(30)
        assert [left.call for left in checkpoints(watched)] == [id]


@in_loop
async def test_a_result_of_the_same_moment_comes_once(tmp_path: Path) -> None:
    """Asked at any point around the end of a call: there is a result or a checkpoint, and no other end."""

    class Brief:
        def __call__(self) -> str:
            return "done"

        def checkpoint(self) -> Any:
            return self

    async with run_workers(tmp_path, size=4) as watched:
        ids = [id for _ in range(300) for id in watched.submit(Brief(), ())]
        await watched.until(lambda: len(watched.outcomes) > 20)
        await watched.workers.last_checkpoints(30)
        await watched.workers.close(drain=True)
        ends = [*watched.outcomes, *watched.returned, *(left.call for left in checkpoints(watched))]
        assert sorted(ends) == ids
        assert not watched.died


@in_loop
async def test_the_signal_is_the_calls_no_more_when_it_is_over(tmp_path: Path) -> None:
    """A call may put another handler in its place, which is taken back; asked for nothing, a worker goes on."""

    class Rude(Counter):
        def __call__(self, *_: object) -> tuple[int, int]:
            from jobpool.worker.shared_page import CHECKPOINT_SIGNAL

            signal.signal(CHECKPOINT_SIGNAL, signal.SIG_IGN)
            return (0, 0)

    async with run_workers(tmp_path) as watched:
        assert await watched.run(Rude(tmp_path)) == (0, 0)
        watched.submit(Counter(tmp_path), ())
        await counting(tmp_path)
        await watched.workers.last_checkpoints(30)
        assert len(checkpoints(watched)) == 1


# How much time a job has


def test_time_left_is_what_the_batch_system_says() -> None:
    said = {"began": 1000.0, "ends": 4600.0}
    assert seconds_left(None, **said, clocks=[1010.0], age=5.0) == 3590


def test_a_clock_that_is_slow_does_not_make_it_longer() -> None:
    said = {"began": 1000.0, "ends": 4600.0}
    assert seconds_left(3600, **said, clocks=[500.0], age=10.0) == 3590


def test_a_clock_after_the_end_is_not_believed() -> None:
    said = {"began": 1000.0, "ends": 4600.0}
    assert seconds_left(None, **said, clocks=[9000.0], age=10.0) == 3590
    assert seconds_left(None, began=None, ends=4600.0, clocks=[9000.0], age=10.0) is None


def test_a_clock_that_is_fast_costs_half_of_the_walltime_at_most() -> None:
    said = {"began": 1000.0, "ends": 1240.0}
    assert seconds_left(240, **said, clocks=[1100.0], age=5.0) == 140
    assert seconds_left(240, **said, clocks=[1200.0], age=5.0) == 235


@pytest.mark.parametrize(
    "clocks",
    [
        [1012.0, 1012.0],
        [1012.0, 2012.0],  # the script's host is ahead
        [2012.0, 1012.0],  # the node is
        [1012.0, 12.0],  # one is behind
        [12.0, 1012.0],
    ],
)
def test_of_two_clocks_the_one_that_is_right_is_believed(clocks: list[float]) -> None:
    said = {"began": 1000.0, "ends": 4600.0}
    assert seconds_left(None, **said, clocks=clocks, age=5.0) == 3588


@pytest.mark.parametrize(("ahead", "words"), [(600.0, "10 min ahead of"), (-131.0, "2 min behind"), (-20.0, "")])
def test_a_clock_that_is_off_is_told_in_whole_minutes(ahead: float, words: str) -> None:
    assert words in clock_note(ahead)
    assert bool(words) == bool(clock_note(ahead))


def test_elsewhere_the_walltime_and_the_age_tell() -> None:
    assert seconds_left(60.0, began=None, ends=None, clocks=[0.0], age=2.0) == 58
    assert seconds_left(1.0, began=None, ends=None, clocks=[0.0], age=2.0) == 0
    assert seconds_left(None, began=None, ends=None, clocks=[0.0], age=2.0) is None
    assert 0 < process_age() < 24 * 3600
