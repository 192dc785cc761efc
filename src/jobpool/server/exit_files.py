"""The exit files of a pool's jobs, which are in its directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from jobpool.batch.exit_file import Exited, directory_of, file_name, parse
from jobpool.core.events import JobKey
from jobpool.host.private_directory import opened

__all__ = ["make_directory", "read"]

_LARGEST = 64 * 2**10
"""Bytes of an exit file that are read, from its end: a run of the job adds some eighty."""


def make_directory(pool: Path) -> None:
    """Make the directory that the jobs write into. Raises ``OSError``."""
    directory_of(pool).mkdir(mode=0o700, exist_ok=True)


def read(pool: Path, jobs: Iterable[JobKey]) -> dict[JobKey, Exited]:
    """Read the exit files of these jobs: of those whose last run has ended, as far as the files tell.

    The directory is opened anew each time, which on a shared file system is when new files are seen.
    """
    found = {}
    with contextlib.suppress(OSError), opened(directory_of(pool)) as place:
        there = {entry.name for entry in place.iterdir()}
        for job in jobs:
            if (name := file_name(job.submission, job.element)) in there:
                with contextlib.suppress(OSError):
                    if (exited := parse(_end_of(place / name))) is not None:
                        found[job] = exited
    return found


def _end_of(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _LARGEST))
        return stream.read(_LARGEST).decode(errors="replace")
