"""Calls that do their worst, through a whole pool: they cost themselves, and nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from gates import running
from sites import PATIENCE, LocalSite, Site, SlurmSite

from jobpool import CallCrashed, CallTimedOut, JobPoolExecutor, PoolBroken
from jobpool.testing import wait_until


@pytest.fixture(params=["local", "slurm"])
def place(request: pytest.FixtureRequest, home: Path) -> Iterator[Site]:
    """This machine, and a real SLURM."""
    site = LocalSite() if request.param == "local" else SlurmSite(request.getfixturevalue("slurm_lab"))
    with site.entered():
        yield site


def square(number: int) -> int:
    return number * number


def all_is_well(pool: JobPoolExecutor) -> bool:
    return list(pool.map(square, range(20))) == [number**2 for number in range(20)]


def never_come_back(path: str) -> None:
    """Sleep in C with the GIL held and all signals blocked: nothing but SIGKILL ends this."""
    import ctypes
    import signal
    from pathlib import Path

    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    Path(path).touch()
    ctypes.PyDLL(None).sleep(600)


def test_a_call_stuck_in_c_is_killed_at_its_timeout(place: Site, tmp_path: Path) -> None:
    with place.pool(1) as pool:
        stuck = pool.with_request(timeout=1).submit(never_come_back, str(tmp_path / "stuck"))
        behind = pool.submit(square, 3)
        assert isinstance(stuck.exception(PATIENCE), CallTimedOut)
        assert behind.result(PATIENCE) == 9


def test_a_call_stuck_in_c_does_not_hold_up_the_end(place: Site, tmp_path: Path) -> None:
    with place.pool(1) as pool:
        stuck = pool.submit(never_come_back, str(tmp_path / "stuck"))
        assert wait_until((tmp_path / "stuck").exists, PATIENCE)
        running(stuck)
        begin = time.monotonic()
        pool.terminate_workers()
        assert time.monotonic() - begin < PATIENCE
        assert isinstance(stuck.exception(0), PoolBroken)


def start_a_daemon(path: str) -> int:
    """Leave a process behind that has left its parents, its session and its standard streams."""
    import os
    import time
    from pathlib import Path

    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        os.closerange(0, 100)
        Path(path + ".new").write_text(str(os.getpid()))
        Path(path + ".new").rename(path)
        time.sleep(600)
        os._exit(0)
    os.wait()
    while not Path(path).exists():
        time.sleep(0.01)
    return int(Path(path).read_text())


def test_a_daemon_that_a_call_leaves_ends_with_its_job(place: Site, tmp_path: Path) -> None:
    with place.pool(1) as pool:
        daemon = pool.submit(start_a_daemon, str(tmp_path / "pid")).result(PATIENCE)
        assert all_is_well(pool)
    assert wait_until(lambda: not psutil.pid_exists(daemon), PATIENCE)


def close_everything() -> None:
    import os

    os.closerange(0, 4096)


def test_a_call_that_closes_all_descriptors_costs_itself_alone(place: Site) -> None:
    with place.pool(1) as pool:
        assert isinstance(pool.submit(close_everything).exception(PATIENCE), CallCrashed)
        assert all_is_well(pool)


def close_the_streams() -> None:
    import os

    for descriptor in (0, 1, 2):
        os.close(descriptor)


def put_the_streams_elsewhere() -> None:
    import os
    import sys

    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.stdout.close()


def talk() -> int:
    import os
    import subprocess
    import sys

    print("on stdout", flush=True)
    print("on stderr", file=sys.stderr, flush=True)
    subprocess.run(["echo", "from a child"], check=True)
    assert sys.stdin.read() == ""
    return os.getpid()


@pytest.mark.parametrize("misbehave", [close_the_streams, put_the_streams_elsewhere])
def test_the_next_call_in_the_same_worker_has_its_streams(home: Path, misbehave: Callable[[], None]) -> None:
    with LocalSite().pool(1) as pool:
        before = pool.submit(talk)
        assert pool.submit(misbehave).exception(PATIENCE) is None
        after = pool.submit(talk)
        assert after.result(PATIENCE) == before.result(PATIENCE)
        assert after.logs() == before.logs() == "on stdout\non stderr\nfrom a child\n"


def shout(megabytes: int) -> str:
    for number in range(megabytes):
        print(f"{number:08}" + "x" * (2**20 - 9))
    print("the last word")
    return "done"


def resident(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


@pytest.mark.alone
def test_a_call_that_prints_a_hundred_megabytes(place: Site) -> None:
    with place.pool(1) as pool:
        assert all_is_well(pool)
        mine = [os.getpid(), pool.status().pid]
        before = resident(mine)
        loud = pool.submit(shout, 100)
        assert loud.result(PATIENCE) == "done"
        assert resident(mine) - before < 20 * 2**20
        assert loud.logs().endswith("the last word\n")
        assert len(loud.logs()) <= 64 * 1024
        assert any(path.stat().st_size > 100 * 2**20 for path in pool.log_directory.rglob("worker-*.log"))
        quiet = pool.submit(square, 2)
        assert quiet.result(PATIENCE) == 4
        assert quiet.logs() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a call that fills the disk; a small file system needs root")
def test_a_call_that_fills_the_disk_gets_its_own_error(place: Site, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a call that fills the disk; nothing can be mounted here")
    try:
        with place.pool(1, log_directory=small / "logs") as pool:

            def fill() -> None:
                print("this is in the log already", flush=True)
                (small / "ballast").write_bytes(b"x" * 2**21)

            error = pool.submit(fill).exception(PATIENCE)
            assert isinstance(error, OSError)
            assert "No space left" in str(error)
            assert all_is_well(pool)  # and what prints has nowhere to print to
            assert pool.submit(print, "lost").result(PATIENCE) is None
    finally:
        subprocess.run(["umount", str(small)], check=True)
