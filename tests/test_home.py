"""The pool's directory: private, whole, and known to be dead or alive."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jobpool import tls
from jobpool.errors import ConfigError, JobPoolError
from jobpool.home import KEEP_LOGS, PoolDirectory, check_private, home, process_started
from jobpool.server.spec import Spec


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_alive(directory: PoolDirectory, pid: int, host: str | None = None) -> None:
    connection = {"host": host or os.uname().nodename, "pid": pid, "started": process_started(pid)}
    directory.write("connection.json", json.dumps(connection).encode())


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
    as_alive(first, os.getpid())
    with pytest.raises(ConfigError, match="running already"):
        PoolDirectory.create("mine")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    as_alive(first, os.getpid())
    first.write(
        "connection.json", json.dumps({"host": os.uname().nodename, "pid": int(gone.stdout), "started": 1}).encode()
    )
    assert PoolDirectory.create("mine").connection() is None


def test_a_pid_that_is_somebody_elses_by_now_is_not_the_server() -> None:
    directory = PoolDirectory.create("mine")
    other_start = (process_started(os.getpid()) or 0) - 1
    connection = {"host": os.uname().nodename, "pid": os.getpid(), "started": other_start}
    directory.write("connection.json", json.dumps(connection).encode())
    assert not directory.alive()


def test_a_server_on_another_host_counts_as_alive() -> None:
    directory = PoolDirectory.create("mine")
    as_alive(directory, os.getpid(), host="elsewhere")
    assert directory.alive()


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
    directory.write("settings.pickle", pickle.dumps("theirs"))
    os.chown(directory.path, 65534, 65534)
    for read in (
        lambda: Spec.load(directory),
        lambda: tls.client_context(directory.path),
        lambda: tls.server_context(directory.path),
    ):
        with pytest.raises(PermissionError, match=r"another user \(uid 65534\)"):
            read()
