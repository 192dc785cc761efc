"""Logs in folders where others may write: nobody reads them, and nobody leads them elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import PATIENCE, FakeSite, Site

from jobpool import ConfigError, JobPoolError, JobPoolExecutor, JobsFailed
from jobpool.executor.start_server import try_to_write
from jobpool.host.private_directory import (
    is_closed_to_others,
    make_directory,
    make_fresh_directory,
    open_directory,
    open_log,
)

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: attempts as another user; this needs root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may write and come to, as a project's is.

    Directly under /tmp: pytest closes the directory of its own to others whenever a run begins.
    """
    top = Path(tempfile.mkdtemp(prefix="jobpool-folder-", dir="/tmp"))
    top.chmod(0o755)
    folder = top / "project"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 0, NOBODY)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(top)


def as_nobody(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command as another user, who is a member of the folder's group."""
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run([*who, *argv], capture_output=True, text=True, timeout=60, check=False, cwd="/")


def say(words: str) -> str:
    print(words)
    return words


def plant(folder: Path, victim: Path) -> None:
    """Have another user put links to a file of ours where a run's logs would be, and to a directory of ours."""
    for number in range(2):
        planted = folder / f"jp-mine-{number}-0"
        assert as_nobody("mkdir", str(planted)).returncode == 0
        for link in (planted / "worker-0.log", folder / f"jp-mine-{number}-0.log"):
            assert as_nobody("ln", "-s", str(victim), str(link)).returncode == 0
    assert as_nobody("ln", "-s", str(victim.parent), str(folder / "jp-mine-2-0")).returncode == 0


def test_where_others_may_write_the_run_has_a_directory_of_its_own(
    site: Site, folder: Path, home: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    if os.geteuid() == 0:
        plant(folder, victim)
    with site.pool(1, name="mine", log_directory=folder) as pool:
        future = pool.submit(say, "secret words")
        assert future.result(PATIENCE) == "secret words"
        assert pool.log_directory.parent == folder
        assert future.job is not None
        assert future.job.log is not None
        assert future.job.log.parent == home / ".jobpool" / "mine" / "logs"  # the batch system follows links
        assert "begins" in future.job.log.read_text()
        for said in (pool.logs(future.job), pool.logs(future.job.id)):
            assert "begins" in said
            assert "secret words" in said
        (worker,) = pool.log_directory.rglob("worker-0.log")
        assert worker.read_text() == "secret words\n"
    assert "secret words" in pool.logs(future.job)
    for path in (pool.log_directory, *pool.log_directory.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077
    if os.geteuid() == 0:
        assert as_nobody("ls", str(pool.log_directory)).returncode != 0
        assert as_nobody("cat", str(worker)).returncode != 0
    assert victim.read_text() == "precious\n"
    assert list(tmp_path.glob("*.log")) == []


def test_two_runs_of_one_name_do_not_meet_in_a_folder(folder: Path) -> None:
    said = []
    for words in ("first", "second"):
        with JobPoolExecutor(1, scheduler="local", name="mine", log_directory=folder) as pool:
            pool.submit(say, words).result(PATIENCE)
            said.append(pool.logs())
    assert ["first" in text for text in said] == [True, False]
    assert len(list(folder.iterdir())) == 2


@as_root
def test_a_directory_that_is_exchanged_is_not_used(fake_site: FakeSite, folder: Path) -> None:
    """By a member of the group, between the start of the pool and that of its job."""
    with fake_site.pool(1, name="mine", log_directory=folder) as pool:
        place = pool.log_directory
        assert as_nobody("mv", str(place), f"{place}.away").returncode == 0
        assert as_nobody("mkdir", "-m", "777", str(place)).returncode == 0
        error = pool.submit(say, "secret words").exception(PATIENCE)
        assert isinstance(error, JobsFailed)
        assert f"belongs to another user (uid {NOBODY})" in str(error)
        with pytest.raises(JobPoolError, match="exchanged"):
            pool.logs()
    assert [path for path in folder.rglob("*") if path not in (place, Path(f"{place}.away"))] == []


def test_neither_a_link_nor_what_others_may_write_is_opened(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "link").symlink_to(mine)
    with pytest.raises(OSError, match="is a link or a file now"):
        open_directory(tmp_path / "link")
    mine.chmod(0o770)
    with pytest.raises(PermissionError, match="open to other users"):
        open_directory(mine)
    mine.chmod(0o700)
    within = open_directory(mine)
    (mine / "open").mkdir()
    (mine / "open").chmod(0o770)  # as where a folder hands on a list of who may write
    os.close(make_directory("open", within=within))
    assert stat.S_IMODE((mine / "open").stat().st_mode) == 0o700
    (tmp_path / "victim").touch()
    (mine / "worker-0.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"worker-0\.log"):
        open_log("worker-0.log", within=within)
    os.close(within)


@as_root
def test_a_folder_of_somebody_else_is_used(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    own = try_to_write(folder, "mine")
    assert own is not None
    assert own.parent == folder
    assert stat.S_IMODE(own.stat().st_mode) & 0o777 == 0o700


def refused(directory: Path) -> str:
    with pytest.raises(ConfigError, match="log_directory") as caught:
        JobPoolExecutor(1, scheduler="local", log_directory=directory)
    assert caught.value.advice
    return str(caught.value)


@as_root
def test_a_link_that_another_user_has_made_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert as_nobody("ln", "-s", str(tmp_path / "mine"), str(folder / "logs")).returncode == 0
    assert f"{folder}/logs is a link that another user has made (uid {NOBODY})" in refused(folder / "logs")
    assert f"{folder}/logs is a link" in refused(folder / "logs" / "below")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_that_all_may_write_needs_the_sticky_bit(folder: Path) -> None:
    folder.chmod(0o777)
    assert "every user can replace" in refused(folder)
    assert "every user can replace" in refused(folder / "logs")
    folder.chmod(0o1777)
    assert try_to_write(folder / "logs") is None  # made just now, and nobody else can take it away
    own = try_to_write(folder)
    assert own is not None
    assert own.parent == folder


def test_a_run_that_does_not_come_about_leaves_no_directory(folder: Path, home: Path) -> None:
    (home / ".jobpool").mkdir()
    (home / ".jobpool").chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        JobPoolExecutor(1, scheduler="local", log_directory=folder)
    assert list(folder.iterdir()) == []


def test_what_is_closed_to_others(folder: Path) -> None:
    top = folder.parent
    mine = top / "mine"
    mine.mkdir(mode=0o755)
    assert is_closed_to_others(mine)
    assert is_closed_to_others(mine / ".." / "mine")
    assert not is_closed_to_others(folder)
    (folder / "below").mkdir(mode=0o700)
    assert not is_closed_to_others(folder / "below")  # its name may lead elsewhere tomorrow
    (top / "link").symlink_to(mine)
    assert not is_closed_to_others(top / "link")
    (mine / "logs").mkdir()
    assert is_closed_to_others(top / "link" / "logs")
    (top / "to folder").symlink_to("project/below")
    (folder / "below" / "logs").mkdir()
    assert not is_closed_to_others(top / "to folder" / "logs")
    (top / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links"):
        is_closed_to_others(top / "round")


def test_a_default_access_control_list_does_not_open_a_fresh_directory(folder: Path) -> None:
    # acl(5) in the kernel's form: version 2, then tag, permissions and id of each entry. All may all, but the others.
    everybody = [(0x01, 7, -1), (0x02, 7, NOBODY), (0x04, 7, -1), (0x10, 7, -1), (0x20, 0, -1)]
    listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in everybody)
    try:
        os.setxattr(folder, "system.posix_acl_default", listed)
    except OSError:
        pytest.skip("NOT TESTED: access control lists; this file system has none")
    place = folder / make_fresh_directory(folder, "jobpool")
    within = open_directory(place)
    os.close(open_log("worker-0.log", within=within))
    os.close(within)
    assert os.getxattr(
        place / "worker-0.log", "system.posix_acl_access"
    )  # it has the folder's list, and its mode masks it
    if os.geteuid() == 0:
        assert as_nobody("ls", str(place)).returncode != 0
        place.chmod(0o755)
        assert as_nobody("cat", str(place / "worker-0.log")).returncode != 0
