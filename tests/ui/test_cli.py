from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from jobpool.cli.main import ExitCode, exit_code, jobpool, main
from jobpool.config.settings import SETTINGS
from jobpool.model import errors
from jobpool.show.view import as_text, plain_table
from jobpool.testing import lab_missing

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "DASK_ROOT_CONFIG": str(tmp_path / "none")}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = Path(environment["HOME"])
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**environment, **variables},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_help_names_the_commands_and_the_exit_codes(run: Run) -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("config", "lab", "Exit codes", "--version"):
        assert word in done.stdout


def test_version(run: Run) -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("jobpool ")
    assert done.stdout.split()[1][0].isdigit()


def test_help_loads_nothing_that_is_slow() -> None:
    code = "import sys; from jobpool.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.strip("'").partition(".")[0] for name in done.stdout.splitlines()[-1].strip("[]").split(", ")}
    assert not loaded & {"distributed", "dask", "tornado", "numpy", "yaml", "rich", "psutil", "cryptography"}
    assert "click" in loaded


def test_config_prints_every_setting_in_columns_when_it_is_piped(run: Run) -> None:
    done = run("config", "scheduler=slurm", "cores=2")
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["setting", "value", "from"]
    assert [line.split()[0] for line in lines] == list(SETTINGS)
    assert next(line.split() for line in lines if line.startswith("cores")) == ["cores", "2", "keyword"]
    assert all(line == line.rstrip() for line in lines)


def test_config_names_each_origin(run: Run, environment: dict[str, str]) -> None:
    home = Path(environment["HOME"])
    project, user = home / "jobpool.toml", home / ".config/jobpool/jobpool.toml"
    yaml = home / ".config/dask/jobqueue.yaml"
    for path, text in (
        (project, "account = 'bio'\n"),
        (user, "[slurm]\nsetup = ['module load ffmpeg', 'module load git']\n"),
        (yaml, "jobqueue:\n  slurm:\n    queue: long\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    done = run("config", "scheduler=slurm", JOBPOOL_MEMORY="8 GiB", JOBPOOL_MEMROY="1")
    shown = {name: rest for name, *rest in (re.split("  +", line) for line in done.stdout.splitlines())}
    assert shown["account"] == ["bio", f"{project}, key account"]
    assert shown["setup"] == ["module load ffmpeg, module load git", f"{user}, key slurm.setup"]
    assert shown["partition"] == ["long", f"{yaml}, key jobqueue.slurm.queue"]
    assert shown["memory"] == ["8 GiB", "variable JOBPOOL_MEMORY"]
    assert done.stderr.startswith("note: variable JOBPOOL_MEMROY is not used")


def test_config_as_json_is_for_programs(run: Run) -> None:
    done = run("config", "--json", "scheduler=local", "memory=8 GiB", "log_directory=logs", JOBPOOL_IDLE_TIMEOUT="90s")
    data = json.loads(done.stdout)
    assert data["system"] == "local"
    assert list(data["settings"]) == list(SETTINGS)
    assert data["settings"]["memory"] == {"value": 2**33, "from": "keyword", "place": "", "key": ""}
    assert data["settings"]["idle_timeout"] == {
        "value": 90.0,
        "from": "environment",
        "place": "JOBPOOL_IDLE_TIMEOUT",
        "key": "",
    }
    assert data["settings"]["log_directory"]["value"].endswith("/home/logs")
    assert data["notes"] == []


def test_config_writes_each_value_as_it_may_be_given(run: Run) -> None:
    given = ("scheduler=local", "system_options=parallel_environment=smp", "python=run 'my image' python", "arrays=10")
    shown = run("config", *given).stdout
    for line in (
        "system_options +parallel_environment=smp +keyword",
        "python +run 'my image' python +keyword",
        "arrays +10 +keyword",
    ):
        assert re.search(f"^{line}$", shown, re.MULTILINE), line
    settings = json.loads(run("config", "--json", *given).stdout)["settings"]
    assert settings["system_options"]["value"] == {"parallel_environment": "smp"}
    assert settings["python"]["value"] == "run 'my image' python"


def test_config_says_what_auto_came_to(run: Run, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    assert re.search("^scheduler +auto: local +default$", run("config", PATH=str(programs)).stdout, re.MULTILINE)
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    assert re.search("^scheduler +auto: slurm +default$", run("config", PATH=str(programs)).stdout, re.MULTILINE)


def test_config_tells_all_problems_at_once_without_a_traceback(run: Run) -> None:
    done = run("config", "scheduler=slurm", "cores=0", "memory=8GBB", "queue=x", JOBPOOL_WALLTIME="soon")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.splitlines()[0] == "error: 4 settings cannot be used:"
    assert len(done.stderr.splitlines()) == 5
    assert "walltime='soon' (variable JOBPOOL_WALLTIME)" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "cores"],
        ["config", "--yaml"],
        ["confg"],
        ["lab", "up", "--nodes=0"],
        ["lab", "up", "--system=sge", "--accounting"],
    ],
)
def test_a_wrong_command_line_is_usage(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert "rror: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_is_drawn_where_a_person_looks(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "config", "scheduler=slurm", "partition=[bold]x"]
    variables = {**environment, "COLUMNS": "100", "TERM": "xterm", "JOBPOOL_SETUP": "echo \x1b[31m"}
    process = subprocess.Popen(command, env=variables, stdout=theirs, cwd=environment["HOME"])
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux: the other side is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "───" in text
    assert "[bold]x" in text
    assert "\\x1b[31m" in text


def test_a_reader_that_has_seen_enough_is_no_error(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*COMMAND, "config", "scheduler=slurm"],
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        cwd=environment["HOME"],
    )
    os.close(writing)
    assert process.stderr == b""


EXIT_CODES = {
    "BatchSystemUnavailable": 2,
    "CallCrashed": 1,
    "CallFailed": 1,
    "CallOutOfMemory": 1,
    "CallTimedOut": 1,
    "ConfigError": 2,
    "InitializerFailed": 1,
    "JobLost": 4,
    "JobPoolError": 1,
    "JobsFailed": 4,
    "NotPicklable": 1,
    "NotUnpicklable": 1,
    "PoolBroken": 4,
    "RequestRefused": 3,
}


def test_every_exception_has_its_exit_code() -> None:
    assert set(EXIT_CODES) == set(errors.__all__) - {"from_data"}
    assert {name: int(exit_code(getattr(errors, name)("x"))) for name in EXIT_CODES} == EXIT_CODES


@pytest.fixture
def probe() -> Any:
    """Add a command that raises what the test gives it."""
    raised: list[BaseException] = []

    @click.command()
    def probe() -> None:
        if raised:
            raise raised[0]

    jobpool.add_command(probe)
    yield raised
    del jobpool.commands["probe"]


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (None, 0, ""),
        (errors.RequestRefused("too long", words="Time limit", advice="ask for 1 h"), 3, "error: too long\n"),
        (errors.JobLost("gone"), 4, "error: gone\n"),
        (errors.CallCrashed("signal 11"), 1, "error: signal 11\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.exceptions.Exit(4), 4, ""),
    ],
)
def test_a_command_raises_and_main_says_it(
    probe: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    raised: BaseException | None,
    code: int,
    said: str,
) -> None:
    probe += [raised] if raised else []
    assert main(["probe"]) == code
    assert said in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(probe: list[BaseException]) -> None:
    probe.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["probe"])


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert plain_table(("a", "long"), [("long", "b"), ("x", "")]) == "a     long\nlong  b\nx\n"
    assert plain_table(("a", "b"), []) == "a  b\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), ((), "none"), (["a", "b"], "a, b"), ({"A": "1"}, "A=1"), ({}, "none"), ("a\nb\x1b", "a\\nb\\x1b")],
)
def test_a_cell_is_one_line_without_control_characters(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.skipif(bool(lab_missing()), reason="needs Debian's packages of SLURM")
def test_a_lab_goes_up_and_down(run: Run, environment: dict[str, str]) -> None:
    up = run("lab", "up", "--nodes", "2")
    try:
        assert up.returncode == 0, up.stderr
        assert up.stdout.startswith("export SLURM_CONF=")
        seen = subprocess.run(
            ["bash", "-c", f"{up.stdout}\nsinfo --noheader --format=%T"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "idle" in seen.stdout
        again = run("lab", "up")
        assert again.returncode == ExitCode.FAILED
        assert "already" in again.stderr
        assert up.stdout.strip() in again.stderr  # for a second shell
    finally:
        down = run("lab", "down", "--json")
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout)["directory"].endswith("/.jobpool/.lab")
    # What the shell that used the lab does next, as the how-to shows it.
    conf = shlex.split(up.stdout)[1].removeprefix("SLURM_CONF=")
    after = run("config", SLURM_CONF=conf)
    assert after.returncode == ExitCode.USAGE
    assert "unset SLURM_CONF" in after.stderr
    gone = run("lab", "down")
    assert (gone.returncode, gone.stderr.startswith("error: there is no lab")) == (ExitCode.FAILED, True)
    assert (Path(environment["HOME"]) / ".jobpool").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(bool(lab_missing()), reason="needs Debian's packages of SLURM")
def test_a_lab_elsewhere_says_how_it_is_ended(run: Run, tmp_path: Path) -> None:
    up = run("lab", "up", "--nodes", "1", "--directory", str(tmp_path / "lab"))
    end = shlex.split(up.stderr.partition("end it with: jobpool ")[2])
    down = run(*end)
    assert (up.returncode, down.returncode) == (ExitCode.DONE, ExitCode.DONE), up.stderr + down.stderr


@pytest.mark.skipif(bool(lab_missing()), reason="needs Debian's packages of SLURM")
def test_a_lab_below_a_name_with_a_space_is_refused_before_its_daemons_fail(run: Run, tmp_path: Path) -> None:
    up = run("lab", "up", "--directory", str(tmp_path / "my home" / "lab"))
    assert up.returncode == ExitCode.FAILED
    assert "a space" in up.stderr
    assert "--directory" in up.stderr
    assert not (tmp_path / "my home").exists()


def test_a_lab_that_cannot_be_says_what_to_install(run: Run) -> None:
    if not lab_missing():
        pytest.skip("all is installed")
    done = run("lab", "up")
    assert done.returncode == ExitCode.USAGE
    assert "apt-get install" in done.stderr
