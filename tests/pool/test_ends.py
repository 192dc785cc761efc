"""The ends that a pool may come to: told or forgotten, in every combination, and the end of the interpreter."""

from __future__ import annotations

import gc
import subprocess
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from jobpool import JobPoolExecutor
from jobpool.executor import connection as client
from jobpool.testing import wait_until

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

BUSY = """\
import atexit, sys, threading, time
from pathlib import Path
from jobpool import JobPoolExecutor

def work(number):
    if number == 0:
        Path("running").touch()
        while not Path("open").exists():
            time.sleep(0.01)
    return number

pool = JobPoolExecutor(1, scheduler="local")
futures = [pool.submit(work, number) for number in range(4)]
while not futures[0].running():
    time.sleep(0.01)
atexit.register(lambda: Path("open").touch())  # before jobpool's own, which waits
for number, future in enumerate(futures):
    # In one write: print() writes the end of the line by itself.
    future.add_done_callback(
        lambda f, n=number: sys.stdout.write(f"{n} {'cancelled' if f.cancelled() else f.result()}\\n")
    )
"""

ALL = ["0 0", "1 1", "2 2", "3 3"]
FIRST = ["0 0", "1 cancelled", "2 cancelled", "3 cancelled"]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("", ALL),
        ("del pool", ALL),
        ("del pool, futures", ALL),
        ("pool.shutdown(wait=False)", ALL),
        ("pool.shutdown(wait=False, cancel_futures=True)", FIRST),
        ("Path('open').touch(); pool.shutdown()", ALL),
        ("pool.shutdown(wait=False); pool.shutdown(wait=False, cancel_futures=True)", FIRST),
        ("pool.shutdown(wait=False); Path('open').touch(); pool.shutdown(wait=True)", ALL),
        ("threading.Thread(target=pool.shutdown).start(); Path('open').touch()", ALL),
    ],
)
def test_a_script_that_ends_by(run_script: RunScript, tmp_path: Any, end: str, expected: list[str]) -> None:
    done = run_script(f"{BUSY}\n{end}\n", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == expected


def test_what_comes_after_the_interpreters_end_is_refused(run_script: RunScript, tmp_path: Any) -> None:
    done = run_script(
        """\
        import atexit

        def late():
            for submit in (lambda: pool.submit(abs, -1), lambda: pool.map(abs, [-1])):
                try:
                    submit()
                except RuntimeError as error:
                    print(error)

        atexit.register(late)
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(1, scheduler="local")
        pool.submit(abs, -1).result()
        """,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 2 * "cannot schedule new futures after interpreter shutdown\n"


def test_a_forgotten_pool_finishes_and_ends(home: object) -> None:
    results = JobPoolExecutor(1, scheduler="local").map(abs, range(-20, 0))
    assert list(results) == list(range(20, 0, -1))
    assert wait_until(lambda: not client.OPEN, 20)


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_every_future_has_ended_when_a_pool_has(home: object, *, wait: bool, cancel: bool, times: int) -> None:
    pool = JobPoolExecutor(1, scheduler="local")
    futures = [pool.submit(abs, -number) for number in range(50)]
    for _ in range(times):
        pool.shutdown(wait=wait, cancel_futures=cancel)
    for submit in (lambda: pool.submit(abs, -1), lambda: pool.map(abs, [-1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            submit()
    if not wait:
        pool.shutdown()
    for number, future in enumerate(futures):
        assert future.done()
        if cancel and future.cancelled():
            with pytest.raises(CancelledError):
                future.result(0)
        else:
            assert future.result(0) == number


def test_a_future_that_is_kept_keeps_nothing_of_its_pool(home: object) -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        future = pool.submit(abs, -3)
        connection = weakref.ref(pool._connection)
    del pool
    gc.collect()
    assert connection() is None
    assert future.result(0) == 3
