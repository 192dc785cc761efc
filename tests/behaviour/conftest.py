"""Fixtures of the behaviour suite: each test runs on this machine, on a fake cluster and on a real SLURM.

Tests with the mark ``every_dialect`` run on all fake clusters, and, with ``--system=NAME``, on that real batch system.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gates import gate  # noqa: F401 - a fixture
from real_sites import REAL, real_site
from sites import FAKES, WHOLE, FakeSite, LocalSite, Site, SlurmSite

from jobpool import JobPoolExecutor
from jobpool.testing import FakeCluster
from jobpool.testing.fake.dialects import SLURM


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test at the sites that it is for."""
    everywhere = any(mark.name == "every_dialect" for mark in metafunc.definition.iter_markers())
    if "_site" in metafunc.fixturenames:
        names = ["fake", "slurm"] if "slurm_site" in metafunc.fixturenames else [*WHOLE]
        if everywhere:
            names += [name for name in FAKES if name not in names]
        if "batch_site" in metafunc.fixturenames:
            names.remove("local")
        real = [pytest.param(name, marks=pytest.mark.real(name)) for name in REAL] if everywhere else []
        metafunc.parametrize("_site", [*names, *real], indirect=True, scope="session")
    elif everywhere:
        metafunc.parametrize("fake_site", FAKES, indirect=True)


@pytest.fixture(scope="session")
def _site(request: pytest.FixtureRequest) -> Iterator[Site]:
    match request.param:
        case "local":
            yield LocalSite()
        case "slurm":
            yield SlurmSite(request.getfixturevalue("slurm_lab"))
        case name if name in REAL:
            with real_site(name) as site:
                yield site
        case name:
            directory = Path(tempfile.mkdtemp(prefix="fake-", dir="/tmp"))
            with FakeCluster(directory, dialect=FAKES[name]) as cluster:
                yield FakeSite(cluster)
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site(_site: Site, home: Path) -> Iterator[Site]:
    """The site, with this process led to it."""
    with _site.entered():
        yield _site


@pytest.fixture
def batch_site(site: Site) -> Site:
    """A site with a batch system: for what only jobs in a queue do."""
    return site


@pytest.fixture
def slurm_site(site: Site) -> Site:
    """A site with a SLURM, a fake or a real one: for what is said in its words."""
    return site


@pytest.fixture
def fake_site(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[FakeSite]:
    """A fake cluster of the test's own, whose faults harm no other test: a SLURM, unless it runs on every dialect."""
    dialect = FAKES[request.param] if hasattr(request, "param") else SLURM
    with FakeCluster(tmp_path / "fake", dialect=dialect) as cluster:
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
