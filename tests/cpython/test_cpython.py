"""CPython's own tests of executors, futures and pools, driven against jobpool, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import suites
from excluded import EXCLUDED

from jobpool.testing import wait_until
from jobpool.testing.lab_machine import processes_of

DRIVE = Path(__file__).with_name("drive.py")

LIMIT = 60.0
"""Seconds for one test, of which the longest takes 8. The driver shows where it hangs some seconds before."""

AT_ONCE = 3
"""Tests that run at the same time: they mostly wait, for jobs and for what they time."""

Runs = dict[str, Future[None]]

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


def drive(suite: str, name: str, environment: Mapping[str, str]) -> None:
    """Run one test to its end; fail with what it said, or when something of it is left."""
    mark = uuid.uuid4().hex
    # Short, and of its own: the home of one of pytest's tests goes with it, and this may begin before and end after.
    with tempfile.TemporaryDirectory(prefix="jobpool-home-", dir="/tmp", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [sys.executable, str(DRIVE), "run", suite, name],
            env={**os.environ, **environment, "HOME": home, MARK: mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = f"{process.communicate()[0]}\nended after {LIMIT} s"
        assert process.returncode == 0, said
        assert wait_until(lambda: not processes_of([f"{MARK}={mark}"]), 20), processes_of([f"{MARK}={mark}"])


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


SITES = {
    "test_executor_local": "local",
    "test_executor_slurm": "slurm",
    "test_future": "local",
    "test_pool_local": "local",
    "test_pool_slurm": "slurm",
}


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Run all that were selected, some at once, and return what becomes of them by the names of their tests."""
    chosen = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module
    ]
    environments: dict[str, Mapping[str, str]] = {"local": LOCAL}
    if any(SITES.get(item.originalname) == "slurm" for item in chosen):
        environments["slurm"] = {**request.getfixturevalue("slurm_lab").environment, **SLURM}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = {}
        for item in chosen:
            if site := SITES.get(item.originalname):
                ((name, test),) = item.callspec.params.items()
                found[item.name] = threads.submit(drive, name.removesuffix("_test"), str(test), environments[site])
        yield found
        threads.shutdown(cancel_futures=True)


def test_executor_local(executor_test: str, runs: Runs, request: pytest.FixtureRequest) -> None:
    runs[request.node.name].result()


@pytest.mark.slow
def test_executor_slurm(executor_test: str, runs: Runs, request: pytest.FixtureRequest) -> None:
    runs[request.node.name].result()


def test_future(future_test: str, runs: Runs, request: pytest.FixtureRequest) -> None:
    runs[request.node.name].result()


def test_pool_local(pool_test: str, runs: Runs, request: pytest.FixtureRequest) -> None:
    runs[request.node.name].result()


@pytest.mark.slow
def test_pool_slurm(pool_test: str, runs: Runs, request: pytest.FixtureRequest) -> None:
    runs[request.node.name].result()
