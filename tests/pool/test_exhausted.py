"""The host has no processes, threads or descriptors to give for some seconds: nothing is lost."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jobpool import JobPoolExecutor
from jobpool.testing import wait_until

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that limits its processes and threads: as ``ulimit -u`` does, but root's too."""
    for root in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        directory = Path(root, f"jobpool-{uuid.uuid4().hex[:8]}")
        try:
            directory.mkdir()
        except OSError:
            continue
        if (directory / "pids.max").exists():
            break
        directory.rmdir()
    else:
        pytest.skip("NOT TESTED: a host without processes to give; this needs root, and cgroups with pids")
    yield directory
    assert wait_until(lambda: not (directory / "cgroup.procs").read_text(), 20)
    directory.rmdir()


SCRIPT = """\
import os, sys, time
from pathlib import Path
from jobpool import JobPoolExecutor

def work(number):
    time.sleep(0.05)
    return number

group = Path(sys.argv[1])
(group / "cgroup.procs").write_text(str(os.getpid()))
# Fresh workers, more jobs and looks at the queue: all of it needs processes.
with JobPoolExecutor(3, scheduler="local", workers_per_job=1, max_tasks_per_child=10) as pool:
    pool.submit(work, 0).result(60)
    (group / "pids.max").write_text((group / "pids.current").read_text())
    futures = [pool.submit(work, number) for number in range(120)]
    log = Path.home() / ".jobpool" / pool.name / "server.log"
    while "cannot be started" not in log.read_text():
        time.sleep(0.1)
    time.sleep(2)  # the fault lasts: workers cannot be made, and no threads
    (group / "pids.max").write_text("max")
    print([future.result(60) for future in futures] == list(range(120)))
"""


def test_no_processes_for_some_seconds(run_script: RunScript, tmp_path: Path, group: Path) -> None:
    path = tmp_path / "script.py"
    done = run_script(SCRIPT.replace("sys.argv[1]", repr(str(group))), cwd=path.parent)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def work(number: int) -> int:
    time.sleep(0.05)
    return number


def test_a_server_without_descriptors_for_some_seconds(home: Path) -> None:
    with JobPoolExecutor(2, scheduler="local", workers_per_job=1) as pool:
        assert pool.submit(work, 0).result(60) == 0
        server = psutil.Process(pool.status().pid)
        before = server.rlimit(psutil.RLIMIT_NOFILE)
        server.rlimit(psutil.RLIMIT_NOFILE, (server.num_fds(), before[1]))
        futures = [pool.submit(work, number) for number in range(60)]
        log = home / ".jobpool" / pool.name / "server.log"
        assert wait_until(lambda: "Too many open files" in log.read_text(), 60)
        server.rlimit(psutil.RLIMIT_NOFILE, before)
        assert [future.result(60) for future in futures] == list(range(60))
