"""Jobs that a batch system holds, cannot start or suspends: the user is told, and calls wait or go on elsewhere."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from gates import Gate, running
from sites import PATIENCE, FakeSite

from jobpool import JobPoolExecutor
from jobpool.model.errors import JobsFailed
from jobpool.testing import wait_until


def told(pool: JobPoolExecutor, words: str) -> bool:
    return any(words in text for text, _ in pool.status().notices)


@pytest.mark.every_dialect
def test_a_call_does_not_wait_for_a_job_that_is_held(fake_site: FakeSite) -> None:
    fake_site.cluster.hold("Priority")
    with fake_site.pool(1) as pool:
        future = pool.submit(abs, -1)
        (job,) = fake_site.wait_for_jobs(pool.name, 1)
        fake_site.cluster.hold_job(job, "JobHeldAdmin")
        fake_site.cluster.release()
        assert future.result(PATIENCE) == 1
        assert future.job is not None
        assert future.job.id != job
        assert told(pool, f"job {job} is held (JobHeldAdmin)")
        assert fake_site.submits(pool.name) == 2


@pytest.mark.every_dialect
def test_jobs_that_cannot_be_started_are_removed_and_break_the_pool(fake_site: FakeSite, tmp_path: Path) -> None:
    """The client can write the log directory, the node cannot: as with a disk of the login node's own."""
    disk = tmp_path / "disk"
    with fake_site.pool(1, log_directory=disk / "logs") as pool:
        shutil.rmtree(disk)
        error = pool.submit(abs, -1).exception(2 * PATIENCE)
        assert isinstance(error, JobsFailed)
        if fake_site.cluster.dialect.holds_failed_starts:
            assert "too many failed attempts to run" in str(error)
        assert wait_until(lambda: not fake_site.jobs_in_queue(pool.name), PATIENCE)


@pytest.mark.every_dialect
def test_calls_stay_with_a_job_that_is_suspended(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        assert held.job is not None
        job = held.job.id
        fake_site.cluster.suspend(job)
        try:
            assert wait_until(lambda: [each.state for each in pool.status().jobs] == ["suspended"], PATIENCE)
            assert told(pool, "the batch system has suspended job")
            gate.open()
            time.sleep(1.0)  # nothing to wait for: that it does nothing is what must be seen
            assert not held.done()
        finally:
            fake_site.cluster.resume(job)
        assert held.result(PATIENCE) == "held"
        assert held.job.id == job
    assert gate.arrived() == 1
