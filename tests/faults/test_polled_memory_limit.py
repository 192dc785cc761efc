"""A SLURM without cgroups that looks at a job's memory now and then, and kills the whole job (OverMemoryKill)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sites import PATIENCE, SlurmSite

from jobpool import CallOutOfMemory, Retry
from jobpool.testing import SlurmLab, wait_until

pytestmark = pytest.mark.usefixtures("slurm_lab")  # it skips, or fails on CI, where there is no SLURM


@pytest.fixture(scope="module")
def polling_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    settings = {"JobAcctGatherParams": "OverMemoryKill"}
    with SlurmLab(tmp_path_factory.mktemp("lab-polling"), nodes=1, gpus=0, settings=settings) as lab:
        yield lab


@pytest.fixture
def polling(polling_lab: SlurmLab, home: Path) -> Iterator[SlurmSite]:
    site = SlurmSite(polling_lab)
    with site.entered():
        yield site


def take() -> None:
    import signal

    blocks = [bytearray(b"x") * 10**7 for _ in range(40)]
    signal.pause()
    del blocks


def pass_later(path: str) -> Callable[[], str]:
    """Return a call that runs until its job is killed for another one, and passes when it runs again."""

    def later() -> str:
        import time
        from pathlib import Path

        before = Path(path, "began").exists()
        Path(path, "began").touch()
        while not before:
            time.sleep(0.02)
        return "passed"

    return later


def test_a_call_that_was_alone_learns_what_to_ask_for(polling: SlurmSite) -> None:
    # No limit of ours, so that SLURM's is first.
    with polling.pool(1, job_extra=["--mem=300M"]) as pool:
        error = pool.submit(take).exception(PATIENCE)
        assert isinstance(error, CallOutOfMemory)
        assert "being killed" in str(error.words)
        assert error.limit == "300 MiB"
        assert error.used
        assert str(error.advice).startswith("ask for more memory, for example memory=")
        assert pool.submit(abs, -3).result(PATIENCE) == 3  # in another job


def map_a_file(path: str) -> int:
    import numpy

    mapped = numpy.memmap(path, dtype="u1", mode="r")
    total = 0
    while True:  # until it is killed
        total += int(mapped.sum())


def test_mapped_files_count_here_as_is_explained(polling: SlurmSite, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(500 * 2**20)
    with polling.pool(1, memory="100 MiB", retry=Retry(crashed=0)) as pool:
        assert any("OverMemoryKill" in note and "numpy.memmap" in note for note in pool.explain().notes)
        error = pool.submit(map_a_file, str(tmp_path / "file")).exception(PATIENCE)
        assert isinstance(error, CallOutOfMemory)
        assert "being killed" in str(error.words)  # SLURM's own words: the agent's meter does not count the file


def test_a_neighbour_runs_again(polling: SlurmSite, tmp_path: Path) -> None:
    with polling.pool(2, workers_per_job=2, job_extra=["--mem=400M"]) as pool:
        neighbour = pool.submit(pass_later(str(tmp_path)))
        assert wait_until((tmp_path / "began").exists, PATIENCE)
        over = pool.submit(take)
        assert neighbour.result(PATIENCE) == "passed"
        assert isinstance(over.exception(PATIENCE), CallOutOfMemory)
