"""Says once what a project's ``jobpool.toml`` runs in jobs: it may have come with a repository of somebody else's.

Nobody else can have written the file where it lies (:mod:`jobpool.config.files`), but its reader may never have read
it. Files of one's own (``~/.config/jobpool``, Dask's), of the site, and those that a variable names are not told of:
who wrote or named them knows them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from jobpool.config.resolve import Settings
from jobpool.host.told_once import first_time
from jobpool.show.view import as_text
from jobpool.show.waiting import WaitingLine

__all__ = ["RUNNING", "tell_what_runs"]

RUNNING = ("setup", "python", "container", "container_options", "environment", "job_extra")
"""Settings that make something run in a job: shell lines, an interpreter, an image, variables (``LD_PRELOAD``), and
options of the batch system (``--container``)."""

LONGEST = 500
"""Characters of one value that are shown; the rest is counted."""


def tell_what_runs(settings: Settings, *, again: bool = False) -> None:
    """Say on stderr, in one line, which file of a project runs what in jobs: the first time that it would.

    ``again``: also when it was told before.
    """
    for file, values in _by_file(settings).items():
        new = first_time(repr((file, sorted(values.items()))))
        if new or again:
            said = "; ".join(f"{name}={_shown(value)}" for name, value in values.items())
            since = ", which is new to you or has changed," if new else ""
            WaitingLine().say(f"the project's file {as_text(file)}{since} runs this in jobs: {said}", warning=False)


def _by_file(settings: Settings) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in _from_project(settings):
        found.setdefault(settings.origins[name].place, {})[name] = value
    return found


def _from_project(settings: Settings) -> Iterator[tuple[str, Any]]:
    values = settings.values()
    for name in RUNNING:
        if settings.origins[name].kind == "project" and values[name]:
            yield name, shlex.join(values[name]) if name == "python" else values[name]


def _shown(value: Any) -> str:
    """Write a value on one line: nothing in it may move the cursor, or hide behind a long beginning unseen."""
    text = as_text(value if isinstance(value, str) else repr(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST} characters more)"
