"""The answers of PBS's commands as JSON, and the jobs in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobpool.batch.pbs.submit import words_of
from jobpool.model.command import Completed

__all__ = ["BY_NAME", "Row", "jobs_of", "table_of"]

Row = Mapping[str, Any]

BY_NAME = (
    'ids=$(qselect -u "$(id -un)" -N "$1") || exit; code=0; '
    "for id in $ids; do qstat -f -F json -t \"$id\" || code=$?; printf '\\f'; done; exit $code"
)
"""For ``sh``: shows the jobs of a name, an answer of qstat for each, with a form feed behind. It shows nothing where
there is none: qstat itself would then show the jobs of all users (seen). A job of this name that is another user's is
none of the pool's."""

_UNKNOWN = ("unknown job id", "job has finished")
"""What is said of an id of which there is nothing to show: the answer about the others counts."""

_VARIABLES = re.compile(r'"Variable_List":\s*\{.*?\n\s*\}(?=,?\s*\n)', re.DOTALL)
"""Of all that users may write it is the part that breaks JSON in some versions: values such as 007 without quotes,
quotes within quotes. Nothing of it is read here."""


def table_of(done: Completed, key: str) -> Mapping[str, Row] | str:
    """Return the rows under this key of an answer, or why there are none.

    Without a row the key is missing, also when the command failed; so the exit code decides.
    """
    words = words_of(done)
    if done.returncode != 0 and not _is_about_ids(done):
        return words
    try:
        told = _read(done.stdout)
    except ValueError:
        return f"the answer cannot be read: {done.stdout.strip()[:200] or words}"
    rows = told.get(key, {}) if isinstance(told, dict) else None
    if not isinstance(rows, dict):
        return f"the answer cannot be read: {done.stdout[:200]}"
    return {str(name): row for name, row in rows.items() if isinstance(row, dict)}


def jobs_of(done: Completed) -> Mapping[str, Row] | str:
    """Return the jobs of an answer by their ids, or why there is none. The job of an unknown id is absent."""
    if done.command.argv[0] != "sh":
        return table_of(done, "Jobs")
    if not (parts := done.stdout.split("\f")[:-1]):
        return {} if done.ok else words_of(done)
    jobs: dict[str, Row] = {}
    for part in parts:
        if isinstance(rows := table_of(replace(done, stdout=part), "Jobs"), str):
            return rows
        jobs.update(rows)
    return jobs


def _is_about_ids(done: Completed) -> bool:
    lines = [line.lower() for line in done.stderr.splitlines() if line.strip()]
    return done.returncode is not None and bool(lines) and all(any(p in line for p in _UNKNOWN) for line in lines)


def _read(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return json.loads(_VARIABLES.sub('"Variable_List":{}', text), strict=False)
