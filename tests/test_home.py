"""The pool's directory: private, whole, and known to be dead or alive."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobpool import JobPoolExecutor
from jobpool.cli.main import ExitCode, main
from jobpool.host.home import KEEP_LOGS, Damaged, PoolDirectory, check_private, home, process_started
from jobpool.model.errors import ConfigError, JobPoolError
from jobpool.server.spec import Spec
from jobpool.transport import tls


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def connection(**changes: object) -> bytes:
    """Return what a server would write that is this process."""
    mine = {"host": os.uname().nodename, "pid": os.getpid(), "started": process_started(os.getpid())}
    return json.dumps({**mine, "port": 1, "addresses": ["127.0.0.1"], **changes}).encode()


def as_alive(directory: PoolDirectory, **changes: object) -> None:
    directory.write("connection.json", connection(**changes))


def test_all_of_it_is_closed_to_others_whatever_the_umask() -> None:
    before = os.umask(0)
    try:
        directory = PoolDirectory.create("mine")
        directory.write("key.pem", b"secret")
        directory.append("submissions", "jp-mine-1")
    finally:
        os.umask(before)
    assert mode(home()) == mode(directory.path) == mode(directory.logs) == 0o700
    assert mode(directory.path / "key.pem") == mode(directory.path / "submissions") == 0o600


def test_a_place_that_others_may_write_to_is_refused() -> None:
    home().mkdir(mode=0o777)
    home().chmod(0o777)
    with pytest.raises(ConfigError, match="open to other users") as caught:
        PoolDirectory.create(None)
    assert "chmod 700" in str(caught.value)


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    home().parent.mkdir(exist_ok=True)
    home().symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="not a link"):
        PoolDirectory.create(None)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a directory of somebody else")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        check_private(theirs)


def test_a_name_in_use_is_refused_and_a_dead_pools_name_is_free() -> None:
    first = PoolDirectory.create("mine")
    as_alive(first)
    with pytest.raises(ConfigError, match="running already"):
        PoolDirectory.create("mine")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    as_alive(first, pid=int(gone.stdout), started=1)
    assert PoolDirectory.create("mine").connection() is None


def test_a_pid_that_is_somebody_elses_by_now_is_not_the_server() -> None:
    directory = PoolDirectory.create("mine")
    other_start = (process_started(os.getpid()) or 0) - 1
    as_alive(directory, started=other_start)
    assert not directory.alive()


def test_a_server_on_another_host_counts_as_alive() -> None:
    directory = PoolDirectory.create("mine")
    as_alive(directory, host="elsewhere")
    assert directory.alive()


def test_a_relative_home_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBPOOL_HOME", "pools")
    assert PoolDirectory.create("mine").path == tmp_path / "pools" / "mine"


def test_a_line_that_a_crash_cut_off_is_left_out() -> None:
    directory = PoolDirectory.create("mine")
    directory.append("submissions", "jp-mine-1")
    with (directory.path / "submissions").open("a") as file:
        file.write("jp-mi")
    assert directory.lines("submissions") == ["jp-mine-1"]


def test_an_end_takes_the_keys_and_leaves_the_logs() -> None:
    directory = PoolDirectory.create("mine")
    directory.write("key.pem", b"secret")
    (directory.logs / "job.log").write_text("words")
    directory.retire(keep_logs=True)
    assert not (directory.path / "key.pem").exists()
    assert (directory.logs / "job.log").read_text() == "words"


def test_sweeping_spares_pools_with_jobs_and_fresh_logs_and_deletes_old_ones() -> None:
    old, fresh, owing = (PoolDirectory.create(name) for name in ("old", "fresh", "owing"))
    owing.append("submissions", "jp-owing-1")
    for directory in (old, owing):
        directory.write("key.pem", b"secret")
        long_ago = directory.path.stat().st_mtime - KEEP_LOGS - 60
        os.utime(directory.path, (long_ago, long_ago))
    PoolDirectory.sweep()
    assert {directory.name for directory in PoolDirectory.all()} == {"fresh", "owing"}
    assert (owing.path / "key.pem").exists()
    assert fresh.logs.is_dir()


@pytest.mark.parametrize("name", ["", "nobody", "../etc", "a/b"])
def test_a_pool_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(JobPoolError, match="there is no pool named"):
        PoolDirectory.open(name)


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half_of_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = PoolDirectory.create("full")
    directory.append("submissions", "jp-full-1")
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:4]))
        with pytest.raises(OSError, match="No space left"):
            directory.append("submissions", "jp-full-2")
    directory.append("submissions", "jp-full-3")
    assert directory.lines("submissions") == ["jp-full-1", "jp-full-3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a directory of another user's; this needs root")
def test_keys_and_settings_of_a_directory_that_another_user_has_put_there_are_not_read() -> None:
    """Whoever may write in a folder above the home can exchange it: the server would run code of theirs."""
    directory = PoolDirectory.create("mine")
    tls.make_keys(directory)
    directory.write("spec.msgpack", pickle.dumps("theirs"))
    os.chown(directory.path, 65534, 65534)
    for read in (
        lambda: Spec.load(directory),
        lambda: tls.client_context(directory.path),
        lambda: tls.server_context(directory.path),
    ):
        with pytest.raises(PermissionError, match=r"another user \(uid 65534\)"):
            read()


def hollow(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "no pid": lambda path: path.write_text(json.dumps({"host": os.uname().nodename, "port": 1})),
    "a pid that is none": lambda path: path.write_bytes(connection(pid="four")),
    "a pid that means a group": lambda path: path.write_bytes(connection(pid=-99_999_999, started=None)),
    "a list": lambda path: path.write_text("[1]"),
    "deep": lambda path: path.write_text("[" * 1_000_000),
    "huge": hollow(2**40),
    "a directory": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pool_whose_address_is_damaged_is_named_and_passed_over_with_all_it_has(
    damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    other = PoolDirectory.create("other")
    other.write("key.pem", b"secret")
    os.utime(other.path, (1, 1))  # old enough for its logs to be deleted, were it known to be dead
    DAMAGES[damage](other.path / "connection.json")
    (told,) = PoolDirectory.sweep()
    assert f"{other.path}/connection.json cannot be read" in str(told)
    assert "jobpool stop other" in str(told)
    assert (other.path / "key.pem").read_bytes() == b"secret"
    with pytest.raises(Damaged, match="it is not known whether the pool 'other' runs"):
        PoolDirectory.create("other")
    assert main(["list", "--json"]) == ExitCode.DONE
    listed = capfd.readouterr()
    assert [(row["name"], row["state"]) for row in json.loads(listed.out)] == [("other", "damaged")]
    assert "connection.json" in listed.err
    for command in (["stop", "other"], ["status", "other"], ["top", "other"], ["logs", "other"]):
        assert main(command) != ExitCode.DONE
        assert "connection.json" in capfd.readouterr().err


def test_a_damaged_pool_stops_no_other_one_and_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    DAMAGES["a pipe"](PoolDirectory.create("other").path / "connection.json")
    for _ in range(2):
        with JobPoolExecutor(1, scheduler="local") as pool:
            assert pool.submit(abs, -1).result(60) == 1
    assert capfd.readouterr().err.count("it is not known whether the pool 'other' runs") == 1


def test_a_list_of_submissions_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    other = PoolDirectory.create("other")
    other.write("spec.msgpack", b"")
    os.utime(other.path / "spec.msgpack", (1, 1))
    (other.path / "submissions").write_bytes(b"\xff\n")
    (told,) = PoolDirectory.sweep()
    assert "submissions cannot be read" in str(told)
    assert (other.path / "spec.msgpack").exists()


def test_what_is_a_link_among_the_pools_is_none(tmp_path: Path) -> None:
    PoolDirectory.create("mine")
    (tmp_path / "logs").mkdir()
    (tmp_path / "key.pem").write_text("somebody's own")
    (home() / "linked").symlink_to(tmp_path)
    PoolDirectory.sweep()
    assert [directory.name for directory in PoolDirectory.all()] == ["mine"]
    assert (tmp_path / "key.pem").exists()


def test_a_pool_is_being_started_by_the_clock_of_its_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of this host may be minutes, or days, before or behind it."""
    fresh, old = (PoolDirectory.create(name) for name in ("fresh", "old"))
    for directory in (fresh, old):
        directory.write("spec.msgpack", b"")
        directory.write("key.pem", b"secret")
        directory.server_log.touch()
    os.utime(old.path / "spec.msgpack", (1, 1))
    shown = time.time
    for off in (-86400.0, 86400.0, 10 * KEEP_LOGS):
        monkeypatch.setattr(time, "time", lambda off=off: shown() + off)
        assert (fresh.alive(), old.alive()) == (True, False)
        PoolDirectory.sweep()
        assert (fresh.path / "key.pem").exists()
        assert old.logs.exists()
    assert not (old.path / "key.pem").exists()


def test_submissions_that_are_made_at_the_same_time_write_a_file_that_they_share() -> None:
    directory, text = PoolDirectory.create(None), b"export A=1\n" * 1000
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: directory.write("environment.sh", text), range(100)))
    assert (directory.path / "environment.sh").read_bytes() == text
