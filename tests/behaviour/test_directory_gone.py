"""The pool's directory, or its keys, go while the pool runs: what runs goes on, what would need a new job ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gates import Gate
from sites import PATIENCE, LocalSite, Site

from jobpool import PoolBroken
from jobpool.host.home import PoolDirectory
from jobpool.testing import wait_until
from jobpool.transport import tls


def deleted(directory: Path) -> None:
    def gone() -> bool:
        shutil.rmtree(directory, ignore_errors=True)  # the pool may write a file in between, as with ``rm -r``
        return not directory.exists()

    assert wait_until(gone, PATIENCE)


def moved(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


def all_deleted(directory: Path) -> None:
    shutil.rmtree(directory.parent)


def without_keys(directory: Path) -> None:
    for path in directory.glob("*.pem"):
        path.unlink()


def replaced(directory: Path) -> None:
    shutil.rmtree(directory)
    other = PoolDirectory.create(directory.name)
    tls.make_keys(other)
    other.append("submissions", "jp-another-1")


LOSSES = {
    deleted: "the pool's directory was deleted or moved",
    moved: "the pool's directory was deleted or moved",
    without_keys: "the pool's keys were deleted",
    replaced: "the pool's directory was replaced by another one",
}


def calls_end_with_the_reason(site: Site, gate: Gate, loss: object, words: str) -> PoolDirectory:
    assert callable(loss)
    with site.pool(1) as pool:
        directory = PoolDirectory.open(pool.name)
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        (job,) = site.jobs_in_queue(pool.name)
        loss(directory.path)
        waits = pool.submit(abs, -1)
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert waits.result(PATIENCE) == 1  # in the worker that is there
        site.end_job(job, "killed")
        assert wait_until(lambda: not any(job.state == "serving" for job in pool.status().jobs), PATIENCE)
        later = pool.submit(abs, -1)
        with pytest.raises(PoolBroken, match=words) as caught:
            later.result(PATIENCE)
        assert str(directory.path) in str(caught.value)
        assert "make a new pool" in str(caught.value)
    return directory


def test_later_calls_end_with_the_reason(site: Site, gate: Gate) -> None:
    calls_end_with_the_reason(site, gate, deleted, LOSSES[deleted])


@pytest.fixture
def local(home: Path) -> LocalSite:
    return LocalSite()


@pytest.mark.parametrize("loss", [moved, without_keys], ids=lambda loss: loss.__name__)
def test_so_it_is_with(local: LocalSite, gate: Gate, loss: object) -> None:
    calls_end_with_the_reason(local, gate, loss, LOSSES[loss])  # type: ignore[index]


def test_what_another_pool_has_in_its_place_is_left_alone(local: LocalSite, gate: Gate) -> None:
    other = calls_end_with_the_reason(local, gate, replaced, LOSSES[replaced])
    assert (other.path / "key.pem").exists()
    assert other.lines("submissions") == ["jp-another-1"]


def test_one_jobs_end_is_no_end_for_those_beside_it(local: LocalSite, gate: Gate) -> None:
    """They have one supervisor, which looks for orders in the directory when one of its jobs ends."""
    with local.pool(2, workers_per_job=1, min_workers=2) as pool:
        held = [pool.submit(gate.hold(number), number) for number in range(2)]
        assert wait_until(lambda: all(future.running() for future in held), PATIENCE)
        deleted(PoolDirectory.open(pool.name).path)
        assert held[0].job is not None
        local.end_job(held[0].job.id, "killed")
        assert wait_until(lambda: not held[0].running(), PATIENCE)
        gate.open()
        assert [future.result(PATIENCE) for future in held] == [0, 1]  # the first one again, in the job of the second
        assert gate.arrived(1) == 1
