"""What qstat says of jobs: one row for each that runs, one for all elements of an array that wait alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from jobpool.batch.base import Answer, Unanswered
from jobpool.batch.sge import waiting
from jobpool.batch.sge.waiting import Told
from jobpool.model.command import Completed
from jobpool.model.job import Hold, JobId, JobState, Seen

__all__ = ["parse_poll"]

_MOST_ELEMENTS = 1_000_000
"""No text may make us list more. (max_aj_tasks is 75,000 unless a site sets it.)"""


@dataclass(frozen=True, slots=True)
class _Row:
    number: str
    name: str
    state: str
    queue: str
    tasks: str


def parse_poll(done: Completed, told: Completed | None, names: frozenset[str]) -> Answer | Unanswered:
    """Read the answer of ``qstat -xml``; jobs of other names are left out.

    ``told`` is the answer of ``qstat -j``, which adds why jobs wait. Without it they wait for a reason that is unknown.
    """
    if not done.ok:
        return Unanswered(done.words or f"qstat ended with {done.returncode} and said nothing")
    try:
        rows = list(_rows(done.stdout))
    except ElementTree.ParseError:
        return Unanswered(f"qstat's answer cannot be read: {done.words[:200]}")
    reasons = waiting.parse(told.stdout) if told is not None and told.ok else Told()
    return tuple(seen for row in rows if row.name in names for seen in _seen(row, reasons))


def _rows(text: str) -> Iterator[_Row]:
    # Grid Engine 8.1.9 writes %lt; for a < in a name.
    for job in ElementTree.fromstring(text.replace("%lt;", "&lt;")).iter("job_list"):
        found: Mapping[str, str] = {part.tag: part.text or "" for part in job}
        if "JB_job_number" in found:
            yield _Row(
                number=found["JB_job_number"],
                name=found.get("JB_name", ""),
                state=found.get("state", ""),
                queue=found.get("queue_name", ""),
                tasks=found.get("tasks", ""),
            )


def _seen(row: _Row, told: Told) -> Iterator[Seen]:
    for task in _numbers(row.tasks) if row.tasks else (None,):
        state = _state(row.state)
        reason = told.reason(row.number, task, error="E" in row.state) if state is JobState.PENDING else ""
        id = JobId(row.number if task is None else f"{row.number}.{task}")
        yield Seen(
            id=id,
            name=row.name,
            index=0 if task is None else task - 1,
            state=state,
            message=f"{row.state} {reason}".strip(),
            # Of a held job the scheduler says nothing: its letters are Grid Engine's word.
            reason=reason or (row.state if state is JobState.PENDING and "h" in row.state else ""),
            hold=_hold(row.state, reason, id) if state is JobState.PENDING else None,
            node=row.queue.partition("@")[2] or None,
        )


def _state(letters: str) -> JobState:
    """Read ``hqw``, ``Rr``, ``dt``: letters that each add something (``qstat(1)``)."""
    if not letters or re.search(r"[^dEhqrRsSTtwzuP]", letters):
        return JobState.UNKNOWN
    if "d" in letters:
        return JobState.COMPLETING
    if "E" in letters or "q" in letters:
        return JobState.PENDING
    if any(letter in letters for letter in "sSTP"):
        return JobState.SUSPENDED
    return JobState.RUNNING if any(letter in letters for letter in "rt") else JobState.UNKNOWN


def _hold(letters: str, reason: str, id: JobId) -> Hold | None:
    if "E" in letters:
        return Hold("its start failed; 'qmod -cj' would let it be tried again", hopeless=True)
    if "h" in letters and not waiting.is_dependency(reason):
        return Hold(f"'qrls {id}' lets it go on, if it is the user's hold; else ask who holds it ('qstat -j {id}')")
    return None


def _numbers(text: str) -> Sequence[int]:
    """List the elements of ``7``, ``3,4`` or ``3-8:1``."""
    found: list[int] = []
    for part in text.split(","):
        if match := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", part.strip()):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            found += range(first, min(last, first + _MOST_ELEMENTS) + 1, max(1, step))
    return found
