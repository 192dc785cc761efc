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
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["LocalJob", "LocalSubmission", "load", "save"]


@dataclass(slots=True)
class LocalJob:
    """One job. ``state`` and ``kind`` are values of ``JobState`` and ``EndingKind``."""

    index: int
    pid: int = 0
    state: str = "running"
    kind: str = ""
    words: str = ""
    exit_code: int | None = None
    signal: int | None = None
    limit: str = ""


@dataclass(slots=True)
class LocalSubmission:
    """One submission."""

    name: str
    pid: int = 0
    """The supervisor's."""
    start: str = ""
    jobs: list[LocalJob] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether all jobs have ended, so that nothing will change any more."""
        return all(job.state == "ended" for job in self.jobs)


def load(directory: Path) -> LocalSubmission | None:
    """Read the record of a submission; None when there is none (yet)."""
    try:
        data = json.loads((directory / "record.json").read_bytes())
    except FileNotFoundError:
        return None
    jobs = [LocalJob(**job) for job in data.pop("jobs")]
    return LocalSubmission(**data, jobs=jobs)


def save(directory: Path, record: LocalSubmission) -> None:
    """Replace the record."""
    new = directory / f"record.{os.getpid()}"
    new.write_text(json.dumps(asdict(record)))
    new.replace(directory / "record.json")
