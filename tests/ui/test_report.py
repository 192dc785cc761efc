"""The report of a run: while it goes on, after its end, and what is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jobpool import JobPoolError, JobPoolExecutor
from jobpool.model.run_record import RunRecord

COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", "report"]


class Page(HTMLParser):
    """Reads a page, and fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def look(clip: int) -> int:
    print(f"<b>clip {clip}</b>")
    if clip % 4 == 3:
        raise ValueError(f"<script>alert({clip})</script>")
    return clip


def test_a_report_tells_what_happened_and_needs_nothing_else(tmp_path: Path) -> None:
    with JobPoolExecutor(2, scheduler="local", name="mine", memory="16 GiB") as pool:
        futures = [pool.submit(look, clip) for clip in range(20)]
        assert sum(future.exception() is not None for future in futures) == 5
        assert list(pool.map(abs, range(-5000, 0))) == list(range(5000, 0, -1))
        while_it_runs = Page(pool.report(tmp_path / "running.html").read_text())
    after = Page(pool.report(tmp_path / "after.html").read_text())
    for page in (while_it_runs, after):
        assert "5015 calls done, 5 failed" in page.words
        assert "ValueError: <script>alert(3)</script>" in page.words
        assert "<b>clip 3</b>" in page.words
        assert "script" not in page.seen
        assert page.links == []
        assert {"svg", "rect", "table"} <= set(page.seen)
        assert "asked 16 GiB for a worker" in page.words
        assert page.words.count("look: raised, from") == 5
        assert re.search(r"The 50\d\d calls shorter than 0.02 s are merged", page.words)

    done = subprocess.run([*COMMAND, "mine", "--json"], capture_output=True, text=True, check=True, timeout=60)
    record = json.loads(done.stdout)
    assert {entry["name"]: entry["done"] for entry in record["functions"]} == {"look": 15, "abs": 5000}
    (job,) = record["jobs"]
    assert job["calls"] == 5020
    assert [state for state, _ in job["stations"]][-2:] == ["closing", "ended"]
    assert len(json.dumps(record)) < 100_000
    typed = RunRecord.from_data(record)
    assert typed.as_data() == record
    assert [call.name for call in typed.failed] == ["look"] * 5
    assert typed.jobs[0].stations[-1].state == "ended"


def read(name: str) -> None:
    raise ValueError(f"cannot read {name}")


def test_a_name_that_is_no_utf8_in_what_a_call_raised_spoils_neither_report_nor_pool(tmp_path: Path) -> None:
    with JobPoolExecutor(1, scheduler="local") as pool:
        assert isinstance(pool.submit(read, "clip\udcfc.mp4").exception(), ValueError)
        pool.report(tmp_path / "running.html")
        assert pool.submit(abs, -1).result() == 1
    after = Page(pool.report(tmp_path / "after.html").read_text(errors="replace"))
    assert "1 calls done, 1 failed" in after.words


def test_a_pool_that_left_no_record_is_said_to_have_none(tmp_path: Path, home: Path) -> None:
    pool = JobPoolExecutor(1, scheduler="local", name="mine")
    pool.shutdown()
    (home / ".jobpool/mine/record.json").unlink()
    with pytest.raises(JobPoolError, match="left no record"):
        pool.report(tmp_path / "run.html")
