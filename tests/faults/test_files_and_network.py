"""The pool's file system takes no files for a while, and connections are cut, on a real SLURM."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from gates import Gate, running
from sites import PATIENCE, SlurmSite

from jobpool.testing import wait_until

root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a full home, a cut connection; this needs root")


@pytest.fixture
def mounted_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home directory on a file system of its own."""
    directory = Path(f"/tmp/home-{uuid.uuid4().hex[:8]}")
    directory.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(directory)], capture_output=True, check=False
    ).returncode:
        directory.rmdir()
        pytest.skip("NOT TESTED: a file system that refuses; nothing can be mounted here")
    monkeypatch.setenv("HOME", str(directory))
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
    directory.rmdir()


@root
@pytest.mark.slow
def test_a_home_that_takes_no_files_for_a_while_delays_new_jobs_alone(
    site: SlurmSite, mounted_home: Path, gate: Gate, tmp_path: Path
) -> None:
    """Full, as it is seen most; what is read-only or stale refuses the same system calls."""
    with site.pool(1, log_directory=tmp_path / "logs") as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        ballast = mounted_home / "ballast"
        fill(ballast)
        site.end_job(held.job.id, "cancelled")  # type: ignore[union-attr]
        assert wait_until(lambda: "cannot be written" in notices(pool), PATIENCE)
        ballast.unlink()
        gate.wait_for(2, seconds=PATIENCE)
        gate.open()
        assert held.result(PATIENCE) == "held"


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def notices(pool: object) -> str:
    return " ".join(text for text, _ in pool.status().notices)  # type: ignore[attr-defined]


@root
def test_a_connection_that_is_cut_costs_nothing_but_time(site: SlurmSite, gate: Gate) -> None:
    """Both ends lose it, as when a firewall forgets it. The job cannot be reached again, so it is replaced."""
    with site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        server = psutil.Process(pool.status().pid)
        (port,) = {c.laddr.port for c in server.net_connections() if c.status == psutil.CONN_LISTEN}
        agents = [c.raddr.port for c in server.net_connections() if c.laddr.port == port and c.raddr]
        own = {c.laddr.port for c in psutil.Process().net_connections() if c.laddr}
        (agent,) = [number for number in agents if number not in own]
        cut = ["ss", "--kill", "--tcp", "src", "127.0.0.1", "sport", "=", f":{agent}"]
        killed = subprocess.run(cut, capture_output=True, text=True, check=False)
        if str(agent) not in killed.stdout:
            pytest.skip("NOT TESTED: a connection that is cut; this kernel cannot (CONFIG_INET_DIAG_DESTROY)")
        gate.wait_for(2, seconds=PATIENCE)
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert gate.arrived() == 2
