"""Processes of a pool that stand still for a while, or have too few descriptors: late is not lost, and not twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from gates import running
from sites import MARK, PATIENCE, LocalSite, Site, SlurmSite, script_environment

from jobpool import JobPoolExecutor, PoolBroken
from jobpool.executor import connection
from jobpool.testing import wait_until

STILL = 4.0
"""Seconds that a process stands still: some polls, and many calls."""


@pytest.fixture(params=["local", "slurm"])
def place(request: pytest.FixtureRequest, home: Path) -> Iterator[Site]:
    """This machine, and a real SLURM."""
    site = LocalSite() if request.param == "local" else SlurmSite(request.getfixturevalue("slurm_lab"))
    with site.entered():
        yield site


def leave_a_trace(directory: str, number: int) -> int:
    import time
    import uuid
    from pathlib import Path

    time.sleep(0.02)
    Path(directory, f"{number}-{uuid.uuid4().hex}").touch()
    return number


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def server_of(pool: JobPoolExecutor) -> int:
    return int(pool.status().pid)


def agent_of(pool: JobPoolExecutor) -> int:
    """Return the process of one of the pool's agents."""
    words = (str(pool._directory.path), "jobpool.agent")
    found = [process.pid for process in psutil.process_iter() if _says(process, *words)]
    assert found
    return found[0]


def _says(process: psutil.Process, *words: str) -> bool:
    try:
        return all(word in process.cmdline() for word in words)
    except psutil.Error:
        return False


@pytest.mark.parametrize("of", [server_of, agent_of])
def test_a_process_that_stands_still_for_a_while_loses_nothing(place: Site, tmp_path: Path, of: object) -> None:
    assert callable(of)
    with place.pool(2) as pool:
        futures = [pool.submit(leave_a_trace, str(tmp_path), number) for number in range(300)]
        assert futures[0].result(PATIENCE) == 0
        with standing_still(of(pool)):
            time.sleep(STILL)  # nothing to wait for: this is the fault
        assert [future.result(PATIENCE) for future in futures] == list(range(300))
    assert sorted(int(path.name.partition("-")[0]) for path in tmp_path.iterdir()) == list(range(300))


def test_a_server_that_stands_still_for_ever_is_ended_by_who_wants_to_leave(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ABORT_PATIENCE", 1.0)
    pool = place.make(1)
    held = pool.submit(time.sleep, 600)
    running(held)
    server = psutil.Process(server_of(pool))
    server.suspend()
    pool.terminate_workers()
    assert isinstance(held.exception(PATIENCE), PoolBroken)
    assert not server.is_running()
    assert wait_until(lambda: not place.jobs_in_queue(pool.name), PATIENCE)


_CLIENT = """
import time
from jobpool import JobPoolExecutor

def slowly(number):
    time.sleep(0.02)
    return number

if __name__ == "__main__":
    with JobPoolExecutor(2) as pool:
        results = pool.map(slowly, range(300))
        print(next(results), flush=True)
        print(sum(results))
"""


def test_a_client_that_stands_still_finds_its_results(place: Site, home: Path, tmp_path: Path) -> None:
    """As a notebook on a laptop that was closed, or one that is busy in C code for long."""
    script = tmp_path / "client.py"
    script.write_text(_CLIENT)
    environment = script_environment(place, home, f"{MARK}=client")
    client = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == "0\n"
        with standing_still(client.pid):
            time.sleep(STILL)
        assert client.communicate(timeout=PATIENCE)[0] == f"{sum(range(300))}\n"
    finally:
        client.kill()
        client.wait()


_FEW = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
from jobpool import JobPoolExecutor

if __name__ == "__main__":
    with JobPoolExecutor(8, workers_per_job=1, scheduler="local") as pool:
        print(sum(pool.map(abs, range(100))))
"""


def test_where_descriptors_are_few_the_work_is_done_with_fewer_jobs(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "few.py"
    script.write_text(_FEW)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "4950\n", done.stderr
