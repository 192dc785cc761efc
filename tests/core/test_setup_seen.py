"""What the doctor reads of ``setup`` in the log of its job."""

from __future__ import annotations

import subprocess

import pytest

from jobpool.diagnose.finding import Finding, Level
from jobpool.diagnose.setup_lines import SetupSeen, findings, read, timed

LOG = """warning of the batch system
jobpool doctor: setup begins 2026-11-30 23:59:59,250
Loading ffmpeg

bash: line 5: modul: command not found
jobpool doctor: setup ends 2026-12-01 00:00:01,750
container: starts
2026-12-01 00:00:02,500 INFO jobpool.agent job=7 begins
2026-12-01 00:00:03,000 INFO jobpool.agent server=10.0.0.1 port=1 answers
"""
SAID = ("Loading ffmpeg", "bash: line 5: modul: command not found")


def test_a_log_is_read() -> None:
    assert read(LOG) == SetupSeen(seconds=2.5, said=SAID, python=0.75)
    assert read(LOG.partition("container")[0]) == SetupSeen(seconds=2.5, said=SAID, python=None)
    assert read(LOG.replace("setup ends", "")) is None
    assert read("") is None
    # In a container whose time zone is another one.
    other = read(LOG.replace("2026-12-01 00:00:02,500 INFO", "2026-11-30 22:00:02,500 INFO"))
    assert other == SetupSeen(seconds=2.5, said=SAID, python=None)


def test_a_last_line_without_its_end_hides_nothing() -> None:
    script = "\n".join(timed(["set -x", "printf loaded"]))
    done = subprocess.run(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    seen = read(done.stdout)
    assert seen is not None
    assert any("loaded" in line for line in seen.said)


def test_the_lines_are_the_shells() -> None:
    script = "\n".join([*timed(["echo one; echo two >&2", "A=1"]), "echo $A"])
    done = subprocess.run(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    seen = read(done.stdout)
    assert seen is not None
    assert (seen.said, seen.python) == (("one", "two"), None)
    assert 0 <= seen.seconds < 60


@pytest.mark.parametrize(
    ("seconds", "said", "level", "words"),
    [
        (0.2, (), Level.OK, "its 2 lines took 0.2 s in the job, and printed nothing"),
        (0.2, ("Loading",), Level.NOTE, "and printed 'Loading'"),
        (0.2, SAID, Level.WARNING, "modul: command not found"),
        (45.0, (), Level.WARNING, "took 45 s"),
        (0.2, tuple("abcdefg"), Level.NOTE, "printed 'c'; 'd'; 'e'; 'f'; 'g'; and 2 lines before"),
    ],
)
def test_what_is_told_of_setup(seconds: float, said: tuple[str, ...], level: Level, words: str) -> None:
    (found,) = findings(SetupSeen(seconds=seconds, said=said, python=None), ["module load a", "module load b"])
    assert (found.subject, found.level) == ("setup", level)
    assert words in found.text
    assert bool(found.cure) == (level is Level.WARNING)


def test_what_is_told_of_python() -> None:
    (quick,) = findings(SetupSeen(seconds=0, said=(), python=0.7), [])
    assert quick == Finding("python start", Level.OK, "Python had begun 0.7 s after the job was set up")
    (slow,) = findings(SetupSeen(seconds=0, said=(), python=90.0), [])
    assert slow.level is Level.WARNING
    assert list(findings(None, ["a"])) == []
