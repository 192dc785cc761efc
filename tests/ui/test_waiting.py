"""The one line that tells what a script waits for."""

from __future__ import annotations

import io
import os
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jobpool.model.status import CallCounts, JobStatus, JobWord, PoolStatus, RequestStatus
from jobpool.show import waiting


def snapshot(*jobs: tuple[JobWord, str], held: int | None = None, system: str = "slurm") -> PoolStatus:
    return PoolStatus(
        name="mine",
        system=system,
        host="login",
        pid=1,
        logs=Path("/logs"),
        notices=(),
        time=5.0,
        jobs=tuple(_job(state, reason) for state, reason in jobs),
        calls=CallCounts(waiting=1, running=0, done=0, failed=0),
        functions=(),
        requests=(),
        rate=None,
        left=None,
        held=held,
        phase="open",
    )


def _job(state: JobWord, reason: str) -> JobStatus:
    return JobStatus(
        key=("a", 0), request="", id="1", state=state, reason=reason, node=None, age=3.0, workers=0, busy=0
    )


def _paused(seconds: float) -> RequestStatus:
    return RequestStatus(
        key="",
        workers=0,
        busy=0,
        cores=1,
        memory=None,
        cpus=None,
        used_memory=None,
        largest_memory=None,
        core_hours=0.0,
        pause=seconds,
        pause_reason="jobs end",
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_commonest_reason_is_told_in_the_batch_systems_word_and_in_ours() -> None:
    text = waiting.waiting_text(snapshot(("pending", "Priority"), ("pending", "Resources"), ("pending", "Resources")))
    assert "3 pending" in text
    assert "Resources: " in text
    assert len(text.split("Resources: ")[1]) > 10
    assert "\n" not in text


def test_a_reason_of_a_batch_system_that_explains_none_is_told_as_it_is() -> None:
    text = waiting.waiting_text(snapshot(("pending", "Priority"), system="local"))
    assert text.endswith("; Priority")


def test_calls_that_scale_holds_back_are_told() -> None:
    assert "scale(0) holds the calls back" in waiting.waiting_text(snapshot(held=0))
    assert "3 pending" in waiting.waiting_text(
        snapshot(("pending", "Priority"), ("pending", "Priority"), ("pending", "Priority"), held=3)
    )


def test_a_pause_in_which_no_job_is_asked_for_is_told_in_one_line() -> None:
    told = []
    for seconds in (9.5, 8.0):
        ended = snapshot(("ended", "node failed: NODE_FAIL"))
        told.append(waiting.waiting_text(replace(ended, requests=(_paused(seconds),))))
    assert "none is asked for in a pause: jobs end" in told[0]
    assert told[0] == told[1]


def test_a_short_wait_says_nothing(clock: list[float]) -> None:
    stream = io.StringIO()
    line = waiting.WaitingLine(stream)
    line.show(snapshot(("pending", "")))
    clock[0] += 1
    line.show(snapshot(("pending", "")))
    assert stream.getvalue() == ""


def test_in_a_file_the_same_line_comes_once_a_minute_and_news_at_once(clock: list[float]) -> None:
    stream = io.StringIO()
    line = waiting.WaitingLine(stream)
    for _ in range(62):
        line.show(snapshot(("pending", "Resources")))
        clock[0] += 1
    assert stream.getvalue().count("\n") == 1
    line.show(snapshot(("starting", "")))
    assert "1 starting" in stream.getvalue().splitlines()[-1]


def test_on_a_terminal_it_is_one_line_that_goes_away(clock: list[float]) -> None:
    stream = Terminal()
    line = waiting.WaitingLine(stream)
    for _ in range(10):
        line.show(snapshot(("pending", "Resources")))
        clock[0] += 1
    line.clear()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_a_line_is_cut_to_the_terminal_for_what_wraps_is_not_written_over(clock: list[float]) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as screen:
        line = waiting.WaitingLine(stream)
        for _ in range(2):
            line.show(snapshot(("pending", "JobHeldUser")))
            clock[0] += 3
        shown = screen.read(1000).decode().removeprefix("\r\x1b[2K")
    assert shown.startswith("jobpool: waiting")
    assert shown.endswith("… (3 s)")
    assert len(shown) < 60


def test_a_job_that_ended_before_it_worked_is_told_with_its_reason() -> None:
    text = waiting.waiting_text(snapshot(("ended", "failed: FAILED NonZeroExitCode 127:0")))
    assert "FAILED NonZeroExitCode 127:0" in text
    assert "yet" not in text
    assert "yet" in waiting.waiting_text(snapshot())


def test_a_warning_stays(clock: list[float]) -> None:
    stream = Terminal()
    waiting.WaitingLine(stream).say("mind the step", warning=True)
    assert stream.getvalue() == "jobpool: warning: mind the step\n"
