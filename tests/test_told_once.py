"""What a user was told before is not told again: by any process, and whatever the home is like."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobpool.host import told_once
from jobpool.host.told_once import first_time

ASK = "import sys; from jobpool.host.told_once import first_time; sys.exit(not first_time('site', daily=True))"


def test_once(home: Path) -> None:
    assert [first_time("file 1"), first_time("file 1"), first_time("file 2")] == [True, False, True]
    place = home / ".jobpool/.told"
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert place.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}


def test_once_a_day(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert [first_time("site", daily=True), first_time("site", daily=True)] == [True, False]
    later = time.time() + told_once.DAY
    monkeypatch.setattr(time, "time", lambda: later)
    assert [first_time("site", daily=True), first_time("site", daily=True)] == [True, False]
    assert len(list((home / ".jobpool/.told").iterdir())) == 1  # yesterday's is gone


def test_of_many_processes_one_tells_it() -> None:
    processes = [subprocess.Popen([sys.executable, "-c", ASK]) for _ in range(4)]
    assert sorted(process.wait(timeout=60) for process in processes) == [0, 1, 1, 1]


def test_the_notes_are_bounded(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(told_once, "MOST", 10)
    assert all(first_time(f"file {number}") for number in range(35))
    assert len(list((home / ".jobpool/.told").iterdir())) <= 10
    assert not first_time("file 34")


def test_where_nothing_can_be_noted_it_is_told(home: Path, tmp_path: Path) -> None:
    (home / ".jobpool").mkdir(mode=0o700)
    (home / ".jobpool/.told").symlink_to(tmp_path)
    assert [first_time("site"), first_time("site")] == [True, True]
    assert list(tmp_path.iterdir()) == []
