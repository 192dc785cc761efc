"""Running the batch system's commands: whatever they do comes back as data."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from dataclasses import replace

import pytest

from jobpool.batch.base import Tracked
from jobpool.batch.slurm import site, usage
from jobpool.batch.slurm.system import Slurm
from jobpool.commands import shell
from jobpool.host import descriptors
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId


def run(*argv: str, **kwargs: object) -> Completed:
    return asyncio.run(shell.run(Command(argv, **kwargs)))  # type: ignore[arg-type]


def test_what_it_says_and_returns_comes_back() -> None:
    done = run(
        sys.executable, "-c", "import sys; print(input()); print('oh', file=sys.stderr); sys.exit(3)", stdin="hi\n"
    )
    assert (done.stdout, done.stderr, done.returncode, done.ok) == ("hi\n", "oh\n", 3, False)


def test_a_program_that_is_not_there_has_no_return_code_and_says_so() -> None:
    done = run("no-such-program-anywhere")
    assert done.returncode is None
    assert "no-such-program-anywhere" in done.words


def test_one_that_does_not_end_is_ended_and_told() -> None:
    begun = time.monotonic()
    done = run("sleep", "60", timeout=0.2)
    assert done.returncode is None
    assert "no answer in 0.2 s" in done.words
    assert time.monotonic() - begun < 10


def test_bytes_that_are_no_text_do_not_stop_the_parser() -> None:
    done = run(sys.executable, "-c", r"import sys; sys.stdout.buffer.write(b'job \xff\n')")
    assert done.stdout == "job \ufffd\n"


def test_its_environment_is_the_commands_own() -> None:
    os.environ["JOBPOOL_TEST_SECRET"] = "here"
    try:
        code = "import os; print(os.environ.get('JOBPOOL_TEST_SECRET'))"
        assert run(sys.executable, "-c", code).stdout == "here\n"
        assert run(sys.executable, "-c", code, environment=(("PATH", "/usr/bin"),)).stdout == "None\n"
    finally:
        del os.environ["JOBPOOL_TEST_SECRET"]


def test_no_variable_of_a_users_profile_changes_what_a_command_of_the_batch_system_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile = {"SCANCEL_STATE": "PENDING", "SQUEUE_STATES": "CD", "SACCT_FORMAT": "User", "SINFO_PARTITION": "x"}
    profile |= {"SCONTROL_LOCAL": "1", "SBATCH_QOS": "x", "SLURM_TIME_FORMAT": "%s", "SLURM_CONF": "/conf"}
    for name, value in profile.items():
        monkeypatch.setenv(name, value)
    probe = (sys.executable, "-c", f"import os; print(*sorted({set(profile)} & set(os.environ)))")
    system, asked = Slurm(), [Tracked("jp-x-1")]
    commands = [*system.poll(asked), *system.account(asked), *system.starts(asked)]
    commands += [*system.cancel(asked, [JobId("7")]), *system.limits("you"), *site.commands(), usage.command("you")]
    for command in {replace(command, argv=probe) for command in commands}:
        assert asyncio.run(shell.run(command)).stdout == "SLURM_CONF\n"
        assert shell.run_now(command).stdout == "SLURM_CONF\n"
    assert "SCANCEL_STATE" in shell.run_now(Command(probe)).stdout  # of another system's command: none of its business


def test_many_commands_run_beside_each_other_and_answer_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "AT_ONCE", 2)
    pause = "import sys, time; time.sleep(float(sys.argv[1])); print(sys.argv[1])"
    commands = [Command((sys.executable, "-c", pause, seconds)) for seconds in ("0.3", "0.0", "0.1")]
    assert [done.stdout for done in asyncio.run(shell.run_all(commands))] == ["0.3\n", "0.0\n", "0.1\n"]


def test_without_an_event_loop_it_is_the_same() -> None:
    command = Command((sys.executable, "-c", "import sys; print(input()); sys.exit(3)"), stdin="hi\n")
    assert shell.run_now(command) == asyncio.run(shell.run(command))
    assert shell.run_now(Command(("sleep", "60"), timeout=0.2)).returncode is None
    assert shell.run_now(Command(("no-such-program-anywhere",))).returncode is None


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError("none left"), OSError(errno.EMFILE, "too many")]
)
def test_one_that_cannot_be_started_for_want_of_something_did_not_run(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Which of them comes depends on what is wanting, and on how this version of Python waits for processes."""

    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(shell, "SHORT_FOR", 0.0)
    done = run("squeue")
    assert done.returncode is None
    assert done.words == f"squeue: {error}"


def test_one_that_does_not_get_its_limits_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does before its program begins may fail, too: here of a limit that nobody may have."""
    monkeypatch.setattr(descriptors, "_before", (100, 2**40))
    assert run("true").returncode is None
