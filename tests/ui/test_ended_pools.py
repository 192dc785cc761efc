"""What is still known of a pool whose server was killed in the middle of a run."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobpool import JobPoolExecutor, PoolBroken
from jobpool.core.record.record import Record
from jobpool.host.home import PoolDirectory
from jobpool.model.run_record import RunRecord
from jobpool.server.journal import IDLE, PAUSE, Journal
from jobpool.testing import wait_until

PATIENCE = 60.0


def jobpool(*arguments: str, code: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def hold(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.02)


def track(clip: int) -> int:
    if clip == 3:
        raise ValueError(f"clip {clip} is dark")
    return clip


def written(directory: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((directory / "record.json").read_text())
    except FileNotFoundError:
        return {}
    return record


def test_a_run_whose_server_was_killed_has_a_report_a_status_and_logs(tmp_path: Path, home: Path) -> None:
    place, logs = home / ".jobpool/mine", tmp_path / "logs"
    pool = JobPoolExecutor(2, scheduler="local", name="mine", log_directory=logs)
    running = pool.submit(hold, str(tmp_path / "never"))
    calls = [pool.submit(track, clip) for clip in range(5)]
    assert [call.exception() is None for call in calls] == [True, True, True, False, True]
    assert wait_until(lambda: written(place).get("status", {}).get("calls", {}).get("done") == 4, PATIENCE)
    assert stat.S_IMODE((place / "record.json").stat().st_mode) == 0o600
    os.kill(json.loads((place / "connection.json").read_text())["pid"], signal.SIGKILL)
    with pytest.raises(PoolBroken):
        running.result(timeout=PATIENCE)
    pool.shutdown()

    page = pool.report(tmp_path / "from-python.html").read_text()
    said = jobpool("report", "mine", "-o", str(tmp_path / "run.html"))[1]
    assert "ended without a word" in said
    assert (tmp_path / "run.html").read_text() == page
    for words in (
        "ended without a word",
        "4 calls done, 1 failed, 1 not ended yet",
        "hold: runs, from",
        "clip 3 is dark",
    ):
        assert words in page

    shown, error = jobpool("status", "mine", code=4)
    assert shown.startswith("as it was at ")
    assert "mine on local (died); calls: 0 waiting, 1 running, 4 done, 1 failed" in shown
    assert "is not running" in error
    assert "jobpool report mine" in error
    answer = json.loads(jobpool("status", "mine", "--json", code=4)[0])
    assert (answer["phase"], answer["calls"]["running"], answer["rate"]) == ("died", 1, None)
    assert time.time() - 300 < answer["as_of"] <= time.time()

    listed = json.loads(jobpool("logs", "mine", "--json")[0])
    assert str(logs) in {str(Path(log["path"]).parent) for log in listed}


def test_of_a_pool_that_ended_well_the_last_status_is_shown_too(home: Path) -> None:
    with JobPoolExecutor(1, scheduler="local", name="mine") as pool:
        assert pool.submit(track, 1).result() == 1
    shown, error = jobpool("status", "mine", code=4)
    assert "(finished); calls: 0 waiting, 0 running, 1 done, 0 failed" in shown
    assert error == "note: the pool mine has ended; see what happened with: jobpool report mine\n"


# When it is written


def _nothing() -> RunRecord:
    figures = Record(0.0).figures({}, (), (), 0.0, done=0, failed=0, unresolved=0, notices=())
    return RunRecord.of(figures, name="mine", system="local", host="h", ended_at=0.0, logs=Path("/nowhere/logs"))


class Written(Journal):
    """Writes into a list, at once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.now = 0.0
        super().__init__(PoolDirectory(Path("/nowhere")), _nothing, 0.0)

    def _start(self, record: RunRecord) -> None:
        self.times.append(self.now)

    def run(self, seconds: int) -> Iterator[int]:
        for _ in range(seconds):
            self.now += 1.0
            self.look(self.now)
            yield int(self.now)


def test_it_is_written_soon_at_first_and_rarely_when_nothing_happens() -> None:
    diary = Written()
    for _ in diary.run(60):
        diary.news = True
    assert diary.times == [1, 3, 7, 15, 25, 35, 45, 55]
    assert {late - early for early, late in zip(diary.times[4:], diary.times[5:], strict=False)} == {PAUSE}
    list(diary.run(200))
    assert diary.times[8:] == [65, 65 + IDLE, 65 + 2 * IDLE, 65 + 3 * IDLE]
