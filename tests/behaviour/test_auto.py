"""``"auto"`` for cores, memory and walltime: the first calls say what the others run with."""

from __future__ import annotations

import os
import time

import pytest
from sites import PATIENCE, Site

from jobpool import ConfigError, JobFuture
from jobpool.executor.future import Job
from jobpool.testing import wait_until

MIB = 2**20


def work(size: int) -> str:
    """Hold so many MiB, and keep one CPU busy for a moment. Return the threads that it may use."""
    data, end = bytearray(b"x") * (size * MIB), time.process_time() + 0.3
    while time.process_time() < end:
        data[0] ^= 1
    return os.environ["OMP_NUM_THREADS"]


def jobs_of(futures: list[JobFuture[str]]) -> set[Job | None]:
    assert all(future.result(PATIENCE) for future in futures)
    return {future.job for future in futures}


def test_the_first_calls_say_what_is_asked_for(site: Site) -> None:
    with site.pool(2, cores="auto", memory="auto", walltime="auto") as pool:
        tried = jobs_of([pool.submit(work, 100) for _ in range(5)])
        told = "\n".join(text for text, _ in pool.status().notices)
        assert ("jobs are requested with cores=1, memory=" in told) == site.is_batch
        if site.is_batch:
            # The first jobs serve until others come.
            assert wait_until(lambda: jobs_of([pool.submit(work, 100) for _ in range(20)]) - tried, PATIENCE)
            own = pool.status().requests[0]
            assert own.cores == 1
            assert own.memory is not None
            assert 100 * MIB < own.memory < 400 * MIB


def test_a_call_that_needs_more_than_the_first_ones_gets_it(batch_site: Site) -> None:
    with batch_site.pool(2, memory="auto") as pool:
        assert all(future.result(PATIENCE) for future in [pool.submit(work, 50) for _ in range(5)])
        sizes = [50, 600, 50, 600]
        assert all(future.result(PATIENCE) for future in [pool.submit(work, size) for size in sizes])


def test_what_is_tried_is_told(batch_site: Site) -> None:
    with batch_site.pool(2, memory="auto", walltime="auto") as pool:
        assert pool.check().ok
        assert "this is what the first calls run with" in str(pool.explain())


def test_a_view_has_no_auto(site: Site) -> None:
    with (
        site.pool(1, memory="auto") as pool,
        pytest.raises(ConfigError, match=r"memory='auto' .* only the pool's own size can be found"),
    ):
        pool.with_request(memory="auto")
