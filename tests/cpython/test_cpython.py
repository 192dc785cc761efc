"""CPython's own tests of executors, futures and pools, driven against jobpool, each in a process of its own.

The processes are forks of one that has loaded the tests and jobpool, and nothing else: see :mod:`drive`.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import suites
from excluded import EXCLUDED

from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.labs.machine import processes_of

DRIVE = Path(__file__).with_name("drive.py")

LIMIT = 60.0
"""Seconds for one test, of which the longest takes 8. The driver shows where it hangs some seconds before."""

MARK = "JOBPOOL_DRIVEN"
"""A variable that all processes of a test inherit, those in jobs too."""

LOCAL = {"JOBPOOL_SCHEDULER": "local"}
# Not bound to cores: the nodes have more than the machine, which would be said on stderr, and the tests read that.
SLURM = {"JOBPOOL_SCHEDULER": "slurm", "JOBPOOL_ADDRESSES": "127.0.0.1", "JOBPOOL_BIND": "none"}


@cache
def all_tests() -> dict[str, list[str]]:
    """Ask the driver: importing CPython's tests changes a process."""
    if suites.directory() is None:
        return {}
    done = subprocess.run([sys.executable, str(DRIVE), "list"], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def driven(suite: str) -> list[str]:
    return [name for name in all_tests().get(suite, []) if name not in EXCLUDED.get(suite, {})]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for suite in ("executor", "future", "pool"):
        if f"{suite}_test" in metafunc.fixturenames:
            metafunc.parametrize(f"{suite}_test", driven(suite))


class Driver:
    """A process that has loaded a suite, and forks for each of its tests."""

    def __init__(self, suite: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(DRIVE), "serve", suite],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, name: str, environment: Mapping[str, str], output: Path) -> int:
        """Run one test to its end, or to the limit, and return its exit code. What it says is in ``output``."""
        self._tell({"test": name, "environment": dict(environment), "output": str(output)})
        pid = int(self._answer())
        if not self._answers_within(LIMIT):
            os.killpg(pid, signal.SIGKILL)
            with output.open("a") as file:
                file.write(f"\nended after {LIMIT} s")
        code = int(self._answer())
        assert wait_until(lambda: not _group_is_there(pid), 20), f"processes of the group {pid} are left"
        return code

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(20) == 0

    def _tell(self, order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _answers_within(self, seconds: float) -> bool:
        # One line is asked for at a time, so that none waits in the buffer.
        assert self._process.stdout is not None
        waiting = select.poll()
        waiting.register(self._process.stdout, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))


def _group_is_there(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


Drive = Callable[[str, str, Mapping[str, str]], None]


@pytest.fixture(scope="session")
def _drivers() -> Iterator[Callable[[str], Driver]]:
    drivers: dict[str, Driver] = {}

    def get(suite: str) -> Driver:
        if suite not in drivers:
            drivers[suite] = Driver(suite)
        return drivers[suite]

    yield get
    for driver in drivers.values():
        driver.close()


@pytest.fixture
def drive(_drivers: Callable[[str], Driver], home: Path, tmp_path: Path) -> Drive:
    """Return a function that runs one test to its end; it fails with what that said, or when something is left."""

    def run(suite: str, name: str, environment: Mapping[str, str]) -> None:
        mark, output = uuid.uuid4().hex, tmp_path / "output"
        code = _drivers(suite).run(name, {**os.environ, **environment, MARK: mark}, output)
        assert code == 0, output.read_text(errors="replace")
        assert wait_until(lambda: not processes_of([f"{MARK}={mark}"]), 20), processes_of([f"{MARK}={mark}"])

    return run


def test_they_are_here() -> None:
    if not all_tests():
        reason = f"NOT TESTED against CPython's own tests of executors: this Python has none ({suites.PACKAGE})"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    assert len(driven("executor")) >= 50
    assert len(driven("future")) >= 15
    assert len(driven("pool")) >= 25


def test_the_docs_name_all_that_is_excluded() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-exact.md"
    told = re.findall(r"^\| `(\w+\.test_\w+)` \| (.*) \|$", page.read_text(), re.MULTILINE)
    assert told == [item for tests in EXCLUDED.values() for item in tests.items()]


def test_executor_local(executor_test: str, drive: Drive) -> None:
    drive("executor", executor_test, LOCAL)


@pytest.mark.slow
def test_executor_slurm(executor_test: str, slurm_lab: SlurmLab, drive: Drive) -> None:
    drive("executor", executor_test, {**slurm_lab.environment, **SLURM})


def test_future(future_test: str, drive: Drive) -> None:
    drive("future", future_test, LOCAL)


def test_pool_local(pool_test: str, drive: Drive) -> None:
    drive("pool", pool_test, LOCAL)


@pytest.mark.slow
def test_pool_slurm(pool_test: str, slurm_lab: SlurmLab, drive: Drive) -> None:
    drive("pool", pool_test, {**slurm_lab.environment, **SLURM})
