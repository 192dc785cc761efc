"""Fixtures of the behaviour suite: each test runs on this machine, on the fake SLURM and on a real one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gates import gate  # noqa: F401 - a fixture
from sites import FakeSite, LocalSite, Site, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.testing import FakeCluster

SITES = ("local", "fake", "slurm")


@pytest.fixture(scope="session", params=SITES)
def _site(request: pytest.FixtureRequest) -> Iterator[Site]:
    match request.param:
        case "local":
            yield LocalSite()
        case "fake":
            directory = Path(tempfile.mkdtemp(prefix="fake-", dir="/tmp"))
            with FakeCluster(directory) as cluster:
                yield FakeSite(cluster)
            shutil.rmtree(directory, ignore_errors=True)
        case _:
            yield SlurmSite(request.getfixturevalue("slurm_lab"))


@pytest.fixture
def site(_site: Site, home: Path) -> Iterator[Site]:
    """The site, with this process led to it."""
    with _site.entered():
        yield _site


@pytest.fixture
def batch_site(site: Site) -> Site:
    """A site with a batch system: for what only jobs in a queue do."""
    if not site.is_batch:
        pytest.skip("has no queue")
    return site


@pytest.fixture
def fake_site(home: Path, tmp_path: Path) -> Iterator[FakeSite]:
    """A fake SLURM of the test's own, whose faults harm no other test."""
    with FakeCluster(tmp_path / "fake") as cluster:
        own = FakeSite(cluster)
        with own.entered():
            yield own


@pytest.fixture(scope="module")
def _kept(_site: Site) -> Iterator[Callable[[], JobPoolExecutor]]:
    directory = Path(tempfile.mkdtemp(prefix="jobpool-kept-", dir="/tmp"))
    pools: list[JobPoolExecutor] = []

    def get() -> JobPoolExecutor:
        if not pools or pools[-1]._connection.broken or pools[-1]._shutdown:
            before = os.environ.get("HOME")
            os.environ["HOME"] = str(directory)
            pools.append(JobPoolExecutor(2, **_site.keywords, workers_per_job=2))
            os.environ["HOME"] = before or "/"
        return pools[-1]

    yield get
    for pool in pools:
        pool.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def pool(site: Site, _kept: Callable[[], JobPoolExecutor]) -> JobPoolExecutor:
    """A pool of two workers in one job, which all tests share that leave it as it was."""
    return _kept()
