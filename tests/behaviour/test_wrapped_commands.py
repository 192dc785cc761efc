"""A site's own programs around SLURM's: one that refuses in its own way, takes files only, or shows an old listing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sites import PATIENCE, FakeSite, Site

import jobpool
from jobpool.model.errors import RequestRefused

Wrap = Callable[[str, str], None]

FILES_ONLY = """
for word; do script=$word; done
[ -f "$script" ] || { echo "this site takes job scripts as files only"; exit 1; }
[ "$(stat -c %a "$script")" = 600 ] || { echo "others can read $script"; exit 1; }
real "$@" < /dev/null
"""

CACHED = """
import os, subprocess, sys, time

def listing(words):
    return subprocess.run(["squeue", *words], capture_output=True, text=True, check=True).stdout

cache = {cache!r}
words = [word for word in sys.argv[1:] if not word.startswith("--name=")]
names = next(word[7:].split(",") for word in sys.argv if word.startswith("--name="))
if not os.path.exists(cache) or time.time() - os.stat(cache).st_mtime > {age}:
    text = listing(words)
    with open(cache, "w") as file:
        file.write(text)
print("".join(line for line in open(cache) if line.split("|")[2] in names), end="")
"""


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def wrap(tmp_path: Path, slurm_site: Site, monkeypatch: pytest.MonkeyPatch) -> Wrap:
    """Return a function that puts a shell program in front of one of SLURM's, which is ``real`` in it."""
    return lambda program, text: put_in_front(tmp_path / "bin", program, text, monkeypatch)


def put_in_front(folder: Path, program: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = os.environ["PATH"]
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{behind}")
    script = folder / program
    script.write_text(f"#!/bin/bash\nreal() {{ PATH='{behind}' command {program} \"$@\"; }}\n{text}")
    script.chmod(0o700)


def test_a_refusal_on_stdout(slurm_site: Site, wrap: Wrap) -> None:
    wrap("sbatch", "echo 'sbatch: error: project bio has no hours left'; exit 1\n")
    with slurm_site.pool(1) as pool:
        error = pool.submit(double, 1).exception(PATIENCE)
    assert isinstance(error, RequestRefused)
    assert error.words == "sbatch: error: project bio has no hours left"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_refusal_in_words_of_its_own(fake_site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "echo 'this site takes job scripts as files only'; exit 1\n"
    put_in_front(tmp_path / "bin", "sbatch", text, monkeypatch)
    with fake_site.pool(1) as pool:
        # Three submits with pauses of 15 and 30 s, each looked up for 10 s and more.
        error = pool.submit(double, 1).exception(3 * PATIENCE)
    assert isinstance(error, RequestRefused)
    assert "files only" in str(error.words)


def test_a_script_as_a_file(slurm_site: Site, wrap: Wrap) -> None:
    wrap("sbatch", FILES_ONLY)
    for workers in (1, 2):  # a single job, and an array
        with slurm_site.pool(workers, submit_by="file") as pool:
            assert list(pool.map(double, range(workers))) == [2 * number for number in range(workers)]
    verdict = jobpool.check(start=True, scheduler="slurm", submit_by="file")
    assert verdict.ok
    assert verdict.starts_in is not None


@pytest.fixture
def pending(slurm_site: Site) -> Iterator[dict[str, object]]:
    """Let jobs wait longer than three polls; yield the keywords of a pool there."""
    seconds = 10
    if not isinstance(slurm_site, FakeSite):
        yield {"job_extra": [f"--begin=now+{seconds}"]}
        return
    slurm_site.cluster.start_delay = seconds
    yield {}
    slurm_site.cluster.start_delay = 0.0


def test_jobs_that_an_old_listing_does_not_show_yet(
    slurm_site: Site, wrap: Wrap, tmp_path: Path, pending: dict[str, object]
) -> None:
    (tmp_path / "squeue.py").write_text(CACHED.format(cache=str(tmp_path / "listing"), age=60))
    (tmp_path / "listing").touch()  # made a moment before the jobs
    wrap("squeue", f"PATH=\"${{PATH#*:}}\" exec '{sys.executable}' -I '{tmp_path / 'squeue.py'}' \"$@\"\n")
    with slurm_site.make(2, **pending) as pool:
        futures = [pool.submit(double, number) for number in range(2)]
        assert [future.result(PATIENCE) for future in futures] == [0, 2]
        assert len(pool.status().jobs) == 2
        assert "new jobs avoid" not in str(pool.status().notices)
        (tmp_path / "squeue.py").write_text(CACHED.format(cache=str(tmp_path / "listing"), age=0))
