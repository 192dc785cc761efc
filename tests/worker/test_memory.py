"""Memory of workers: a call stops at its own limit, leaks end with their worker, and what is freed goes back."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.pool
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from test_workers import hold, in_loop, pid, square
from workerskit import Watched, reached_soon, run_workers, value

from jobpool.agent import memory_limit
from jobpool.transport.messages.base import Remark

MB = 10**6
LIMIT = 200 * MB


TAKE = "import signal; blocks = [bytearray(b'x') * 10**7 for _ in range({})]; signal.pause()"


def allocate(size: int) -> None:
    """Take memory, in blocks as data comes in, and keep it until killed."""
    print("allocating", flush=True)
    blocks = [bytearray(b"x") * (10 * MB) for _ in range(size // (10 * MB))]
    signal.pause()
    del blocks


def allocate_in_a_program(size: int) -> None:
    subprocess.run([sys.executable, "-c", TAKE.format(size // 10**7)], check=True)


def allocate_in_a_pool(size: int) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(exec, [TAKE.format(size // 2 // 10**7)] * 2)


@pytest.mark.parametrize("take", [allocate, allocate_in_a_program, allocate_in_a_pool])
@in_loop
async def test_a_call_is_stopped_at_its_own_limit_and_its_neighbour_is_not(
    tmp_path: Path, take: Callable[[int], None]
) -> None:
    held = tmp_path / "held"
    async with run_workers(tmp_path, size=2, memory=LIMIT) as watched:
        (neighbour,) = watched.submit(hold, (str(held),))
        await reached_soon(held.exists)
        (id,) = watched.submit(take, (400 * MB,))
        await watched.until(lambda: watched.died)
        (died,) = watched.died
        assert (died.call, died.death.out_of_memory, died.death.limit) == (id, True, LIMIT)
        assert LIMIT < died.death.peak_memory < 450 * MB
        assert not died.death.innocent
        assert await watched.run(square, 3) == 9  # in the place of the one that was stopped
        held.unlink()
        assert (await watched.outcome(neighbour)).ok
        assert not watched.returned


@in_loop
async def test_a_limit_is_for_the_call_that_reaches_it(tmp_path: Path) -> None:
    async with run_workers(tmp_path, memory=LIMIT) as watched:
        one, two, three = watched.submit(maybe_allocate, (0,), (400 * MB,), (0,))
        await watched.outcome(three)
        assert [died.call for died in watched.died] == [two]
        assert sorted(watched.outcomes) == [one, three]


def maybe_allocate(size: int) -> None:
    if size:
        allocate(size)


@in_loop
async def test_pages_that_a_forked_pool_shares_do_not_reach_the_limit(tmp_path: Path) -> None:
    def share(path: str) -> int:
        block = bytearray(b"x") * (120 * MB)
        if not (child := os.fork()):
            signal.pause()
        hold(path)
        os.kill(child, signal.SIGKILL)
        return len(block)

    held = tmp_path / "held"
    async with run_workers(tmp_path, memory=LIMIT) as watched:
        (id,) = watched.submit(share, (str(held),))
        await reached_soon(held.exists)
        await reached_soon(lambda: watched.workers.memory.get(id, 0) > 120 * MB)
        await asyncio.sleep(1)  # some more looks
        held.unlink()
        assert value(await watched.outcome(id)) == 120 * MB


@in_loop
async def test_a_large_mapped_file_does_not_reach_the_limit(tmp_path: Path) -> None:
    def read(path: str, held: str) -> int:
        import mmap

        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as block:
            total = sum(block[:: mmap.PAGESIZE])
            hold(held)
            return total

    (tmp_path / "data").write_bytes(bytes(300 * MB))
    held = tmp_path / "held"
    async with run_workers(tmp_path, memory=LIMIT) as watched:
        (id,) = watched.submit(read, (str(tmp_path / "data"), str(held)))
        await reached_soon(held.exists)
        await reached_soon(lambda: watched.workers.memory.get(id, 0) > 0)
        held.unlink()
        assert value(await watched.outcome(id)) == 0


kept: list[bytearray] = []


def leak(size: int) -> int:
    kept.append(bytearray(b"x") * size)
    return os.getpid()


def remarks(watched: Watched) -> list[str]:
    return [report.text for report in watched.reports if isinstance(report, Remark)]


@in_loop
async def test_a_worker_that_grows_too_much_is_replaced_between_calls(tmp_path: Path) -> None:
    async with run_workers(tmp_path, max_memory_growth=64 * 2**20) as watched:
        # In one bundle: those that did not run before are given to the next worker.
        ids = watched.submit(leak, *[(30 * 2**20,)] * 7)
        pids = [value(await watched.outcome(id)) for id in ids]
        assert pids[0] == pids[1] == pids[2] == pids[3]  # the first one is where growth begins
        assert pids[3] != pids[4] == pids[5] == pids[6]
        assert not watched.died
        assert not watched.returned
        await reached_soon(lambda: not psutil.pid_exists(pids[0]))
        told = "leak() leaks: the worker grew by 9. MiB in 4 calls; it was replaced (max_memory_growth=64 MiB)"
        assert [re.sub(r"9\d(\.\d+)? MiB", "9. MiB", text) for text in remarks(watched)] == [told]


@in_loop
async def test_no_call_is_lost_when_a_leaking_worker_is_replaced(tmp_path: Path) -> None:
    async with run_workers(tmp_path, max_memory_growth=64 * 2**20) as watched:
        ids = [watched.submit(leak, (30 * 2**20,))[0] for _ in range(9)]
        pids = [value(await watched.outcome(id)) for id in ids]
        assert 2 <= len(set(pids)) <= 3
        assert not watched.died


@in_loop
async def test_what_only_the_collector_can_free_is_no_leak(tmp_path: Path) -> None:
    def cycle(size: int) -> int:
        ring: list[object] = [bytearray(b"x") * size]
        ring.append(ring)
        return os.getpid()

    async with run_workers(tmp_path, max_memory_growth=64 * 2**20) as watched:
        ids = watched.submit(cycle, *[(30 * 2**20,)] * 6)
        assert len({value(await watched.outcome(id)) for id in ids}) == 1
        assert remarks(watched) == []


@in_loop
async def test_a_call_that_pays_for_earlier_ones_is_not_to_blame(tmp_path: Path) -> None:
    def leak_and_hold(size: int) -> None:
        leak(size)
        signal.pause()

    async with run_workers(tmp_path, memory=LIMIT) as watched:
        await watched.run(square, 1)
        await watched.run(leak, 100 * MB)
        (id,) = watched.submit(leak_and_hold, (120 * MB,))
        await watched.until(lambda: watched.died)
        (died,) = watched.died
        assert (died.call, died.death.limit, died.death.innocent) == (id, LIMIT, True)
        (told,) = remarks(watched)
        assert re.match(r"calls leave memory behind: a worker held 9\d(\.\d+)? MiB of 2 calls when the next one", told)


@in_loop
async def test_freed_memory_goes_back_between_calls(tmp_path: Path) -> None:
    def use_and_free(megabytes: int) -> None:
        small = [bytes(1000) for _ in range(megabytes * 1000)]
        keep = small[-1:]  # the last block holds the heap's end, so that free() alone gives nothing back
        kept.extend(map(bytearray, keep))
        globals()["anchor"] = keep

    async with run_workers(tmp_path) as watched:
        process = psutil.Process(await watched.run(pid))
        before = process.memory_info().rss
        await watched.run(use_and_free, 200)
        await reached_soon(lambda: process.memory_info().rss < before + 60 * MB)


@in_loop
async def test_a_look_that_the_kernel_held_up_is_not_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def slow_look(root: int) -> dict[int, int]:
        looks.append(time.monotonic())
        end = time.thread_time() + 0.3
        while len(looks) == 2 and time.thread_time() < end:
            pass
        return {root: 2**20}

    monkeypatch.setattr(memory_limit, "tree_memory", slow_look)
    file = tmp_path / "held"
    async with run_workers(tmp_path, memory=2**30) as watched:
        watched.submit(hold, (str(file),))
        await reached_soon(lambda: len(looks) >= 4, 10)  # at one percent of a CPU it would be half a minute
        file.unlink()


@in_loop
async def test_the_meter_is_quick_to_see_a_tree_that_runs_into_its_limit(tmp_path: Path) -> None:
    def run_away() -> None:
        blocks = []
        for _ in range(200):
            blocks.append(bytearray(b"x") * (10 * MB))
            time.sleep(0.005)

    async with run_workers(tmp_path, memory=LIMIT) as watched:
        watched.submit(run_away, ())
        await watched.until(lambda: watched.died)
        assert watched.died[0].death.peak_memory < LIMIT + 300 * MB
