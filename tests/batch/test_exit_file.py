"""Exit files: what a job's script writes of its own end, and what is made of it. The scripts run in a real shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from batch_steps import until

from jobpool.batch.base import Notice, Notices
from jobpool.batch.exit_file import Exited, directory_of, ending_of, file_name, parse, script_lines
from jobpool.core.events import JobKey
from jobpool.model.job import EndingKind
from jobpool.model.units import Duration
from jobpool.server.exit_files import make_directory, read

USR2 = Notices(walltime=Notice("USR2", 5.0), delete=Notice("TERM", 5.0))
NONE = Notices(walltime=None, delete=None)


def start(
    pool: Path, command: str, signals: tuple[str, ...] = ("TERM",), before: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a job's script; the command line gets further words, as an agent's does."""
    make_directory(pool)
    lines = script_lines(
        command, pool=pool, submission="jp-x-1", index="$((INDEX - 1))", signals=signals, before=before
    )
    script = pool / "script"
    script.write_text("\n".join(["set -u", *lines, ""]))
    return subprocess.Popen(["bash", str(script)], env={**os.environ, "INDEX": "4"})


def run(pool: Path, command: str) -> int:
    return start(pool, command).wait(20)


def written(pool: Path) -> Exited | None:
    return parse((directory_of(pool) / "jp-x-1-3").read_text())


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A directory with a name that a shell would read more into."""
    path = tmp_path / "it's $HOME"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("command", "code", "kind"),
    [
        ("bash -c 'exit 0'", 0, EndingKind.COMPLETED),
        ("bash -c 'exit 75'", 75, EndingKind.FAILED),
        ("bash -c 'kill -SEGV $$'", 139, EndingKind.FAILED),
        ("bash -c 'kill -KILL $$'", 137, EndingKind.FAILED),
        ("no-such-program-anywhere", 127, EndingKind.FAILED),
    ],
)
def test_a_script_tells_how_its_agent_ended(pool: Path, command: str, code: int, kind: EndingKind) -> None:
    begun = time.time()
    assert run(pool, command) == code
    exited = written(pool)
    assert exited is not None
    assert (exited.code, exited.node) == (code, os.uname().nodename)
    assert begun - 1 <= exited.began <= exited.ended <= time.time()
    ending = ending_of(exited, walltime=None, notices=USR2)
    assert (ending.kind, ending.source) == (kind, "exit file")
    assert (ending.exit_code, ending.signal) == ((None, code - 128) if code > 128 else (code, None))


@pytest.mark.parametrize("line", ["exit 3", "trap : EXIT; exit 3", "set -e; (exit 3)"])
def test_a_line_before_it_may_end_the_script(pool: Path, line: str) -> None:
    assert start(pool, "true", before=(line,)).wait(20) == 3
    exited = written(pool)
    assert (exited is None) if "EXIT" in line else (exited is not None and exited.code == 3)


@pytest.mark.parametrize("name", ["TERM", "USR2"])
def test_a_signal_while_a_line_before_it_runs_ends_the_script(pool: Path, tmp_path: Path, name: str) -> None:
    up = tmp_path / "up"
    process = start(pool, "true", ("TERM", "USR2"), (f"touch {up}; while :; do sleep 0.05; done",))
    until(up.exists)
    number = signal.Signals[f"SIG{name}"]
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    exited = written(pool)
    assert exited is not None
    assert exited.code == 128 + number


@pytest.mark.parametrize("name", ["TERM", "USR2"])
def test_a_signal_to_the_script_alone_reaches_the_agent_whose_end_is_waited_for(
    pool: Path, tmp_path: Path, name: str
) -> None:
    up, told = tmp_path / "up", tmp_path / "told"
    agent = f"trap 'sleep 0.3; touch {told}; exit 143' {name}; touch {up}; while :; do sleep 0.05; done"
    process = start(pool, f'bash -c "{agent}"', ("TERM", "USR2"))
    until(up.exists)
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.wait(20) == 143
    assert told.exists()
    exited = written(pool)
    assert exited is not None
    assert exited.code == 143


def test_of_a_job_that_is_killed_at_once_nothing_is_told_but_that_it_began(pool: Path, tmp_path: Path) -> None:
    up = tmp_path / "up"
    process = start(pool, f"bash -c 'echo $$ >{up}.new; mv {up}.new {up}; exec sleep 60'")
    until(up.exists)
    process.kill()
    process.wait(20)
    os.kill(int(up.read_text()), signal.SIGKILL)
    assert (directory_of(pool) / "jp-x-1-3").read_text().startswith("began ")
    assert written(pool) is None


def test_a_job_that_runs_again_has_not_ended(pool: Path) -> None:
    run(pool, "true")
    assert written(pool) is not None
    with (directory_of(pool) / "jp-x-1-3").open("a") as file:
        file.write("began 1764523180 node7\n")
    assert written(pool) is None
    assert run(pool, "bash -c 'exit 3'") == 3
    again = written(pool)
    assert again is not None
    assert again.code == 3


@pytest.mark.parametrize(
    "text",
    ["", "began", "ended 5 0\n", "began 5 n1\nended 6 ", "began 5 n1\nended 6 0", "began x n1\nended 6 0\n", "\0\n"],
)
def test_what_is_half_written_or_not_ours_tells_nothing(text: str) -> None:
    assert parse(text) is None


def test_an_agent_that_was_told_to_end_was_cancelled_or_had_its_time() -> None:
    told = Exited(began=1000.0, ended=1590.0, code=128 + signal.SIGTERM, node="n1")
    assert ending_of(told, walltime=None, notices=USR2).kind is EndingKind.CANCELLED
    assert ending_of(told, walltime=Duration(3600), notices=USR2).kind is EndingKind.CANCELLED
    late = ending_of(told, walltime=Duration(600), notices=USR2)
    assert (late.kind, late.limit) == (EndingKind.TIMED_OUT, "10 min")
    soon = Exited(began=1000.0, ended=1010.0, code=128 + signal.SIGTERM, node="n1")
    assert ending_of(soon, walltime=Duration(60), notices=USR2).kind is EndingKind.CANCELLED
    # Where the batch system says nothing before it kills, somebody else sent the signal.
    assert ending_of(told, walltime=Duration(600), notices=NONE).kind is EndingKind.FAILED


def test_the_files_of_a_pool_are_read_when_they_are_there(pool: Path) -> None:
    jobs = [JobKey("jp-x-1", number) for number in range(3)]
    assert read(pool, jobs) == {}
    make_directory(pool)
    assert read(pool, jobs) == {}
    (directory_of(pool) / file_name("jp-x-1", 1)).write_text("began 5 n1\nended 6 0\n")
    (directory_of(pool) / file_name("jp-x-1", 2)).write_text("began 5 n1\n")
    assert read(pool, jobs) == {jobs[1]: Exited(5.0, 6.0, 0, "n1")}
