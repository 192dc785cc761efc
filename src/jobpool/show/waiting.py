"""The one line that tells what a script waits for."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from jobpool.model.status import JobStatus, PoolStatus
from jobpool.model.units import Duration
from jobpool.show.reason import explained

__all__ = ["WaitingLine", "ending_text", "waiting_text"]

QUIET = 2.0
"""Seconds before the line appears at all: most waits are shorter, and a line for each would be noise."""

REPEAT = 60.0
"""Seconds between two lines in a file or a notebook, where a line cannot be written over."""


def waiting_text(status: PoolStatus) -> str:
    """Say in one line what the calls wait for: how many jobs are where, and why."""
    if status.held == 0:
        return "jobpool: scale(0) holds the calls back; scale(None) lets them run"
    jobs = [job for job in status.jobs if job.state not in ("ended", "closing")]
    if not jobs:
        # Without the seconds that are left: the line would be another one each time.
        why = next((request.pause_reason for request in status.requests if request.pause), "")
        pause = f"; none is asked for in a pause: {why}" if why else ""
        return f"jobpool: no job in the queue {_last_end(status.jobs)}{pause}"
    parts = [f"{count} {state}" for state, count in Counter(job.state for job in jobs).items()]
    worker = "a worker" if any(job.state == "suspended" for job in jobs) else "the first worker"
    text = f"jobpool: waiting for {worker}; jobs: {', '.join(parts)}"
    reasons = Counter(job.reason for job in jobs if job.state == "pending" and job.reason)
    if reasons:
        reason, _ = reasons.most_common(1)[0]
        text += f"; {explained(reason, status.system)}"
    if any(job.state == "suspended" for job in jobs):
        text += "; the batch system has suspended jobs: they go on when it resumes them"
    return text


def _last_end(jobs: Sequence[JobStatus]) -> str:
    """Say why there is none any more: the user may see at once what is wrong, long before the pool gives up."""
    ended = [job for job in jobs if job.state == "ended"]
    if not ended:
        return "yet"
    last = min(ended, key=lambda job: job.age)
    return f"now; the last one ended: {last.reason}"


def ending_text(count: int) -> str:
    """Say what a shutdown waits for that has cancelled all other calls."""
    which = "1 call that has begun is" if count == 1 else f"{count} calls that have begun are"
    return f"{which} let end, as in the standard library; Ctrl-C, or terminate_workers(), ends them at once"


class WaitingLine:
    """Writes to stderr: in place on a terminal, a new line now and then elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._since: float | None = None
        self._kind, self._last_time = "", 0.0
        self._shown = False

    def show(self, status: PoolStatus) -> None:
        """Show what is waited for, or nothing while the wait is young."""
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < QUIET:
            return
        kind = waiting_text(status)
        waited = f" ({Duration(round(now - self._since))})"
        if self._is_terminal():
            self._write(f"\r\x1b[2K{self._cut(kind, len(waited))}{waited}")
            self._shown = True
        elif kind != self._kind or now - self._last_time >= REPEAT:
            self._write(f"{kind}{waited}\n")
            self._kind, self._last_time = kind, now

    def clear(self) -> None:
        """Take the line away: work has begun."""
        if self._shown:
            self._write("\r\x1b[2K")
        self._since, self._shown = None, False

    def say(self, text: str, *, warning: bool) -> None:
        """Write a sentence that stays."""
        self.clear()
        self._write(f"jobpool: {'warning: ' if warning else ''}{text}\n")

    def _is_terminal(self) -> bool:
        stream = self._stream or sys.stderr
        with contextlib.suppress(ValueError):
            return stream is not None and stream.isatty()
        return False

    def _cut(self, text: str, reserved: int) -> str:
        # What wraps becomes two lines, of which the next one writes over the second only.
        width = 80
        with contextlib.suppress(OSError, ValueError):
            width = os.get_terminal_size((self._stream or sys.stderr).fileno()).columns or width
        room = max(width - 1 - reserved, 1)
        return text if len(text) <= room else text[: room - 1] + "…"

    def _write(self, text: str) -> None:
        # There may be no stderr, a closed one (ValueError), or one whose reader has gone: no reason to end a pool.
        stream = self._stream or sys.stderr
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.write(text)
                stream.flush()
