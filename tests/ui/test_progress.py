"""How far a map is: whole lines in a file, a bar in a terminal."""

from __future__ import annotations

import io
import sys
import weakref

import pytest

from jobpool.show.progress import EVERY, FIRST, Lines, with_progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_a_line_now_and_then_with_what_is_left() -> None:
    clock, out = Clock(), io.StringIO()
    lines = Lines(out, 200, clock=clock)
    for _ in range(100):
        clock.now += 3
        lines.update()
    lines.close()
    said = out.getvalue()
    assert "\r" not in said
    written = said.splitlines()
    assert len(written) == 1 + int((300 - FIRST) // EVERY) + 1
    assert written[0] == "jobpool: 4 of 200 calls (2 %), about 9 min 48 s left after 12 s"
    assert written[-1] == "jobpool: 100 of 200 calls (50 %), about 5 min left after 5 min"


def test_what_is_over_in_seconds_writes_nothing_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(with_progress(iter(range(1000)), 1000)) == list(range(1000))
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    assert list(with_progress(iter(range(1000)), 1000)) == list(range(1000))
    assert "1000/1000" in out.getvalue()


def test_a_stream_that_is_closed_or_not_there_ends_no_map() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        clock = Clock()
        lines = Lines(stream, None, clock=clock)
        clock.now += 2 * FIRST
        lines.update()
        lines.close()


def test_no_result_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        pass

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shown = with_progress((Large() for _ in range(2)), 2)
    first = weakref.ref(next(shown))
    assert first() is None
    shown.close()  # type: ignore[attr-defined]
