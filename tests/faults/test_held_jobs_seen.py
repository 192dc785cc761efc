"""Jobs that somebody holds, or SLURM itself: told with what to do, kept, and replaced once."""

from __future__ import annotations

from pathlib import Path

import pytest
from gates import running
from sites import PATIENCE, FakeSite, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.model.errors import JobsFailed
from jobpool.testing import FakeCluster, SlurmLab, wait_until


def told(pool: JobPoolExecutor, words: str) -> bool:
    return any(words in text for text, _ in pool.status().notices)


def test_jobs_that_are_submitted_held_are_told_and_replaced_once(site: SlurmSite) -> None:
    with site.pool(1, job_extra=["--hold"]) as pool:
        future = pool.submit(abs, -1)
        first, second = sorted(site.wait_for_jobs(pool.name, 2), key=int)
        assert wait_until(lambda: told(pool, f"job {second} is held (JobHeldUser)"), PATIENCE), pool.status().notices
        assert told(pool, f"job {first} is held (JobHeldUser) and will not start: 'scontrol release {first}' lets it")
        site.lab.run("scontrol", "release", first)
        assert future.result(PATIENCE) == 1
        assert site.submits(pool.name) == 2


def test_a_job_that_is_put_back_and_held_is_told_and_its_call_runs_elsewhere(site: SlurmSite, tmp_path: Path) -> None:
    def first_time_for_ever(path: str) -> str:
        import time
        from pathlib import Path

        try:
            Path(path).touch(exist_ok=False)
        except FileExistsError:
            return "again"
        time.sleep(600)
        return "never"

    with site.pool(1) as pool:
        future = pool.submit(first_time_for_ever, str(tmp_path / "was here"))
        running(future)
        assert future.job is not None
        site.lab.run("scontrol", "requeuehold", future.job.id)
        assert future.result(PATIENCE) == "again"
        assert wait_until(lambda: told(pool, "is held (job requeued in held state)"), PATIENCE)


def test_jobs_that_slurm_could_not_start_and_holds_are_removed_and_told(home: Path, tmp_path: Path) -> None:
    with FakeCluster(tmp_path / "fake") as cluster:
        site = FakeSite(cluster)
        cluster.hold("launch failed requeued held")
        with site.entered(), site.pool(3, workers_per_job=1) as pool:
            futures = [pool.submit(abs, -1) for _ in range(3)]
            for future in futures:
                error = future.exception(PATIENCE)
                assert isinstance(error, JobsFailed)
                assert "launch failed requeued held" in str(error)
            assert wait_until(lambda: not site.jobs_in_queue(pool.name), PATIENCE)


@pytest.mark.slow
def test_jobs_that_a_real_slurm_could_not_start_are_removed_and_told(
    tmp_path_factory: pytest.TempPathFactory, slurm_lab: SlurmLab, home: Path
) -> None:
    """A prolog that fails drains its node, and puts the job back into the queue, held."""
    settings = {"Prolog": "/bin/false"}
    with SlurmLab(tmp_path_factory.mktemp("lab-prolog"), nodes=4, gpus=0, settings=settings) as lab:
        site = SlurmSite(lab)
        with site.entered(), site.pool(3, workers_per_job=1) as pool:
            futures = [pool.submit(abs, -1) for _ in range(3)]
            for future in futures:
                error = future.exception(2 * PATIENCE)
                assert isinstance(error, JobsFailed)
                assert "launch failed requeued held" in str(error)
            assert wait_until(lambda: not site.jobs_in_queue(pool.name), PATIENCE)
