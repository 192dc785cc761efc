"""A fork of the client's process is not the client: the pool is its parent's alone."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from jobpool import JobPoolExecutor
from jobpool.host.home import PoolDirectory
from jobpool.testing import wait_until


@pytest.mark.alone  # on a busy machine the script would be told that it waits for a worker
def test_a_fork_that_leaves_with_by_sys_exit_does_not_touch_the_pool(run_script: Callable[..., object]) -> None:
    done = run_script(
        """\
        import os, sys, warnings
        from jobpool import JobPoolExecutor

        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks
        with JobPoolExecutor(1, scheduler="local") as pool:
            pool.submit(abs, -1).result()
            pid = os.fork()
            if pid == 0:
                try:
                    pool.submit(abs, -1)
                except RuntimeError as error:
                    print(error, flush=True)
                sys.exit(7)  # through __exit__
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), pool.submit(abs, -5).result(), flush=True)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")  # type: ignore[attr-defined]
    refused, last = done.stdout.splitlines()  # type: ignore[attr-defined]
    assert "forked" in refused
    assert last == "7 5"


def double(number: int) -> int:
    return 2 * number


def test_multiprocessing_by_fork_beside_a_pool(pool: JobPoolExecutor) -> None:
    with multiprocessing.get_context("fork").Pool(2) as other:
        assert other.map(double, range(4)) == [0, 2, 4, 6]
    assert pool.submit(abs, -3).result(30) == 3


def test_a_fork_that_outlives_a_killed_client_does_not_keep_its_pool_alive(home: object) -> None:
    code = """\
        import os, time
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(1, scheduler="local", name="forked")
        pool.submit(abs, -1).result()
        if (pid := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        print(pid, flush=True)
        time.sleep(60)
        """
    client = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    fork = int(client.stdout.readline())
    directory = PoolDirectory.open("forked")
    assert directory.alive()
    client.kill()
    client.wait()
    client.stdout.close()
    try:
        assert wait_until(lambda: not directory.alive(), 20)
    finally:
        subprocess.run(["kill", str(fork)], check=True)
