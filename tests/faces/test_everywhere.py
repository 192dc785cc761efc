"""The other faces of a pool, in short, on this machine and in jobs of a real SLURM."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import multiprocessing
import os
from concurrent.futures import BrokenExecutor
from typing import Any

import joblib
import pytest
from gates import Gate
from joblib import Parallel, delayed, parallel_config
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor, Pool, register_joblib

EVERYWHERE = pytest.mark.parametrize("_site", ["local", "slurm"], indirect=True, scope="session")


def double(value: int) -> int:
    return 2 * value


def invert(value: int) -> float:
    return 1 / value


@EVERYWHERE
class TestPool:
    def test_calls_maps_and_errors(self, open_pool: Any) -> None:
        pool = open_pool(2, workers_per_job=2)
        assert pool.apply(double, (1,)) == 2
        assert pool.map(double, range(100)) == [2 * number for number in range(100)]
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert list(pool.imap(double, range(10))) == [2 * number for number in range(10)]
        assert sorted(pool.imap_unordered(double, range(10), 3)) == [2 * number for number in range(10)]
        with pytest.raises(ZeroDivisionError):
            pool.map(invert, [1, 0])
        with pytest.raises(BrokenExecutor):
            pool.apply(os._exit, (3,))
        assert pool.apply(double, (2,)) == 4

    def test_close_and_join_leave_no_job(self, open_pool: Any, site: Site) -> None:
        pool = open_pool(2)
        result = pool.map_async(double, range(10))
        pool.close()
        pool.join()
        assert result.get(0) == [2 * number for number in range(10)]
        assert site.jobs_in_queue(pool.executor.name) == []

    def test_terminate_leaves_no_job(self, open_pool: Any, site: Site, gate: Gate) -> None:
        with open_pool(1) as pool:
            held = pool.map_async(gate.hold(), range(5), 1)
            gate.wait_for(1)
            with pytest.raises(multiprocessing.TimeoutError):
                held.get(0.01)
        assert site.jobs_in_queue(pool.executor.name) == []
        with pytest.raises(cf.CancelledError):
            held.get(0)
        assert gate.arrived() == 1

    def test_workers_that_wait_for_nothing_are_not_asked_for(self, site: Site) -> None:
        with Pool(2, **site.keywords) as pool:
            pass
        assert site.submits(pool.executor.name) == 0


@EVERYWHERE
class TestOtherFaces:
    def test_a_grid_search(self, site: Site) -> None:
        # Imported here: it takes seconds, and each of pytest's workers collects this file.
        from sklearn.datasets import make_classification
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV

        register_joblib()
        features, labels = make_classification(60, random_state=0)
        grid = GridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0]}, cv=3)
        here = grid.fit(features, labels).best_params_
        with site.pool(2, workers_per_job=2) as executor, parallel_config(backend="jobpool", executor=executor):
            assert grid.fit(features, labels).best_params_ == here
            assert executor.status().calls.done > 0
            with pytest.raises(ZeroDivisionError):
                Parallel()(delayed(invert)(number) for number in range(3))
        del joblib.parallel.BACKENDS["jobpool"]

    def test_asyncio_and_futures_of_two_executors(self, site: Site) -> None:
        async def main(executor: JobPoolExecutor) -> list[int]:
            loop = asyncio.get_running_loop()
            calls = [loop.run_in_executor(executor, double, number) for number in range(5)]
            return await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)

        with site.pool(2, workers_per_job=2) as executor, cf.ThreadPoolExecutor(1) as threads:
            assert asyncio.run(main(executor)) == [0, 2, 4, 6, 8]
            futures = [pool.submit(double, number) for number, pool in enumerate((executor, threads, executor))]
            assert sorted(future.result() for future in cf.as_completed(futures, PATIENCE)) == [0, 2, 4]
