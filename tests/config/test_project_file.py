"""What a project's file has run is told once, before it runs; and what only looks runs nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobpool import JobPoolExecutor, Pool
from jobpool.cli.main import main
from jobpool.config import resolve
from jobpool.testing import FakeCluster
from jobpool.tools.project_file import LONGEST, tell_what_runs

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cloned repository that leaves a mark when anything of its file runs."""
    place = home / "cloned"
    (place / ".git").mkdir(parents=True)
    (place / "python").write_text(f'#!/bin/sh\ntouch {home}/ran\nexec {sys.executable} "$@"\n')
    (place / "python").chmod(0o755)
    configure(place, f'setup = ["touch {home}/ran"]\npython = "./python"\nenvironment = {{ X_MARK = "1" }}\n')
    monkeypatch.chdir(place)
    return place


def configure(place: Path, text: str) -> None:
    (place / "jobpool.toml").write_text(text)
    (place / "jobpool.toml").chmod(0o644)


def told(capsys: Captured) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "runs this in jobs" in line]


def test_it_is_told_before_the_first_job_and_not_again(project: Path, home: Path, capsys: Captured) -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        (line,) = told(capsys)
        assert pool.submit(os.getenv, "X_MARK").result(60) == "1"
    assert line == (
        f"jobpool: the project's file {project}/jobpool.toml, which is new to you or has changed, runs this in jobs: "
        f"setup=('touch {home}/ran',); python={project}/python; environment={{'X_MARK': '1'}}"
    )
    assert (home / "ran").exists()
    with Pool(1, scheduler="local"):
        assert told(capsys) == []


def test_a_changed_file_is_told_and_what_runs_nothing_is_not(project: Path, capsys: Captured) -> None:
    def settings(**keywords: object) -> resolve.Settings:
        return resolve.resolve({"scheduler": "slurm", **keywords})

    tell_what_runs(settings())
    tell_what_runs(settings())
    assert len(told(capsys)) == 1
    text = (project / "jobpool.toml").read_text()
    configure(project, f"{text}walltime = '1 h'\n")  # which runs nothing
    tell_what_runs(settings())
    assert told(capsys) == []
    configure(project, f"{text}[slurm]\njob_extra = ['--container=x']\n")
    tell_what_runs(settings())
    assert "job_extra=('--container=x',)" in told(capsys)[0]
    configure(project, "setup = []\nwalltime = '1 h'\n")
    tell_what_runs(settings())
    configure(project, "setup = ['evil']\n")
    tell_what_runs(settings(setup=["mine"]))  # one's own counts, and the file's does not run
    assert told(capsys) == []


def test_nothing_in_a_value_hides_the_rest(project: Path, capsys: Captured) -> None:
    configure(project, f"setup = ['echo \\u001b[2K\\r', '{'x' * 2 * LONGEST}']\n")
    tell_what_runs(resolve.resolve({"scheduler": "slurm"}))
    (line,) = told(capsys)
    assert line.isprintable()
    assert "characters more)" in line
    assert "\x1b" not in line
    assert "echo " in line


def test_ones_own_file_is_not_told(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    own = home / ".config/jobpool"
    own.mkdir(parents=True)
    configure(own, "setup = ['true']\n")
    monkeypatch.chdir("/")
    settings = resolve.resolve({"scheduler": "slurm"})
    assert settings.request.setup == ("true",)
    tell_what_runs(settings)
    assert told(capsys) == []


@pytest.mark.parametrize(
    "command",
    [["check"], ["check", "--start"], ["explain"], ["list"], ["list", "--all"], ["config"], ["doctor", "--no-job"]],
)
@pytest.mark.parametrize("system", ["local", "slurm"])
def test_what_only_looks_runs_nothing_of_it(
    project: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured,
    system: str, command: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("JOBPOOL_SCHEDULER", system)
    with FakeCluster(tmp_path / "fake") as cluster:
        for name, value in cluster.environment.items() if system == "slurm" else ():
            monkeypatch.setenv(name, value)
        main(command)
        assert not cluster.queue
    assert told(capsys) == []
    assert not (home / "ran").exists()


@pytest.mark.parametrize("command", ["doctor", "measure"])
def test_a_command_that_runs_a_job_tells_it_first(project: Path, home: Path, command: str) -> None:
    arguments = {"doctor": [], "measure": ["math:sqrt", "--literal", "4", "--once"]}[command]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", command, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "JOBPOOL_SCHEDULER": "local"},
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("jobpool: ")]
    assert "runs this in jobs" in lines[0]
    assert sum("runs this in jobs" in line for line in lines) == 1
    assert (home / "ran").exists()
