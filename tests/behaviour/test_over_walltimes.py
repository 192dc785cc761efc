"""Jobs end at their walltime, by preemption and by hand: calls are spared it, or go on from their checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import running
from sites import PATIENCE, FakeSite, LocalSite, Site, SlurmSite, agents

from jobpool import JobPoolExecutor
from jobpool.testing import SlurmLab, wait_until


class Steps:
    """Counts to ``end`` in steps that leave a trace, and can go on from where it was."""

    def __init__(self, directory: Path, end: int, seconds: float = 0.05) -> None:
        self.directory, self.end, self.seconds = str(directory), end, seconds
        self.done = 0

    def __call__(self) -> int:
        import os
        import time
        from pathlib import Path

        while self.done < self.end:
            time.sleep(self.seconds)
            # Taken between these two lines, the step is done again: the checkpoint has not counted it.
            Path(self.directory, f"step-{self.done}-{os.getpid()}").touch()
            self.done += 1
        return self.done

    def checkpoint(self) -> Callable[[], int]:
        return self


def steps(directory: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in directory.glob("step-*"))


def workers(directory: Path) -> set[str]:
    return {path.name.split("-")[2] for path in directory.glob("step-*")}


def noted(directory: str, number: int, seconds: float) -> int:
    import time
    from pathlib import Path

    Path(directory, f"begun-{number}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return number


@pytest.fixture
def local_site(home: Path) -> LocalSite:
    return LocalSite()


@pytest.mark.slow
def test_calls_over_several_walltimes_are_lost_and_repeated_nowhere(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(2, walltime="5 s") as pool:
        view = pool.with_request(expected_time="1 s")
        futures = [view.submit(noted, str(tmp_path), number, 0.5) for number in range(30)]
        assert [future.result(PATIENCE) for future in futures] == list(range(30))
        assert len({future.job.id for future in futures if future.job}) >= 2
    assert len(list(tmp_path.glob("begun-*"))) == 30


def test_a_call_waits_for_a_job_that_has_its_time(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(1, walltime="20 s") as pool:
        first = pool.submit(noted, str(tmp_path), 1, 2.0)
        first.result(PATIENCE)
        second = pool.with_request(expected_time="17 s").submit(noted, str(tmp_path), 2, 0.1)
        assert second.result(PATIENCE) == 2
        assert first.job is not None
        assert second.job is not None
        assert first.job.id != second.job.id
    assert len(list(tmp_path.glob("begun-*"))) == 2


def test_a_checkpointing_call_outlives_its_jobs(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(1, walltime="5 s") as pool:
        future = pool.submit(Steps(tmp_path, 120))
        assert future.result(PATIENCE) == 120
    assert len(workers(tmp_path)) >= 2
    assert set(steps(tmp_path)) == set(range(120))
    assert len(steps(tmp_path)) <= 120 + len(workers(tmp_path))  # it never began anew


def test_items_of_a_map_leave_checkpoints_too(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(2, walltime="5 s") as pool:
        assert list(pool.map(Item(tmp_path), range(3), timeout=PATIENCE)) == [0, 10, 20]
    assert set(steps(tmp_path)) == {100 * item + step for item in range(3) for step in range(60)}
    assert len(workers(tmp_path)) > 2


class Item(Steps):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 0, 0.04)
        self.number = -1

    def __call__(self, number: int = -1) -> int:
        if self.number < 0:
            self.number, self.done, self.end = number, 100 * number, 100 * number + 60
        super().__call__()
        return 10 * self.number

    def checkpoint(self) -> Callable[[], int]:
        return self


def begun(directory: Path, pool: JobPoolExecutor, call: Steps) -> Any:
    """Submit a call and wait until it has come some way."""
    future = pool.submit(call)
    assert wait_until(lambda: len(steps(directory)) >= 3, PATIENCE)
    running(future)
    return future


@pytest.mark.slow
def test_a_preempted_call_goes_on_from_its_checkpoint(
    slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path
) -> None:
    site = SlurmSite(enter_lab(slurm_lab))
    with site.pool(1, partition="preempt") as pool:
        future = begun(tmp_path, pool, Steps(tmp_path, 60))
        shown = slurm_lab.run("squeue", "--noheader", f"--jobs={future.job.id}", "--Format=BatchHost").stdout
        greedy = ("--partition=short", "--exclusive", f"--nodelist={shown.strip()}", "--output=/dev/null")
        slurm_lab.run("sbatch", *greedy, "--wrap=sleep 60")
        assert future.result(PATIENCE) == 60
    assert len(workers(tmp_path)) == 2
    assert len(steps(tmp_path)) <= 61  # it did not begin anew


def test_a_call_whose_job_is_cancelled_by_hand_goes_on(batch_site: Site, tmp_path: Path) -> None:
    with batch_site.pool(1) as pool:
        future = begun(tmp_path, pool, Steps(tmp_path, 60))
        batch_site.end_job(future.job.id, "cancelled")
        assert future.result(PATIENCE) == 60
    assert len(workers(tmp_path)) == 2
    assert len(steps(tmp_path)) <= 61


def test_a_signal_to_the_agent_is_notice_enough(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(1) as pool:
        future = begun(tmp_path, pool, Steps(tmp_path, 60))
        [agent] = [process for id, process in agents(future.job.id) if id == future.job.id]
        agent.terminate()
        assert future.result(PATIENCE) == 60
    assert len(workers(tmp_path)) == 2
    assert len(steps(tmp_path)) <= 61


@pytest.mark.slow
def test_a_server_that_hangs_while_a_job_takes_leave_loses_no_checkpoint(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(1, walltime="5 s") as pool:
        future = begun(tmp_path, pool, Steps(tmp_path, 110))
        server = psutil.Process(json.loads((pool.log_directory.parent / "connection.json").read_text())["pid"])
        server.suspend()
        try:
            assert wait_until(lambda: not agents(f"jp-{pool.name}-"), PATIENCE)
        finally:
            server.resume()
        assert future.result(PATIENCE) == 110
    assert len(workers(tmp_path)) == 2
    assert len(steps(tmp_path)) <= 111


class Fails(Steps):
    def checkpoint(self) -> Any:
        raise RuntimeError("the disk is full")


def test_a_checkpoint_that_fails_is_told_and_the_call_runs_again(
    fake_site: FakeSite, tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_site.pool(1) as pool:
        future = begun(tmp_path, pool, Fails(tmp_path, 30))
        fake_site.end_job(future.job.id, "cancelled")
        assert future.result(PATIENCE) == 30
        assert steps(tmp_path).count(0) == 2
    told = " ".join([str(warning.message) for warning in recwarn] + list(capfd.readouterr()))
    assert "the disk is full" in told


class Hangs(Steps):
    def checkpoint(self) -> Any:
        while True:
            time.sleep(0.01)


@pytest.mark.slow
def test_a_checkpoint_that_hangs_holds_up_nothing(fake_site: FakeSite, tmp_path: Path) -> None:
    with fake_site.pool(1) as pool:
        future = begun(tmp_path, pool, Hangs(tmp_path, 30))
        fake_site.end_job(future.job.id, "cancelled")
        assert future.result(PATIENCE) == 30
    assert steps(tmp_path).count(0) == 2


def test_shutting_down_at_once_waits_for_no_checkpoint(local_site: Site, tmp_path: Path) -> None:
    with local_site.pool(1) as pool:
        future = begun(tmp_path, pool, Hangs(tmp_path, 10_000))
        pool.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # as Ctrl-C does
        assert future.done()
    assert wait_until(lambda: not agents(f"jp-{pool.name}-"), 10)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_on_a_real_slurm_walltimes_cost_nothing(
    slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], tmp_path: Path
) -> None:
    """A minute is SLURM's least. The calls fill one and a half, and the long one needs two jobs of its own."""
    site = SlurmSite(enter_lab(slurm_lab))
    with site.pool(2, walltime="1 min") as pool:
        future = pool.submit(Steps(tmp_path, 700, 0.1))
        view = pool.with_request(walltime="1 min", expected_time="8 s")
        short = [view.submit(noted, str(tmp_path), number, 6.0) for number in range(12)]
        assert future.result(4 * PATIENCE) == 700
        assert [one.result(4 * PATIENCE) for one in short] == list(range(12))
    assert len(workers(tmp_path)) >= 2
    assert len(steps(tmp_path)) <= 700 + len(workers(tmp_path))
    assert len(list(tmp_path.glob("begun-*"))) == 12
