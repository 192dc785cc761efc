"""Local jobs: real processes, started, watched and ended through the same commands as a cluster's."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from batch_steps import ended, job_script, look, prepare, run, run_all, submit, tracked, until, wait_for

from jobpool.batch.base import Doubtful, Refused, Submitted, Unanswered
from jobpool.batch.local.system import Local
from jobpool.local_jobs.records import load
from jobpool.model.command import Command, Completed
from jobpool.model.job import EndingKind, JobState
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration


@pytest.fixture
def local(tmp_path: Path) -> Local:
    return Local(tmp_path / "local")


def bash(text: str) -> list[str]:
    # $0 and $@: --index N --job-id ID, which the script appends.
    return ["bash", "-c", text, "bash"]


def supervisor(local: Local, name: str) -> psutil.Process:
    record = load(local.directory / name)
    assert record is not None
    return psutil.Process(record.pid)


def carrying(word: str) -> list[psutil.Process]:
    """All living processes with this word in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_jobs_run_with_index_and_id_and_write_their_logs(local: Local, tmp_path: Path) -> None:
    job = job_script(tmp_path, bash('echo "$@" $COLOUR; pwd; echo oops >&2'), environment={"COLOUR": "it's \n blue"})
    ids = submit(local, job, 3)
    seen = wait_for(local, "test", ended(3))
    assert [seen[index].id for index in range(3)] == list(ids)
    assert {job.ending.kind for job in seen.values() if job.ending} == {EndingKind.COMPLETED}
    for index, id in enumerate(ids):
        log = local.log_path(job, id, index)
        assert log.read_text() == f"--index {index} --job-id {id} --notice TERM it's blue\n{tmp_path}\noops\n"
        assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "kind", "exit_code", "number"),
    [
        ("exit 3", EndingKind.FAILED, 3, None),
        ("kill -SEGV $$", EndingKind.FAILED, None, signal.SIGSEGV),
        ("kill -KILL $$", EndingKind.FAILED, None, signal.SIGKILL),
        ("true", EndingKind.COMPLETED, 0, None),
    ],
)
def test_endings(
    local: Local, tmp_path: Path, text: str, kind: EndingKind, exit_code: int | None, number: int | None
) -> None:
    submit(local, job_script(tmp_path, bash(text)))
    ending = wait_for(local, "test", ended(1))[0].ending
    assert ending is not None
    assert (ending.kind, ending.exit_code, ending.signal) == (kind, exit_code, number)


def test_a_missing_log_directory_is_a_failed_launch(local: Local, tmp_path: Path) -> None:
    job = job_script(tmp_path / "nowhere", bash("true"))
    submit(local, job)
    ending = wait_for(local, "test", ended(1))[0].ending
    assert ending is not None
    assert ending.kind is EndingKind.LAUNCH_FAILED
    assert "No such file or directory" in ending.words
    assert "nowhere" in ending.words


def test_walltime_ends_a_job(local: Local, tmp_path: Path) -> None:
    text = "trap 'echo TERM; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    job = job_script(tmp_path, bash(text), request=Request(walltime=Duration(1)))
    ids = submit(local, job)
    ending = wait_for(local, "test", ended(1))[0].ending
    assert ending is not None
    assert (ending.kind, ending.limit) == (EndingKind.TIMED_OUT, "1 s")
    log = local.log_path(job, ids[0], 0).read_text()
    assert "DUE TO TIME LIMIT" in log
    assert "TERM\n" in log


def test_a_job_that_ignores_sigterm_is_killed(local: Local, tmp_path: Path) -> None:
    ids = submit(local, job_script(tmp_path, bash("trap '' TERM; touch up; while :; do sleep 0.05; done")))
    until((tmp_path / "up").exists)
    begun = time.monotonic()
    [cancel] = local.cancel((), ids)
    assert local.parse_cancel(run(cancel)) is None
    wait_for(local, "test", lambda seen: seen[0].state is JobState.COMPLETING)
    ending = wait_for(local, "test", ended(1))[0].ending
    assert ending is not None
    assert (ending.kind, ending.signal) == (EndingKind.CANCELLED, signal.SIGKILL)
    assert 9 < time.monotonic() - begun < 20


def test_cancel_takes_names_and_single_jobs_in_one_command(local: Local, tmp_path: Path) -> None:
    for name in ("one", "two"):
        submit(local, job_script(tmp_path, bash("exec sleep 300"), name=name), 3)
    commands = local.cancel(tracked("one"), ["two.1"])  # type: ignore[list-item]
    assert len(commands) == 1
    assert local.parse_cancel(run(commands[0])) is None
    wait_for(local, "one", ended(3))
    seen = wait_for(local, "two", ended(1))
    assert [seen[index].state for index in range(3)] == [JobState.RUNNING, JobState.ENDED, JobState.RUNNING]
    assert {job.name for job in look(local, "one", "two", "unknown").values()} == {"two"}
    run(*local.cancel(tracked("two"), ()))
    wait_for(local, "two", ended(3))
    # Nothing left to cancel, and unknown names, are no failure.
    assert local.parse_cancel(run(*local.cancel(tracked("one", "unknown"), ["two.7"]))) is None  # type: ignore[list-item]


def test_nothing_that_a_job_started_outlives_it(local: Local, tmp_path: Path) -> None:
    word = f"3{os.getpid()}"
    text = f"""
        sleep {word} & setsid sleep {word} & (setsid bash -c 'sleep {word} & sleep {word}' &) ; env -i sleep {word} &
        touch up
        while ! [ -e go ]; do sleep 0.05; done
    """
    submit(local, job_script(tmp_path, bash(text)))
    until(lambda: len(carrying(word)) == 5)
    (tmp_path / "go").touch()
    wait_for(local, "test", ended(1))
    assert carrying(word) == []


def test_daemons_of_a_living_job_stay_when_another_ends(local: Local, tmp_path: Path) -> None:
    word = f"4{os.getpid()}"
    text = (
        f"(setsid sleep {word} &); if [ $2 = 0 ]; then while ! [ -e go ]; do sleep 0.05; done; else exec sleep 300; fi"
    )
    submit(local, job_script(tmp_path, bash(text)), 2)
    until(lambda: len(carrying(word)) == 2)
    (tmp_path / "go").touch()
    wait_for(local, "test", ended(1))
    assert len(carrying(word)) == 1
    run(*local.cancel(tracked("test"), ()))
    wait_for(local, "test", ended(2))
    assert carrying(word) == []


def test_killing_the_supervisor_kills_its_jobs(local: Local, tmp_path: Path) -> None:
    word = f"5{os.getpid()}"
    submit(local, job_script(tmp_path, bash(f"(setsid sleep {word} &); sleep {word}; true")), 2)
    until(lambda: len(carrying(word)) == 4)
    supervisor(local, "test").send_signal(signal.SIGKILL)
    seen = wait_for(local, "test", ended(2))
    assert {job.ending.kind for job in seen.values() if job.ending} == {EndingKind.LOST}
    assert "supervisor" in seen[0].words
    assert carrying(word) == []


def test_the_supervisor_ends_with_its_last_job_and_answers_stay(local: Local, tmp_path: Path) -> None:
    submit(local, job_script(tmp_path, bash("while ! [ -e go ]; do sleep 0.05; done")))
    process = supervisor(local, "test")
    (tmp_path / "go").touch()
    wait_for(local, "test", ended(1))
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert look(local, "test")[0].state is JobState.ENDED


def test_a_stranger_with_the_supervisors_number_is_left_alone(local: Local, tmp_path: Path) -> None:
    submit(local, job_script(tmp_path, bash("exec sleep 300")))
    process = supervisor(local, "test")
    stranger = psutil.Popen(["sleep", "300"])
    try:
        record_file = local.directory / "test" / "record.json"
        # As if the supervisor had died and its number were taken by another process.
        record_file.write_text(record_file.read_text().replace(f'"pid": {process.pid}', f'"pid": {stranger.pid}'))
        run(*local.cancel(tracked("test"), ()))
        wait_for(local, "test", ended(1))
        assert stranger.is_running()
        assert stranger.status() != psutil.STATUS_ZOMBIE
    finally:
        stranger.kill()
        stranger.wait()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_a_name_in_use_is_refused(local: Local, tmp_path: Path) -> None:
    job = job_script(tmp_path, bash("true"))
    submit(local, job)
    answer = local.parse_submit(run(prepare(local, job).command), count=1)
    assert isinstance(answer, Refused)
    assert "exists already" in answer.words
    wait_for(local, "test", ended(1))


def test_an_unwritable_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    local = Local(tmp_path / "file" / "local")
    job = job_script(tmp_path, bash("true"))
    command = prepare(local, job).command
    assert isinstance(local.parse_submit(run(command), count=1), Refused)


def test_many_old_submissions_are_cheap_to_poll(local: Local, tmp_path: Path) -> None:
    submit(local, job_script(tmp_path, bash("true")))
    wait_for(local, "test", ended(1))
    record = (local.directory / "test" / "record.json").read_text()
    names = [f"old-{number}" for number in range(300)]
    for name in names:
        (local.directory / name).mkdir()
        (local.directory / name / "record.json").write_text(record.replace('"test"', f'"{name}"'))
    begun = time.process_time(), time.monotonic()
    answer = local.parse_poll(run_all(local.poll(tracked(*names))), ())
    assert isinstance(answer, tuple)
    assert len(answer) == 300
    assert time.monotonic() - begun[1] < 2


def test_nothing_is_limited(local: Local) -> None:
    assert local.limits("you") == ()
    assert local.parse_limits([]) == Limits()


def test_a_python_that_is_not_there_is_doubtful_and_unanswered(tmp_path: Path) -> None:
    local = Local(tmp_path, python=str(tmp_path / "python"))
    made = prepare(local, job_script(tmp_path, ["true"]))
    assert isinstance(local.parse_submit(run(made.command), count=1), Doubtful)
    assert isinstance(local.parse_poll(run_all(local.poll(tracked("test"))), ()), Unanswered)


def test_answers_that_are_not_ours_are_not_believed(local: Local) -> None:
    command = Command(("x",))
    for text in ("", "null", "[]", '{"jobs": 3}', '{"jobs": [1]}', "[" * 100_000):
        assert isinstance(local.parse_submit(Completed(command, 0, text), count=1), Doubtful)
        assert not isinstance(local.parse_poll([Completed(command, 1, text)], ()), tuple)
    assert local.parse_submit(Completed(command, 0, '{"jobs": ["a.0"]}'), count=1) == Submitted(("a.0",))  # type: ignore[arg-type]
    assert local.python == sys.executable
