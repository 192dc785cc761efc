"""The server's process when its client, its clock or its directory is not there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch import registry
from jobpool.cli import pools
from jobpool.cli.main import ExitCode, main
from jobpool.commands import shell
from jobpool.config import resolve
from jobpool.core.events import Event, SubmitRefused
from jobpool.executor import connection
from jobpool.host.home import PoolDirectory, process_started
from jobpool.host.versions import versions
from jobpool.model.command import Command
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration
from jobpool.server import cleanup
from jobpool.server.batch_client import BatchClient, read_limits
from jobpool.server.core_settings import core_settings
from jobpool.server.event_loop import EventLoop
from jobpool.server.spec import Spec
from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of
from jobpool.transport import tls


def prepared(name: str) -> tuple[PoolDirectory, Spec]:
    """Make the directory of a pool, ready for its server."""
    settings = resolve.resolve({"scheduler": "local", "name": name, "max_workers": 1})
    directory = PoolDirectory.create(name)
    spec = Spec(
        settings=settings,
        system="local",
        initializer=None,
        sys_path=(),
        working_directory="/",
        umask=0o077,
        versions=versions(),
    )
    spec.save(directory)
    return directory, spec


def serve(directory: PoolDirectory, ready: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-P", "-m", "jobpool.server", str(directory.path), "--ready", str(ready)]
    with directory.server_log.open("wb") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, pass_fds=(ready,))


def test_a_client_that_is_gone_before_the_server_is_ready_leaves_a_server_that_can_be_stopped() -> None:
    directory, _ = prepared("early")
    reading, writing = os.pipe()
    os.close(reading)
    server = serve(directory, writing)
    os.close(writing)
    try:
        assert wait_until(lambda: "gone already" in directory.server_log.read_text(), 30)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
    assert not list(directory.path.glob("*.pem"))


def test_settings_that_cannot_be_read_are_told_to_the_client(tmp_path: Path) -> None:
    directory, _ = prepared("unread")
    (directory.path / "spec.msgpack").unlink()
    reading, writing = os.pipe()
    server = serve(directory, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    assert server.wait(20) == 3
    assert "PoolBroken" in answer
    assert "spec.msgpack" in answer


def test_a_clock_that_fails_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    directory, spec = prepared("clock")
    tls.make_keys(directory)

    def failing(now: float) -> Any:
        raise LookupError("no such task")

    async def scenario() -> BaseException | None:
        system = registry.get("local", directory.path)
        control = EventLoop(directory, spec, system, await read_limits(system))
        await control.open()
        monkeypatch.setattr(control._core, "snapshot", failing)
        await asyncio.wait_for(control.run(), 20)
        return control.crash

    assert isinstance(asyncio.run(scenario()), LookupError)


def test_a_script_that_cannot_be_written_is_refused_and_ends_no_server() -> None:
    directory, spec = prepared("unwritable")
    told: list[Event] = []
    asking = BatchClient(
        directory, replace(spec, system="slurm"), registry.get("slurm", Path()), told.append, pytest.fail
    )
    # As when so many nodes are avoided that their names fit no directive any more.
    asyncio.run(asking.submit("jp-unwritable-1", Request(exclude=tuple(f"node{n:06}" for n in range(1000))), 1))
    (refused,) = told
    assert isinstance(refused, SubmitRefused)
    assert "--exclude is longer than 4000 bytes" in refused.words
    assert not refused.temporary
    assert directory.lines("submissions") == []


def test_whoever_waits_for_a_server_waits_longer_than_it_waits_for_its_jobs() -> None:
    directory, spec = prepared("slow")
    slow = Limits(kill_wait=Duration(600))
    waits = core_settings(directory, spec, registry.get("slurm", directory.path), slow).shutdown_patience
    usual = core_settings(directory, spec, registry.get("slurm", directory.path), Limits()).shutdown_patience
    assert waits > usual
    for patience in (connection.ABORT_PATIENCE, pools.STOP_PATIENCE, connection.END_PATIENCE - 60.0):
        assert patience >= waits + 20.0


def test_a_dead_pool_is_cleared_with_its_own_batch_system_when_its_address_is_gone() -> None:
    directory, _ = prepared("dead")
    directory.append("submissions", "jp-dead-1")
    directory.retire(keep_logs=True)
    assert asyncio.run(cleanup.reap(directory, patience=0.2)) == ()
    assert not directory.lines("submissions")


def test_a_living_pool_without_keys_is_told_and_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    directory, _ = prepared("half")
    mine = {"host": os.uname().nodename, "pid": os.getpid(), "started": process_started(os.getpid())}
    directory.write("connection.json", json.dumps({**mine, "port": 1, "addresses": []}).encode())
    assert main(["status", "half"]) == ExitCode.LOST
    assert "not running" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["..", ".", "x" * 300, "a\nb"])
def test_stop_takes_nothing_but_a_pools_name(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    PoolDirectory.create("mine")
    home.chmod(0o700)
    for place in (home, home / ".jobpool"):
        (place / "key.pem").write_text("somebody's own")
    assert main(["stop", name]) == ExitCode.FAILED
    assert "there is no pool named" in capsys.readouterr().err
    for place in (home, home / ".jobpool"):
        assert (place / "key.pem").read_text() == "somebody's own"


def test_a_pool_whose_directory_was_made_a_moment_ago_is_not_cleared_away() -> None:
    first = PoolDirectory.create("mine")
    before = first.path.stat().st_ino
    with pytest.raises(Exception, match="running already"):
        PoolDirectory.create("mine")
    assert first.path.stat().st_ino == before


def test_the_spec_survives_the_way() -> None:
    directory, spec = prepared("spec")
    assert Spec.load(directory) == spec
    assert directory.lines("system") == ["local"]


def test_a_time_out_ends_what_a_command_started_too() -> None:
    command = Command(("sh", "-c", "sleep 300 & echo started; wait"), timeout=0.5, environment=(("HUNTED", "1"),))
    assert asyncio.run(shell.run(command)).returncode is None
    assert wait_until(lambda: not processes_of(["HUNTED=1"]), 5)


def test_an_agent_whose_pool_has_ended_says_so(home: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-P", "-m", "jobpool.agent", "--pool", str(tmp_path / "gone"), "--submission", "jp-x-1"]
    argv += ["--index", "0", "--job-id", str(JobId("7")), "--address", "127.0.0.1", "--port", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert "cannot reach the server" in done.stderr
    assert "Traceback" not in done.stderr
