"""Fixtures of the other faces of a pool: ``Pool``, joblib, asyncio. On this machine; a class of each on SLURM, too."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gates import gate  # noqa: F401 - a fixture
from sites import LocalSite, Site, SlurmSite

from jobpool import JobPoolExecutor, Pool


@pytest.fixture(scope="session")
def _site(request: pytest.FixtureRequest) -> Site:
    if getattr(request, "param", "local") == "slurm":
        return SlurmSite(request.getfixturevalue("slurm_lab"))
    return LocalSite()


@pytest.fixture
def site(_site: Site, home: Path) -> Iterator[Site]:
    """The site, with this process led to it."""
    with _site.entered():
        yield _site


@pytest.fixture
def open_pool(site: Site) -> Iterator[Callable[..., Pool]]:
    """Return a function that makes a ``Pool``; its end is seen to here."""
    opened: list[Pool] = []

    def open_one(processes: int = 2, *args: Any, **keywords: Any) -> Pool:
        opened.append(Pool(processes, *args, **{**site.keywords, **keywords}))
        return opened[-1]

    yield open_one
    for pool in opened:
        pool.terminate()
        pool.join()
        assert site.jobs_in_queue(pool.executor.name) == []


@pytest.fixture(scope="module")
def _kept() -> Iterator[Callable[[type], Any]]:
    directory = tempfile.mkdtemp(prefix="jobpool-kept-", dir="/tmp")
    made: dict[type, Any] = {}

    def get(kind: type) -> Any:
        if kind not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOME", directory)
                made[kind] = kind(2, scheduler="local")
        return made[kind]

    yield get
    if Pool in made:
        made[Pool].terminate()
        made[Pool].join()
    if JobPoolExecutor in made:
        made[JobPoolExecutor].shutdown()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def pool(_kept: Callable[[type], Pool]) -> Pool:
    """A ``Pool`` of two local workers, which all tests of a file share that leave it as it was."""
    return _kept(Pool)


@pytest.fixture
def executor(_kept: Callable[[type], JobPoolExecutor]) -> JobPoolExecutor:
    """An executor of two local workers, which all tests of a file share that leave it as it was."""
    return _kept(JobPoolExecutor)
