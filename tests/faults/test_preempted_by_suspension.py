"""Jobs that SLURM suspends by itself, while one of a partition with more priority has their cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import PATIENCE, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.testing import SlurmLab, wait_until

HOLDS = 15
"""Seconds that the other job has the cores: longer than a process must stand still to notice it."""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, slurm_lab: SlurmLab, home: Path) -> Iterator[SlurmSite]:
    """A SLURM of this test's own; the one of all tests says, or fails, where there is none."""
    settings = {"PreemptMode": "SUSPEND,GANG"}
    with SlurmLab(tmp_path_factory.mktemp("lab-gang"), nodes=1, gpus=0, settings=settings) as lab:
        lab.run("scontrol", "update", "PartitionName=preempt", "PreemptMode=SUSPEND", "OverSubscribe=FORCE:1")
        site = SlurmSite(lab)
        with site.entered():
            yield site


def leave_a_trace(directory: str, number: int) -> int:
    import time
    import uuid
    from pathlib import Path

    Path(directory, f"{number}-{uuid.uuid4().hex}").touch()
    time.sleep(5)
    return number


def states(pool: JobPoolExecutor) -> list[str]:
    return [job.state for job in pool.status().jobs]


@pytest.mark.slow
def test_a_job_that_is_suspended_for_a_more_important_one_keeps_its_calls(site: SlurmSite, tmp_path: Path) -> None:
    with site.pool(1, partition="preempt") as pool:
        futures = [pool.submit(leave_a_trace, str(tmp_path), number) for number in range(3)]
        assert wait_until(lambda: any(tmp_path.iterdir()), PATIENCE)
        important = ("--partition=short", "--exclusive", "--time=5", f"--wrap=sleep {HOLDS}")
        site.lab.run("sbatch", "--output=/dev/null", *important)
        assert wait_until(lambda: "suspended" in states(pool), PATIENCE), states(pool)
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]
        assert states(pool) == ["serving"]
    assert len(list(tmp_path.iterdir())) == 3  # each ran once
