"""A plugin of coverage: workers are killed when their job ends, so each notes from time to time what it has run.

``make coverage`` puts it on the path of all processes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

PAUSE = 0.2
"""Seconds between two notes of a worker; each costs some milliseconds."""


def coverage_init(registry: Any, options: Any) -> None:
    """Do nothing: importing this module is what is wanted."""


def _note_while_waiting() -> None:
    """In a process that a fork-server has made: note what it has run whenever it waits for calls."""
    module = sys.modules.get("jobpool.worker.worker")
    if module is None:
        return
    receive, noted = module._Worker._receive, 0.0

    def note_and_receive(self: Any) -> None:
        nonlocal noted
        if time.monotonic() - noted > PAUSE and not self.is_copy:
            noted = time.monotonic()
            _save()
        receive(self)

    module._Worker._receive = note_and_receive


def _save() -> None:
    import coverage

    with contextlib.suppress(Exception):
        if (running := coverage.Coverage.current()) is not None:
            running.save()


os.register_at_fork(after_in_child=_note_while_waiting)
