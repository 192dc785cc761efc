"""``with_request``: calls of another kind in the same pool."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Executor
from pathlib import Path

import pytest
from gates import Gate, running
from sites import PATIENCE, FakeSite, Site

from jobpool import CallTimedOut, ConfigError, JobFuture, JobPoolExecutor, RequestRefused


def square(number: int) -> int:
    return number * number


def where() -> str:
    return os.environ["OMP_NUM_THREADS"]


def hang(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("ran\n")
    print("hangs", flush=True)
    time.sleep(600)


def test_calls_of_another_request_run_in_jobs_of_their_own(site: Site) -> None:
    with site.pool(2) as pool:
        wide = pool.with_request(cores=2, walltime="20 min")
        one, two = pool.submit(where), wide.submit(where)
        assert (one.result(PATIENCE), two.result(PATIENCE)) == ("1", "2")
        assert one.job != two.job
        assert isinstance(wide, Executor)
        assert (wide.pool, wide.request.cores) == (pool, 2)
        assert list(wide.map(square, range(5))) == [0, 1, 4, 9, 16]


def test_a_view_with_the_same_request_shares_the_jobs(site: Site) -> None:
    with site.pool(1) as pool:
        first = pool.submit(square, 3)
        assert first.result(PATIENCE) == 9
        second = pool.with_request(timeout="1 h").submit(square, 4)
        assert second.result(PATIENCE) == 16
        assert first.job == second.job


def test_a_call_ends_at_its_timeout_and_is_not_run_again(pool: JobPoolExecutor, tmp_path: Path) -> None:
    hanging = pool.with_request(timeout=0.5).submit(hang, str(tmp_path / "ran"))
    behind = [pool.submit(square, number) for number in range(5)]
    error = hanging.exception(PATIENCE)
    assert isinstance(error, CallTimedOut)
    assert isinstance(error, TimeoutError)
    assert error.limit == "0.5 s"
    assert error.tail == "hangs\n"
    assert "timeout=" in str(error.advice)
    assert [future.result(PATIENCE) for future in behind] == [number**2 for number in range(5)]
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_the_items_of_a_map_have_a_timeout_each(pool: JobPoolExecutor, tmp_path: Path) -> None:
    def work(number: int) -> int:
        if number == 3:
            hang(str(tmp_path / "ran"))
        time.sleep(0.2)
        return number

    results = pool.with_request(timeout=2).map(work, range(20))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CallTimedOut):
        next(results)


def test_the_end_of_a_view_waits_for_its_calls_alone(site: Site, gate: Gate) -> None:
    with site.pool(2) as pool:
        held = pool.submit(gate.hold(), "held")
        with pool.with_request(timeout="1 h") as view:
            ours, rest = view.submit(square, 2), view.map(square, range(3))
        assert ours.done()
        assert list(rest) == [0, 1, 4]
        assert not held.done()
        with pytest.raises(RuntimeError, match="after shutdown"):
            view.submit(square, 1)
        gate.open()
        assert held.result(PATIENCE) == "held"


def test_an_exception_in_the_block_of_a_view_cancels_what_waits(site: Site, gate: Gate) -> None:
    def leave_by_an_exception(pool: JobPoolExecutor) -> None:
        with pool.with_request(timeout="1 h") as view:
            waiting.append(view.submit(square, 2))
            raise KeyError("mine")

    waiting: list[JobFuture[int]] = []
    with site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        running(held)
        with pytest.raises(KeyError):
            leave_by_an_exception(pool)
        assert waiting[0].cancelled()
        gate.open()
        assert held.result(PATIENCE) == "held"


def test_a_view_ends_with_its_pool(site: Site) -> None:
    with site.pool(1) as pool:
        view = pool.with_request(timeout="1 h")
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(square, 1)


def test_a_view_works_with_asyncio(pool: JobPoolExecutor) -> None:
    async def both() -> list[int]:
        loop = asyncio.get_running_loop()
        view = pool.with_request(timeout="1 h")
        return list(await asyncio.gather(*(loop.run_in_executor(view, square, number) for number in (2, 3))))

    assert asyncio.run(both()) == [4, 9]


def test_what_the_site_would_refuse_is_refused_at_once(batch_site: Site) -> None:
    with batch_site.pool(1) as pool:
        with pytest.raises(RequestRefused, match="memory"):
            pool.with_request(memory="4 TiB")
        with pytest.raises(ConfigError, match="did you mean walltime"):
            pool.with_request(wall_time="1h")
        assert pool.submit(square, 3).result(PATIENCE) == 9


def test_a_kind_of_calls_has_its_own_number_of_workers(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1) as pool:
        many = pool.with_request(max_workers=3, qos="high")
        held = [many.submit(gate.hold(), number) for number in range(5)]
        gate.wait_for(3)
        assert len(fake_site.jobs_in_queue(pool.name)) == 3
        gate.open()
        assert [future.result(PATIENCE) for future in held] == list(range(5))


def test_a_view_tells_of_its_own_request(slurm_site: Site) -> None:
    with slurm_site.pool(1, walltime="10 min", workers_per_job=1) as pool:
        view = pool.with_request(cores=2, walltime="90 min", partition="long", timeout="1 h", max_workers=3)
        assert (pool.check().partition, view.check().partition) == ("short", "long")
        told = view.explain()
        assert {"--partition=long", "--time=0-01:30:00"} <= {directive for directive, _ in told.directives}
        assert {node.cores for node in told.nodes} == {2}
        assert "a call is killed after 1 h (timeout)" in told.notes
        assert not any("--partition" in directive for directive, _ in pool.explain().directives)
        settings = view.settings
        assert (settings.request, settings.max_workers) == (view.request, 3)
        assert (str(settings.origins["cores"]), str(settings.origins["gpus"])) == ("keyword", "default")


def test_a_view_measures_against_its_own_request() -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        profile = pool.with_request(memory="3 GiB").measure(square, [3], repeat=False)
        assert profile.now.memory == 3 * 2**30
