"""The caller's variables: jobs have them, and nobody else can read them, on every batch system."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from jobpool.batch import environment_file
from jobpool.batch.base import JobScript
from jobpool.batch.registry import SYSTEMS, get
from jobpool.host.home import PoolDirectory
from jobpool.model.job import JobId
from jobpool.model.request import Request

REAL = [name for name, entry in SYSTEMS.items() if entry.commands and entry.listed]
SECRET = "t0ken-of-the-caller"
OWN = "t0ken-of-the-setting"
IDS = {"pbs": JobId("1.node1"), "htcondor": JobId("1.0")}


def job() -> JobScript:
    return JobScript(
        name="jp-pool-1",
        request=Request(),
        directory=Path("/pools/one"),
        log_directory=Path("/pools/one/logs"),
        working_directory=Path("/home/me"),
        argv=("/usr/bin/python3", "-m", "agent"),
        environment={"OWN_KEY": OWN},
    )


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.parametrize("name", REAL)
def test_what_stays_of_a_submission_and_what_others_can_read_holds_no_variable(
    name: str, count: int, by_file: bool, tmp_path: Path
) -> None:
    made = get(name, tmp_path).prepare(
        replace(job(), by_file=by_file), count=count, environment={"API_KEY": SECRET, "PATH": "/bin"}
    )
    kept = {file: text for file, text in made.files.items() if file != environment_file.FILE}
    assert SECRET not in f"{kept} {made.command!r}"
    if environment_file.FILE in made.files:
        assert OWN not in f"{kept} {made.command!r}"
        assert OWN in made.files[environment_file.FILE]
    handed_on = dict(made.command.environment or ()).get("API_KEY") == SECRET
    assert handed_on or SECRET in made.files[environment_file.FILE]


@pytest.mark.parametrize("name", REAL)
def test_a_submit_command_sees_what_the_others_see_of_a_login_on_another_host(name: str, tmp_path: Path) -> None:
    system = get(name, tmp_path)
    submit = system.prepare(job(), count=1, environment={}).command
    (cancel, *_) = system.cancel([], [IDS.get(name, JobId("1"))])
    assert submit.unset == cancel.unset
    assert submit.unset.prefixes


def test_the_file_goes_with_the_keys_of_the_pool() -> None:
    pool = PoolDirectory.create(None)
    pool.write(environment_file.FILE, b"export A=1\n")
    pool.write("job.sh", b"")
    pool.retire(keep_logs=True)
    assert not (pool.path / environment_file.FILE).exists()
    assert (pool.path / "job.sh").exists()


def test_a_script_reads_it_and_goes_on_where_it_is_gone(tmp_path: Path) -> None:
    pool = tmp_path / 'it\'s "one"'
    pool.mkdir()
    script = f'{environment_file.reading(pool)}\necho "$A|$TMPDIR|$B"'
    given = {"A": "it's\n$(x)", "TMPDIR": "/mine", "BASHOPTS": "x", "BASH_FUNC_f%%": "() { :; }", "L": "x" * 131_072}
    text = environment_file.text(environment_file.handed_on({**given, "B": "the caller's"}), {"B": "its own"})
    (pool / environment_file.FILE).write_text(text)
    run = ["bash", "-c", script]
    told = subprocess.run(run, env={"TMPDIR": "/its"}, capture_output=True, check=True).stdout
    assert told == b"it's\n$(x)|/its|its own\n"
    (pool / environment_file.FILE).unlink()
    assert subprocess.run(run, env={}, capture_output=True, check=True).stdout == b"||\n"
