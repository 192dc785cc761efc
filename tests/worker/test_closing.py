"""Slots that tasks in the agent's threads take, and the end of a job's workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from test_workers import hold, in_loop, square
from workerskit import reached_soon, run_workers, value


@in_loop
async def test_occupied_places_get_no_calls(tmp_path: Path) -> None:
    async with run_workers(tmp_path, size=2) as watched:
        await watched.workers.occupy()
        await watched.workers.occupy()
        (id,) = watched.submit(square, (4,))
        third = asyncio.create_task(watched.workers.occupy())
        await asyncio.sleep(0.1)
        assert id not in watched.outcomes
        assert not third.done()
        watched.workers.release()
        assert value(await watched.outcome(id)) == 16
        await asyncio.wait_for(third, 10)
        watched.workers.release()
        watched.workers.release()
        assert await watched.run(square, 5) == 25


@in_loop
async def test_a_cancelled_wait_for_a_place_takes_none(tmp_path: Path) -> None:
    async with run_workers(tmp_path) as watched:
        await watched.workers.occupy()
        waiting = asyncio.create_task(watched.workers.occupy())
        await asyncio.sleep(0)
        waiting.cancel()
        watched.workers.release()
        assert await watched.run(square, 5) == 25


@in_loop
async def test_drain_lets_running_calls_finish_and_returns_the_others(tmp_path: Path) -> None:
    held = tmp_path / "held"

    def either(path: str | None) -> str:
        if path:
            hold(path)
        return "done"

    async with run_workers(tmp_path) as watched:
        running, waiting = watched.submit(either, (str(held),), (None,))
        (queued,) = watched.submit(square, (1,))
        await reached_soon(held.exists)
        closing = asyncio.create_task(watched.workers.close(drain=True))
        await watched.until(lambda: queued in watched.returned)
        assert not closing.done()
        held.unlink()
        await asyncio.wait_for(closing, 20)
        assert value(watched.outcomes[running]) == "done"
        assert sorted(watched.returned) == [waiting, queued]
        assert not watched.died


@in_loop
async def test_close_without_drain_ends_running_calls_at_once(tmp_path: Path) -> None:
    held = tmp_path / "held"
    async with run_workers(tmp_path) as watched:
        (running,) = watched.submit(hold, (str(held),))
        await reached_soon(held.exists)
        await asyncio.wait_for(watched.workers.close(drain=False), 10)
        assert running in watched.started


@in_loop
async def test_what_has_begun_is_never_given_back(tmp_path: Path) -> None:
    """Told to end the moment after: who decides on the calls has to know which of them ran."""

    def touch_and_hold(path: str) -> None:
        Path(path).touch()
        hold(f"{path}-held")

    for attempt in range(10):
        touched = [tmp_path / f"{attempt}-{number}" for number in range(4)]
        async with run_workers(tmp_path, size=2) as watched:
            first = watched.submit(touch_and_hold, (str(touched[0]),), (str(touched[1]),))
            second = watched.submit(touch_and_hold, (str(touched[2]),), (str(touched[3]),))
            await reached_soon(touched[0].exists)
            await reached_soon(touched[2].exists)
            await watched.workers.close(drain=False)
            ids = [*first, *second]
            begun = [id for id, path in zip(ids, touched, strict=True) if path.exists()]
            assert begun == [first[0], second[0]]
            assert set(watched.started) == set(begun)
            assert sorted(watched.returned) == [first[1], second[1]]


@in_loop
async def test_atexit_functions_of_a_worker_run_when_it_goes(tmp_path: Path) -> None:
    def register(path: str) -> None:
        import atexit

        atexit.register(Path(path).touch)

    async with run_workers(tmp_path) as watched:
        await watched.run(register, str(tmp_path / "left"))
        await watched.workers.close(drain=True)
    assert (tmp_path / "left").exists()
