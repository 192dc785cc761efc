"""Fixtures of the whole test-suite: a home of its own for each test, real SLURMs, and no process left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobpool.testing import SlurmLab, lab_missing
from jobpool.testing.labs.machine import cgroup_version, missing_advice, processes_of

# Beginnings of variables that would lead a test to the real configuration, or to a cluster around us.
FOREIGN = (
    "JOBPOOL_",
    "DASK_",
    "XDG_",
    *("SLURM", "SBATCH_", "SALLOC_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_"),
    *("PBS_", "SGE_", "LSB_", "LSF_", "CONDOR_", "_CONDOR_", "OAR_"),
)

# Processes inherit it, also those that leave our process tree and session: servers, and jobs through sbatch.
SESSION = f"TESTS_OF={uuid.uuid4().hex}"


PARTS = ("side-by-side", "alone")

WORKERS_PER_CORE = 3
"""What ``--numprocesses=auto`` means: more workers than cores, since most tests mostly wait."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system",
        help="run the behaviour suite's core on this real batch system, and the tests marked for it; nothing else",
    )
    parser.addoption("--part", choices=PARTS, help="run only the tests that bear neighbours, or only those that do not")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return WORKERS_PER_CORE * (os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _choose_system(config, items)
    if part := config.getoption("part"):
        kinds: dict[str, list[pytest.Item]] = {name: [] for name in PARTS}
        for item in items:
            kinds["alone" if item.get_closest_marker("alone") else "side-by-side"].append(item)
        items[:] = kinds.pop(part)
        config.hook.pytest_deselected(items=[item for others in kinds.values() for item in others])
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        _put_the_longest_first(items, workers)


def _choose_system(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of the one real batch system that ``--system`` names; without it, none that need another one.

    A test is for a system by the mark ``real(NAME)``, or since its site is that system.
    """
    wanted = config.getoption("system")
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (kept if _real_system(item) == wanted else others).append(item)
    items[:] = kept
    if others:
        config.hook.pytest_deselected(items=others)


def _real_system(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("real")
    return mark.args[0] if mark else None


def _put_the_longest_first(items: list[pytest.Item], workers: int) -> None:
    """Let each of pytest-xdist's workers begin with some of the longest tests: what begins late would end late.

    ``--dist=worksteal`` gives each worker an equal part of the list, and later takes from the end of the parts.
    """
    longest = sorted(filter(_own_timeout, items), key=_own_timeout, reverse=True)
    others = [item for item in items if item not in longest]
    items.clear()
    for worker in range(workers):
        first, last = (len(others) * each // workers for each in (worker, worker + 1))
        items += longest[worker::workers] + others[first:last]


def _own_timeout(item: pytest.Item) -> float:
    """Return the timeout that a slow test has of its own, the longer the longer it takes; 0 for others."""
    own = item.get_closest_marker("timeout")
    return own.args[0] if own and item.get_closest_marker("slow") else 0


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail when the tests leave a process behind. Set up first, so that its end comes after all other fixtures'."""
    name, value = SESSION.split("=")
    os.environ[name] = value
    yield
    del os.environ[name]
    left = psutil.wait_procs(_descendants(), timeout=5)[1]
    told = [f"{process.pid} {' '.join(_command_line(process))}" for process in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    if told:
        pytest.fail("the tests left processes behind (ended now):\n" + "\n".join(told), pytrace=False)


def _descendants() -> list[psutil.Process]:
    ours = {*psutil.Process().children(recursive=True), *processes_of([SESSION])} - {psutil.Process()}
    # multiprocessing's own tracker lives as long as this process and ends with it.
    return [process for process in ours if "multiprocessing.resource_tracker" not in " ".join(_command_line(process))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test an empty home directory and an environment without foreign settings.

    Directly under /tmp, not in ``tmp_path``: the path of a unix socket in it must stay below 108 bytes.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    directory = Path(tempfile.mkdtemp(prefix="jobpool-home-", dir="/tmp"))
    monkeypatch.setenv("HOME", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)  # a job that ends just now may still write its log


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that fills a directory of this name once, for all of pytest's workers, and returns its path.

    For what takes seconds and is only read afterwards.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, fill: Callable[[Path], object]) -> Path:
        directory, finished = base / name, base / f"{name}.finished"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(directory, ignore_errors=True)  # of an attempt that failed
                directory.mkdir()
                fill(directory)
                finished.touch()
        return directory

    return get


@pytest.fixture(scope="session")
def slurm_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A real SLURM of 4 nodes and one with GPUs, for all tests together."""
    _need_packages(accounting=False)
    with SlurmLab(tmp_path_factory.mktemp("lab"), nodes=4) as lab:
        yield lab


@pytest.fixture(scope="session")
def slurm_lab_accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """The same with accounting: ``sacct``, accounts, QoS with limits."""
    _need_packages(accounting=True)
    with SlurmLab(tmp_path_factory.mktemp("lab-accounting"), nodes=4, accounting=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def slurm_lab_cgroups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A real SLURM whose nodes are no larger than this machine, and whose memory limits bite. For root only."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: memory limits by cgroups; this needs root")
    _need_packages(accounting=False)
    if cgroup_version() is None:
        _absent("cgroups cannot be written on this machine")
    with SlurmLab(tmp_path_factory.mktemp("lab-cgroups"), nodes=4, cgroups=True) as lab:
        yield lab


@pytest.fixture
def enter_lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[SlurmLab], SlurmLab]]:
    """Return a function that leads this test's commands and pools to a lab; the lab's jobs end with the test."""
    entered: list[SlurmLab] = []

    def enter(lab: SlurmLab) -> SlurmLab:
        for name, value in lab.environment.items():
            monkeypatch.setenv(name, value)
        entered.append(lab)
        return lab

    yield enter
    for lab in entered:
        lab.cancel_jobs()


def _need_packages(*, accounting: bool) -> None:
    if missing := lab_missing(accounting=accounting):
        _absent(f"no real SLURM here, missing: {', '.join(missing)}; {missing_advice(missing)}")


def _absent(reason: str) -> None:
    # Nobody reads the skips of a CI run: what is missing there is a failure.
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
