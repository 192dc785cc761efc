"""Results of short calls lie until somebody looks: the agent is not woken for each, and knows what it decides about."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from test_workers import hold, in_loop, pid
from workerskit import reached_soon, run_workers, value, wait_until

from jobpool.agent import deferred_reads
from jobpool.agent.deferred_reads import LOOK_EVERY
from jobpool.agent.memory_limit import MemoryLimit
from jobpool.agent.oom_kills import OomKills
from jobpool.agent.slot import Slot
from jobpool.model.units import Memory
from jobpool.worker import worker as child
from jobpool.worker.shared_page import RESTING, SharedPage, make

WHOLE = 3600.0
"""Seconds between two looks in tests where nothing may depend on one."""


def short(milliseconds: int) -> int:
    time.sleep(milliseconds / 1000)
    return milliseconds


def either(path: str | None) -> None:
    if path:
        hold(path)


@pytest.mark.alone
@in_loop
async def test_an_agent_is_not_woken_for_each_result(tmp_path: Path) -> None:
    async with run_workers(tmp_path, size=2) as watched:
        await watched.run(short, 1)
        before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.monotonic()
        for _ in range(4):
            watched.submit(short, *[(4,)] * 100)
        await watched.until(lambda: len(watched.outcomes) == 401)
        woken = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        # Ten looks a second, a few looks at memory, and the ends of four bundles; 400 would be one for each result.
        assert woken < 20 * (time.monotonic() - begin) + 40


@in_loop
async def test_a_bundle_that_is_over_is_heard_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)
    async with run_workers(tmp_path) as watched:
        for _ in range(3):
            watched.submit(short, *[(1,)] * 5)
        await watched.until(lambda: len(watched.outcomes) == 15)


@pytest.mark.alone
@in_loop
async def test_much_that_is_sent_is_read_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)
    async with run_workers(tmp_path) as watched:
        begin = time.monotonic()
        ids = watched.submit(bytes, *[(1_000_000,)] * 10)
        for id in ids:
            assert len(value(await watched.outcome(id))) == 1_000_000
        assert time.monotonic() - begin < 5  # the meter, which looks twice a second, would need 20 s


@pytest.mark.alone
@in_loop
async def test_a_long_call_behind_short_ones_is_told(tmp_path: Path) -> None:
    file = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        *first, long, _ = watched.submit(either, *[(None,)] * 5, (str(file),), (None,))
        await reached_soon(file.exists)
        begin = time.monotonic()
        await watched.until(lambda: long in watched.started)
        assert time.monotonic() - begin < 20 * LOOK_EVERY  # not with its end, and not with the server's patience
        assert set(first) <= set(watched.outcomes)
        file.unlink()


@in_loop
async def test_results_that_lie_outlive_their_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)

    def die_at(number: int, last: int) -> int:
        if number == last:
            os.abort()
        return number

    async with run_workers(tmp_path) as watched:
        *done, fatal, behind = watched.submit(die_at, *[(number, 5) for number in range(6)], (6, 5))
        await watched.until(lambda: watched.died and behind in watched.outcomes)
        assert [died.call for died in watched.died] == [fatal]
        assert [value(watched.outcomes[id]) for id in done] == [0, 1, 2, 3, 4]


@in_loop
async def test_a_call_that_is_over_is_not_killed_for_another_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)
    file = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        first, second, third = watched.submit(either, (None,), (str(file),), (None,))
        await reached_soon(file.exists)
        watched.workers.retract([first, third])  # the first is over, and its result lies there
        await watched.outcome(first)
        file.unlink()
        await watched.outcome(second)
        await watched.until(lambda: third in watched.returned)
        assert not watched.died
        assert first not in watched.returned


@in_loop
async def test_the_last_word_tells_all_that_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)
    file = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        *done, _, _ = watched.submit(either, *[(None,)] * 5, (str(file),), (None,))
        await reached_soon(file.exists)
        await watched.workers.stop()
        watched.workers.flush()
        assert set(done) <= set(watched.outcomes)
        file.unlink()


@in_loop
async def test_a_call_that_waits_and_is_cancelled_is_not_begun_for_the_look(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with run_workers(tmp_path) as watched:
        worker = await watched.run(pid)
        watched.submit(short, *[(5,)] * 3)
        (waits,) = watched.submit(Path.touch, (begun,))
        (slot,) = watched.workers._slots.values()
        wait_until(lambda: not slot.shared_page.words[RESTING])  # the bundle is over, and the loop has not heard of it
        watched.workers.retract([waits])
        await watched.until(lambda: waits in watched.returned)
        assert await watched.run(pid) == worker  # which would have been killed for it
        assert not begun.exists()


@in_loop
async def test_a_clock_that_a_call_has_set_does_not_hide_that_the_next_one_is_long(tmp_path: Path) -> None:
    file = tmp_path / "held"

    def set_clock_or_hold(path: str | None) -> None:
        if path is None:
            # As freezegun does: wherever the name stands.
            time.monotonic = child.monotonic = lambda: 1e12  # type: ignore[attr-defined]
        else:
            hold(path)

    async with run_workers(tmp_path) as watched:
        _, long, behind = watched.submit(set_clock_or_hold, (None,), (str(file),), (None,))
        await watched.until(lambda: long in watched.started)
        watched.workers.take_back()
        await watched.until(lambda: behind in watched.returned)
        file.unlink()


@pytest.mark.alone
@in_loop
async def test_a_fork_that_comes_back_from_its_call_does_not_hide_the_results_behind_it(tmp_path: Path) -> None:
    def forks(number: int) -> bytes:
        if number == 1:
            if (fork := os.fork()) == 0:
                return bytes(20_000)  # which is more than may lie; the fork rings in vain
            os.waitpid(fork, 0)
        return bytes(3_000_000 if number > 1 else 1)

    async with run_workers(tmp_path) as watched:
        begin = time.monotonic()
        ids = watched.submit(forks, *[(number,) for number in range(8)])
        await watched.outcome(ids[-1])
        assert time.monotonic() - begin < 4  # at a look for each 200 KB it takes 9 s


@in_loop
async def test_when_all_workers_die_at_once_one_call_of_a_bundle_is_to_blame(tmp_path: Path) -> None:
    file = tmp_path / "held"
    async with run_workers(tmp_path, size=3) as watched:
        ids = watched.submit(either, (str(file),), (None,), (None,))
        await reached_soon(file.exists)
        os.kill(watched.workers._lifecycle.server_pid, signal.SIGKILL)
        await watched.until(lambda: set(ids[1:]) <= set(watched.outcomes))
        assert [died.call for died in watched.died if died.call is not None] == [ids[0]]


@in_loop
async def test_memory_is_held_against_the_call_that_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_reads, "LOOK_EVERY", WHOLE)

    def grow(to: int) -> int:
        block = b"x" * to
        if to:
            time.sleep(60)
        return len(block)

    async with run_workers(tmp_path, memory=Memory(200 * 2**20)) as watched:
        *small, large, behind = watched.submit(grow, *[(0,)] * 5, (400 * 2**20,), (0,))
        await watched.until(lambda: watched.died and behind in watched.outcomes)
        assert [(died.call, died.death.limit) for died in watched.died] == [(large, 200 * 2**20)]
        assert set(small) <= set(watched.outcomes)


@pytest.mark.alone
@in_loop
async def test_the_meter_does_not_pay_for_the_results_that_are_read_before_a_look(tmp_path: Path) -> None:
    loop, looks = asyncio.get_running_loop(), 0
    slot = Slot(token=0, number=0, log=-1, log_start=0, shared_page=SharedPage(make()))

    def busy() -> list[Slot]:
        nonlocal looks
        looks += 1
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return [slot]

    kills = OomKills(loop, busy, lambda slot: None)
    monitor = MemoryLimit(loop, busy, kills, limit=None, over=lambda slot: None)
    begin = time.monotonic()
    monitor.soon(slot)
    await reached_soon(lambda: looks >= 4)
    assert time.monotonic() - begin < 5  # one percent of a CPU would be 50 ms in five seconds
    monitor.close()
    slot.shared_page.close()
