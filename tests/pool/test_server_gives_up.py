"""However a server comes to its end: who waits for it gets on, and no process of the pool is left."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jobpool import JobPoolExecutor
from jobpool.executor import connection
from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]

SCRIPT = """\
import time
from jobpool import JobPoolExecutor

with JobPoolExecutor(2, scheduler="local") as pool:
    futures = [pool.submit(time.sleep, 0.1) for _ in range(20)]
    print(*{type(error).__name__ for future in futures if (error := future.exception(60))})
"""

SITE = """\
import sys

if sys.orig_argv[-1].endswith("script.py"):
    from jobpool.executor import connection
    connection.END_PATIENCE = 30  # a server that ends by itself, if late, is not killed: its commands would live on

if "jobpool.server" in sys.orig_argv:
    import asyncio, threading, time
    from jobpool.core import events
    from jobpool.host import lifetime
    from jobpool.server import __main__ as process, batch_client, client_links, event_loop

    # The product's times are minutes: longer than what may be slow on a cluster.
    lifetime.STUCK, lifetime.LOOK, lifetime.LAST = 2.0, 0.5, 0.5
    process.ENDING = process.CLEARING = event_loop.STOPPING = client_links.FAREWELL = 1.0

    def fail(*_):
        raise LookupError("a bug")

    def hang(*_, **__):
        time.sleep(3600)

    async def wait_for_ever(*_):
        await asyncio.sleep(3600)

    def when_calls_are_done(act):
        handle = event_loop.Core.handle
        def spoilt(core, event):
            if isinstance(event, events.CallsDone):
                act()
            return handle(core, event)
        event_loop.Core.handle = spoilt

    def no_thread(_):
        raise RuntimeError("can't start new thread")

"""

FAULTS = {
    "a decision raises": "when_calls_are_done(fail)",
    "a task raises": """
        submit, calls_are_done = batch_client.BatchClient.submit, asyncio.Event()
        async def submit_and_fail(*arguments):
            await submit(*arguments)
            await calls_are_done.wait()
            fail()
        batch_client.BatchClient.submit = submit_and_fail
        when_calls_are_done(calls_are_done.set)
        """,
    "the loop stands still": "when_calls_are_done(hang)",
    "it gives up, and one of its threads never ends": """
        def act():
            asyncio.get_running_loop().run_in_executor(None, hang)
            fail()
        when_calls_are_done(act)
        """,
    "it gives up, and no thread can be started": """
        def act():
            threading.Thread.start = no_thread
            fail()
        when_calls_are_done(act)
        """,
    "it gives up, and its commands do not end": """
        from jobpool.batch.local.system import Local
        from jobpool.model.command import Command
        Local.cancel = lambda *_: (Command(("sleep", "3600")),)
        when_calls_are_done(fail)
        """,
    "the clearing up hangs": "process.PoolDirectory.retire = hang",
    "the last word is not said": "event_loop.EventLoop.say_bye = wait_for_ever",
    "it never finishes": "event_loop.EventLoop._finish = wait_for_ever",
}

SLOW = {"it gives up, and one of its threads never ends", "the last word is not said"}

AT_THE_END = {"the clearing up hangs", "the last word is not said", "it never finishes"}
"""Those that come after all calls have ended."""


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[pytest.mark.slow] if fault in SLOW else []) for fault in FAULTS]
)
def test_no_process_is_left_and_nobody_waits(run_script: RunScript, tmp_path: Path, fault: str) -> None:
    place, mark = tmp_path / "spoilt", uuid.uuid4().hex
    place.mkdir()
    (place / "sitecustomize.py").write_text(SITE + textwrap.indent(textwrap.dedent(FAULTS[fault]).strip(), "    "))
    environment = {**os.environ, "PYTHONPATH": str(place), "MARK_OF_TEST": mark}
    done = run_script(SCRIPT, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ("" if fault in AT_THE_END else "PoolBroken")
    left = [f"MARK_OF_TEST={mark}"]
    assert wait_until(lambda: not processes_of(left), 20), processes_of(left)


def test_a_server_that_stands_still_when_all_calls_have_ended_is_killed_by_who_leaves(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "END_PATIENCE", 1)
    with JobPoolExecutor(1, scheduler="local") as pool:
        assert pool.submit(abs, -1).result(60) == 1
        server = psutil.Process(pool.status().pid)
        server.suspend()
    assert not server.is_running()


def test_a_server_that_ends_in_time_is_not_killed_for_the_time_of_a_callback(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "END_PATIENCE", 4)
    with JobPoolExecutor(1, scheduler="local") as pool:
        futures = [pool.submit(abs, -number) for number in range(3)]
        for future in futures:
            future.add_done_callback(lambda _: time.sleep(2))
    assert [future.result(0) for future in futures] == [0, 1, 2]
    assert "finished left=[]" in pool._directory.server_log.read_text()
