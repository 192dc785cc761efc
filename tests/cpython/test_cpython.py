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
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import suites
from excluded import EXCLUDED

from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.lab_machine import processes_of

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


def drive(suite: str, name: str, environment: Mapping[str, str]) -> None:
    """Run one test to its end; fail with what it said, or when something of it is left."""
    mark = uuid.uuid4().hex
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


def test_executor_local(executor_test: str) -> None:
    drive("executor", executor_test, LOCAL)


@pytest.mark.slow
def test_executor_slurm(executor_test: str, slurm_lab: SlurmLab) -> None:
    drive("executor", executor_test, {**slurm_lab.environment, **SLURM})


def test_future(future_test: str) -> None:
    drive("future", future_test, LOCAL)


def test_pool_local(pool_test: str) -> None:
    drive("pool", pool_test, LOCAL)


@pytest.mark.slow
def test_pool_slurm(pool_test: str, slurm_lab: SlurmLab) -> None:
    drive("pool", pool_test, {**slurm_lab.environment, **SLURM})
