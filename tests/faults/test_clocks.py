"""Nodes whose clock is off, on a real SLURM."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest
from sites import PATIENCE, SlurmSite


@pytest.fixture(params=[4, -4])
def minutes(request: pytest.FixtureRequest) -> int:
    """How far a node's clock is ahead: less than half of the walltime, of which jobpool makes sure anyway."""
    return int(request.param)


@pytest.fixture
def setup(minutes: int, tmp_path: Path) -> list[str]:
    """A line by which all Pythons of a job have that clock: the first module that they load shifts it."""
    code = f"import time\nshown = time.time\ntime.time = lambda: shown() + {minutes * 60}\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    # Newer versions of SLURM than Debian's set these themselves, by the controller's clock.
    times = "export SLURM_JOB_START_TIME=$(date +%s) SLURM_JOB_END_TIME=$(($(date +%s) + 600))"
    return [times, f"export PYTHONPATH={shlex.quote(str(tmp_path))}:$PYTHONPATH"]


def what_time_is_it() -> float:
    return time.time()


def test_a_clock_that_is_off_costs_no_walltime_and_is_told(site: SlurmSite, setup: list[str], minutes: int) -> None:
    with site.pool(1, walltime="10 min", setup=setup) as pool:
        future = pool.submit(what_time_is_it)
        assert future.result(PATIENCE) - time.time() == pytest.approx(minutes * 60, abs=60)
        assert future.usage is not None
        assert 0 <= future.usage.wall < 60
        # By its node's clock alone the job would have six minutes, or nobody knows how many.
        assert future.job is not None
        assert future.job.log is not None
        assert re.search(r"has (10 min|9 min .*) left", future.job.log.read_text())
        (job,) = pool.status().jobs
        assert 0 <= job.age < PATIENCE
        said = " ".join(text for text, _ in pool.status().notices)
        assert f"the clock is 4 min {'ahead of' if minutes > 0 else 'behind'} that of the script's host" in said
