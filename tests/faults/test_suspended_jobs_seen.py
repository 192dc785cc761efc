"""Jobs that SLURM suspends, by hand or to let others run: late is not lost, and not twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gates import running
from sites import PATIENCE, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.testing import wait_until

SHORT, LONG = 14.0, 330.0
"""Seconds of suspension: longer than a process must stand still to notice it; and longer than the server waits for an
agent that says nothing without a reason."""

TAKES = 8.0
"""Seconds that a call takes here."""


def leave_a_trace(directory: str, number: int, seconds: float) -> int:
    import time
    import uuid
    from pathlib import Path

    Path(directory, f"{number}-{uuid.uuid4().hex}").touch()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    time.sleep(seconds)
    return number


@contextmanager
def suspended(site: SlurmSite, pool: JobPoolExecutor, jobs: list[str]) -> Iterator[None]:
    """Suspend a pool's jobs, and see that the user is told."""
    for job in jobs:
        site.lab.run("scontrol", "suspend", job)
    try:
        assert wait_until(lambda: states(pool) == ["suspended"] * len(jobs), PATIENCE), states(pool)
        assert any("the batch system has suspended job" in text for text, _ in pool.status().notices)
        yield
    finally:
        for job in jobs:
            site.lab.run("scontrol", "resume", job)


def states(pool: JobPoolExecutor) -> list[str]:
    return [job.state for job in pool.status().jobs]


def stand(site: SlurmSite, directory: Path, seconds: float) -> None:
    with site.pool(2, workers_per_job=1, walltime="10 min") as pool:
        patient = pool.with_request(timeout=SHORT)
        futures = [patient.submit(leave_a_trace, str(directory), number, TAKES) for number in range(4)]
        for future in futures[:2]:
            running(future)
        assert wait_until(lambda: len(list(directory.iterdir())) == 2, PATIENCE)
        jobs = site.wait_for_jobs(pool.name, 2)
        with suspended(site, pool, jobs):
            time.sleep(seconds)  # nothing to wait for: this is the fault
            assert states(pool) == ["suspended", "suspended"]
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2, 3]
        assert sorted(site.wait_for_jobs(pool.name, 2)) == sorted(jobs)
    assert len(list(directory.iterdir())) == 4  # each ran once


def test_jobs_that_are_suspended_for_a_while_lose_nothing(site: SlurmSite, tmp_path: Path) -> None:
    stand(site, tmp_path, SHORT)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_are_suspended_for_long_lose_nothing(site: SlurmSite, tmp_path: Path) -> None:
    stand(site, tmp_path, LONG)
