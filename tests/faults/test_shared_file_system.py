"""The file system with the pool's directory hangs for a while, as NFS does, or is read-only: what runs goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gates import Gate, running
from sites import PATIENCE, SlurmSite

from jobpool import ConfigError, JobPoolExecutor
from jobpool.testing import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a home that hangs; this needs root, to mount")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that is the home."""
    directory = Path(f"/tmp/home-{uuid.uuid4().hex[:8]}")
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(directory))
    yield directory
    shutil.rmtree(directory)


class Hanging:
    """A file system that answers nobody while the process that serves it stands still."""

    def __init__(self, daemon: subprocess.Popen[bytes]) -> None:
        self._daemon = daemon

    @contextmanager
    def now(self) -> Iterator[None]:
        self._daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._daemon.send_signal(signal.SIGCONT)


@pytest.fixture
def hanging(place: Path, tmp_path: Path) -> Iterator[Hanging]:
    """The home on such a file system."""
    if shutil.which("bindfs") is None or not Path("/dev/fuse").exists():
        pytest.skip("NOT TESTED: a home that hangs; this needs bindfs (Debian's package of this name) and /dev/fuse")
    (tmp_path / "behind").mkdir(mode=0o700)
    with subprocess.Popen(["bindfs", "-f", str(tmp_path / "behind"), str(place)]) as daemon:
        try:
            if not wait_until(lambda: place.is_mount() or daemon.poll() is not None, 10) or daemon.poll() is not None:
                pytest.skip("NOT TESTED: a home that hangs; nothing can be mounted here")
            yield Hanging(daemon)
        finally:
            daemon.send_signal(signal.SIGCONT)
            if daemon.poll() is None:
                subprocess.run(["umount", "--lazy", str(place)], check=True)
            daemon.terminate()


def notices(pool: JobPoolExecutor) -> str:
    return " ".join(text for text, _ in pool.status().notices)


def work(number: int) -> int:
    import time

    time.sleep(0.01)
    return number


@pytest.mark.slow
def test_calls_go_on_while_the_home_hangs(site: SlurmSite, hanging: Hanging, gate: Gate) -> None:
    with site.pool(2) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        with hanging.now():
            # A second job is asked for, whose name cannot be written down; ten seconds later this is told.
            more = [pool.submit(work, number) for number in range(500)]
            told = wait_until(lambda: "its file system hangs" in notices(pool), PATIENCE)
            gate.open()
            assert held.result(PATIENCE) == "held"
            done = sum(future.done() for future in more)
            assert wait_until(lambda: sum(future.done() for future in more) > done + 20, PATIENCE)
        assert told
        assert [future.result(PATIENCE) for future in more] == list(range(500))
        assert gate.arrived() == 1


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Let nothing be made or opened for writing there. What is open stays so, as where a server does it."""
    made = ["mount", "--bind", str(directory), str(directory)], ["mount", "-o", "remount,bind,ro", str(directory)]
    if any(subprocess.run(command, capture_output=True, check=False).returncode for command in made):
        pytest.skip("NOT TESTED: a home that is read-only; nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.slow
def test_a_home_that_is_read_only_for_a_while_loses_nothing(site: SlurmSite, place: Path) -> None:
    def say(number: int) -> int:
        print("number", number)
        return number

    with site.pool(1, max_tasks_per_child=2) as pool:
        assert pool.submit(say, 0).result(PATIENCE) == 0
        with read_only(place):
            with pytest.raises(ConfigError, match="Read-only file system"):
                site.make(1)
            futures = [pool.submit(say, number) for number in range(10)]
            assert [future.result(PATIENCE) for future in futures] == list(range(10))
            assert futures[-1].logs() == "number 9\n"
            (job,) = site.jobs_in_queue(pool.name)
            site.end_job(job, "cancelled")
            assert wait_until(lambda: not site.jobs_in_queue(pool.name), PATIENCE)
            later = pool.submit(say, 10)
            assert wait_until(lambda: "Read-only file system" in notices(pool), PATIENCE)
        assert later.result(PATIENCE) == 10
