"""What oarstat says of jobs: one JSON object for all, and the same fields for jobs that wait, run or have ended."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from jobpool.batch.base import Answer, Unanswered
from jobpool.batch.oar.reasons import reason_of
from jobpool.model.command import Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen
from jobpool.model.units import Duration

__all__ = ["parse_account", "parse_poll", "parse_starts", "rows_of"]

_STATES = {
    **dict.fromkeys(("Waiting", "Hold", "toAckReservation"), JobState.PENDING),
    **dict.fromkeys(("toLaunch", "Launching", "Running"), JobState.RUNNING),
    **dict.fromkeys(("Suspended", "Resuming"), JobState.SUSPENDED),
    **dict.fromkeys(("Finishing", "toError"), JobState.COMPLETING),
    **dict.fromkeys(("Terminated", "Error"), JobState.ENDED),
}

_LAUNCH = frozenset(
    {
        *("WORKING_DIRECTORY", "OUTPUT_FILES", "EXIT_VALUE_OAREXEC", "LAUNCHING_OAREXEC_TIMEOUT"),
        *("CANNOT_CREATE_TMP_DIRECTORY", "CANNOT_WRITE_NODE_FILE", "CANNOT_WRITE_PID_FILE", "USER_SHELL"),
        *("CPUSET_ERROR", "CPUSET_MANAGER_FILE", "LD_PRELOAD", "OAREXEC_ERROR", "USER_MISMATCH"),
        *("PROLOGUE_ERROR", "SERVER_PROLOGUE_TIMEOUT", "SERVER_PROLOGUE_EXIT_CODE_ERROR", "SERVER_PROLOGUE_ERROR"),
        *("PING_CHECKER_NODE_SUSPECTED", "PING_CHECKER_NODE_SUSPECTED_END_JOB", "CAN_NOT_CREATE_TMP_DIRECTORY"),
    }
)
"""Events of a job whose script was never started (the list of OAR's documentation; the first three were seen)."""

_NODE = frozenset(
    {"RESERVATION_NO_NODE", "NO_SUITABLE_RESOURCES", "FRAG_JOB_REQUEST_NODE_DEAD", "SUSPECTED_NODES_IN_JOB"}
)

_PREEMPTED = frozenset({"BESTEFFORT_KILL", "PREEMPTED_BY_RESERVATION"})

_MISREAD = re.compile(r"\bDB[DI]\b|DB connection error|database", re.IGNORECASE)
"""An empty answer with such words is none: oarstat prints nothing for no jobs."""


def rows_of(done: Completed) -> dict[str, Mapping[str, Any]] | Unanswered:
    """Read an answer: jobs by id. Nothing at all stands for no jobs."""
    if not done.ok:
        return Unanswered(done.words or f"oarstat ended with {done.returncode} and said nothing")
    text = done.stdout.strip()
    if not text:
        return Unanswered(done.words) if _MISREAD.search(done.stderr) else {}
    try:
        found = json.loads(text)
    except ValueError:
        return Unanswered(f"oarstat's answer cannot be read: {text[:200]}")
    if not isinstance(found, dict):
        return Unanswered(f"oarstat's answer cannot be read: {text[:200]}")
    return {id: row for id, row in found.items() if id.isdecimal() and isinstance(row, dict)}


def parse_poll(done: Sequence[Completed], names: Iterable[str]) -> Answer | Unanswered:
    """Read the jobs of these submissions."""
    wanted, seen = frozenset(names), []
    for answer in done:
        rows = rows_of(answer)
        if isinstance(rows, Unanswered):
            return rows
        seen += [_seen(id, row) for id, row in rows.items() if row.get("name") in wanted]
    return tuple(seen)


def parse_account(done: Sequence[Completed]) -> dict[JobId, Ending | JobState] | Unanswered:
    """Read how jobs ended, or the state of those that live."""
    known: dict[JobId, Ending | JobState] = {}
    for answer in done:
        rows = rows_of(answer)
        if isinstance(rows, Unanswered):
            return rows
        for id, row in rows.items():
            state = _STATES.get(str(row.get("state")), JobState.UNKNOWN)
            known[JobId(id)] = _ending(row, "accounting") if state is JobState.ENDED else state
    return known


def parse_starts(done: Sequence[Completed]) -> dict[JobId, float] | Unanswered:
    """Read when the scheduler means to start those that wait."""
    starts: dict[JobId, float] = {}
    for answer in done:
        rows = rows_of(answer)
        if isinstance(rows, Unanswered):
            return rows
        for id, row in rows.items():
            planned = row.get("scheduledStart")
            if row.get("state") == "Waiting" and isinstance(planned, int) and planned > 0:
                starts[JobId(id)] = float(planned)
    return starts


def _seen(id: str, row: Mapping[str, Any]) -> Seen:
    word, message = str(row.get("state")), str(row.get("message") or "")
    state = _STATES.get(word, JobState.UNKNOWN)
    ending = _ending(row, "queue") if state is JobState.ENDED else None
    index = row.get("array_index")
    reason = reason_of(word, message) if state is JobState.PENDING else ""
    return Seen(
        id=JobId(id),
        name=str(row["name"]),
        index=index - 1 if isinstance(index, int) and index > 0 else 0,
        state=state,
        message=f"{word} {message}".strip() if ending is None else ending.message,
        reason=reason,
        hold=Hold(f"'oarresume {id}' lets it go on") if word == "Hold" else None,
        node=_node(row),
        ending=ending,
    )


def _ending(row: Mapping[str, Any], source: str) -> Ending:
    events = [event for event in row.get("events") or () if isinstance(event, dict)]
    types = {str(event.get("type")) for event in events}
    code, number = _exit_status(row.get("exit_code"))
    kind = _kind(str(row.get("state")), types, code, number)
    walltime = row.get("walltime")
    return Ending(
        kind=kind,
        message=" ".join(_message(row, events, code, number)),
        exit_code=code if kind in (EndingKind.COMPLETED, EndingKind.FAILED) else None,
        signal=number if kind is EndingKind.FAILED else None,
        node=_node(row),
        limit=str(Duration(walltime)) if kind is EndingKind.TIMED_OUT and isinstance(walltime, int) else None,
        source=source,
    )


def _kind(state: str, types: set[str], code: int | None, number: int | None) -> EndingKind:
    if state == "Terminated":
        return EndingKind.COMPLETED if code == 0 and number is None else EndingKind.FAILED
    if "WALLTIME" in types:
        return EndingKind.TIMED_OUT
    if types & _PREEMPTED:
        return EndingKind.PREEMPTED
    if types & _LAUNCH:
        return EndingKind.LAUNCH_FAILED
    if types & _NODE:
        return EndingKind.NODE_FAILED
    if "FRAG_JOB_REQUEST" in types:
        return EndingKind.CANCELLED
    return EndingKind.FAILED if code is not None or number is not None else EndingKind.LOST


def _message(
    row: Mapping[str, Any], events: Sequence[Mapping[str, Any]], code: int | None, number: int | None
) -> Iterator[str]:
    """Say state, exit code, and what the events say: OAR's own words, without those that the state says already."""
    yield str(row.get("state"))
    if code is not None:
        yield f"exit code {code}"
    if number is not None:
        name = ""
        with suppress(ValueError):
            name = f" ({signal.Signals(number).name})"
        yield f"signal {number}{name}"
    for event in sorted(events, key=lambda event: event.get("event_id") or 0):
        if not str(event.get("type")).startswith("SWITCH_INTO_"):
            yield f"{event.get('type')}: {event.get('description')}"


def _exit_status(status: object) -> tuple[int | None, int | None]:
    """Return (exit code, signal) of the status that wait() gave: 768 is 3, 11 a segmentation fault. None: killed."""
    if not isinstance(status, int) or status < 0:
        return None, None
    number = status & 0x7F
    return (None, number) if number else (status >> 8 & 0xFF, None)


def _node(row: Mapping[str, Any]) -> str | None:
    nodes = row.get("assigned_network_address")
    return str(nodes[0]) if isinstance(nodes, list) and nodes else None
