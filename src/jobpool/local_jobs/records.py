"""What is known of local jobs, on the disk: one small file per submission.

::

    directory/                  the pool's, for local jobs
      NAME/                     one submission, 0700
        script                  what its jobs run
        record.json             the supervisor and its jobs; replaced as a whole, so that it is never half written
        cancel-all, cancel-3    orders to the supervisor, which removes them
        supervisor.log          empty, unless the supervisor is broken
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["LocalJob", "LocalSubmission", "load", "save"]

# Not dataclasses: each command of local jobs is a process, and to import dataclasses is a third of what that costs.


class LocalJob:
    """One job. ``state`` and ``kind`` are values of ``JobState`` and ``EndingKind``."""

    def __init__(
        self,
        index: int,
        *,
        pid: int = 0,
        state: str = "running",
        kind: str = "",
        words: str = "",
        exit_code: int | None = None,
        signal: int | None = None,
        limit: str = "",
    ) -> None:
        self.index, self.pid, self.state = index, pid, state
        self.kind, self.words, self.limit = kind, words, limit
        self.exit_code, self.signal = exit_code, signal

    def as_data(self) -> dict[str, Any]:
        """Return the fields, as they are written to the disk and told to whoever polls."""
        return dict(vars(self))


class LocalSubmission:
    """One submission. ``pid`` and ``start`` are its supervisor's."""

    def __init__(self, name: str, pid: int = 0, start: str = "", jobs: Iterable[LocalJob] = ()) -> None:
        self.name, self.pid, self.start = name, pid, start
        self.jobs = list(jobs)

    @property
    def over(self) -> bool:
        """Whether all jobs have ended, so that nothing will change any more."""
        return all(job.state == "ended" for job in self.jobs)

    def as_data(self) -> dict[str, Any]:
        """Return the fields, as they are written to the disk."""
        return {**vars(self), "jobs": [job.as_data() for job in self.jobs]}


def load(directory: Path) -> LocalSubmission | None:
    """Read the record of a submission; None when there is none (yet)."""
    try:
        data: Mapping[str, Any] = json.loads((directory / "record.json").read_bytes())
    except FileNotFoundError:
        return None
    return LocalSubmission(**{**data, "jobs": [LocalJob(**job) for job in data["jobs"]]})


def save(directory: Path, record: LocalSubmission) -> None:
    """Replace the record."""
    new = directory / f"record.{os.getpid()}"
    new.write_text(json.dumps(record.as_data()))
    new.replace(directory / "record.json")
