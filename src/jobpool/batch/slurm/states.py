"""What squeue and sacct say of jobs: one row each, states, exit codes, endings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime

from jobpool.batch.base import Answer, NoAccounting, Unanswered
from jobpool.model.command import Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen

__all__ = ["ACCOUNT_FORMAT", "POLL_FORMAT", "STARTS_FORMAT", "parse_account", "parse_poll", "parse_starts"]

_POLL_FIELDS = (
    "JobArrayID", "ArrayTaskID", "Name", "State", "exit_code", "BatchHost", "TimeLimit", "MinMemory", "Reason",
)  # fmt: skip
POLL_FORMAT = ",".join(f"{field}:|" for field in _POLL_FIELDS)
"""For ``squeue -O``. With a suffix and no width SLURM prints a field whole. (``-o`` has no exit code, and ``--json``
ignores filters.) The reason is last: it may be any text."""

STARTS_FORMAT = "JobArrayID:|,StartTime:|"
"""For ``squeue -O``."""

_ACCOUNT_FIELDS = ("JobID", "State", "ExitCode", "NodeList", "Timelimit", "ReqMem")
ACCOUNT_FORMAT = ",".join(_ACCOUNT_FIELDS)
"""For ``sacct --parsable2``. Its Reason is why the job once waited, not why it ended. Its exit code of a script that
exited with 137 is 9."""

_STATES = {
    **dict.fromkeys(("RUNNING", "CONFIGURING", "RESIZING", "SIGNALING", "POWER_UP_NODE"), JobState.RUNNING),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT", "UPDATE_DB"), JobState.COMPLETING),
    **dict.fromkeys(("SUSPENDED", "STOPPED"), JobState.SUSPENDED),
    "PENDING": JobState.PENDING,
    # Its last run is over, and it waits for the next one, some of them held (the reason tells).
    **dict.fromkeys(("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"), JobState.PENDING),
}

_ENDINGS = {
    "COMPLETED": EndingKind.COMPLETED,
    "FAILED": EndingKind.FAILED,
    "CANCELLED": EndingKind.CANCELLED,
    # The job now runs, or ran, on another cluster of a federation.
    "REVOKED": EndingKind.CANCELLED,
    "TIMEOUT": EndingKind.TIMED_OUT,
    "DEADLINE": EndingKind.TIMED_OUT,
    "OUT_OF_MEMORY": EndingKind.OUT_OF_MEMORY,
    "PREEMPTED": EndingKind.PREEMPTED,
    "NODE_FAIL": EndingKind.NODE_FAILED,
    "BOOT_FAIL": EndingKind.NODE_FAILED,
    "LAUNCH_FAILED": EndingKind.LAUNCH_FAILED,
    "RECONFIG_FAIL": EndingKind.LAUNCH_FAILED,
}

_NOTHING = frozenset({"", "None", "(null)", "n/a", "N/A", "None assigned", "Unknown"})

_HELD_STATES = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})

_HOLDS = {
    "jobhelduser": "'scontrol release {id}' lets it go on",
    "jobheldadmin": "an administrator holds it, or SLURM itself; ask for the reason, and for 'scontrol release {id}'",
    "job_requeued_in_held_state": "'scontrol release {id}' lets it go on",
    "job_requeued_in_special_exit_state": "'scontrol release {id}' lets it go on",
}
"""Reasons of jobs that are held, and what to do."""

_HOPELESS = frozenset({"launch_failed_requeued_held", "jobholdmaxrequeue", "maxrequeueexceeded"})
"""Reasons of jobs that SLURM holds since it could not start them. Released, they would most likely fail again."""

_LAUNCH_SIGNAL = 53
"""What SLURM reports as the signal (exit code 0:53) when it could not open the output file or set the job up."""

_LAST_SIGNAL = 64
"""Linux has no signal above; SLURM uses 125 for "killed for memory"."""


def parse_poll(done: Completed, ids: Mapping[str, Mapping[int, JobId]]) -> Answer | Unanswered:
    """Read the answer of squeue. Names that it does not know are no failure: their jobs are absent.

    ``ids`` are those that are known, by name and index.
    """
    if not done.ok:
        unknown = done.returncode == 1 and "invalid job id" in done.stderr.lower()
        return () if unknown else Unanswered(done.words or f"squeue ended with {done.returncode} and said nothing")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    rows = [row for line in lines if (row := _cells(line.removesuffix("|"), len(_POLL_FIELDS)))]
    if lines and not rows:
        return Unanswered(f"squeue's answer cannot be read: {lines[0][:200]}")
    arrays = {row[0].partition("_")[0] for row in rows if row[1].isdecimal()}
    # When its pending elements were cancelled one by one, SLURM keeps one row without an index for them: it is no job.
    # Where nothing else is left of the array, the row cannot be told from a single job's: then it is read as index 0,
    # cancelled, which is true of that index too.
    return tuple(_seen(row, ids) for row in rows if row[1].isdecimal() or row[0] not in arrays)


def parse_starts(done: Completed) -> dict[JobId, float] | Unanswered:
    """Read the answer of squeue: ``1343_7|2026-11-24T10:32:44|``, in the local time of this host, or ``N/A``."""
    if not done.ok:
        return Unanswered(done.words or f"squeue ended with {done.returncode} and said nothing")
    starts: dict[JobId, float] = {}
    for line in done.stdout.splitlines():
        row = _cells(line.removesuffix("|"), 2)
        if row is not None and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row[1]):
            with suppress(ValueError, OverflowError):  # SLURM's year 2106 stands for never
                starts[JobId(row[0])] = datetime.fromisoformat(row[1]).timestamp()
    return starts


def parse_account(done: Completed) -> dict[JobId, Ending | JobState] | Unanswered | NoAccounting:
    """Read the answer of sacct: one row for each job, or for all elements of an array that wait or never ran."""
    if not done.ok:
        words = done.words or f"sacct ended with {done.returncode} and said nothing"
        return NoAccounting(words) if "accounting storage is disabled" in words.lower() else Unanswered(words)
    known: dict[JobId, Ending | JobState] = {}
    for line in done.stdout.splitlines():
        if (row := _cells(line, len(_ACCOUNT_FIELDS))) is None:
            continue
        ids, state, exit_code, nodes, walltime, memory = row
        ending = _ending(state, "", exit_code, node=nodes, walltime=walltime, memory=memory, source="accounting")
        for id in _expand(ids):
            # A later row of the same job counts: it was requeued, and is not at its end.
            if (now := ending or _STATES.get(state)) is None:
                known.pop(id, None)
            else:
                known[id] = now
    return known


def _cells(line: str, count: int) -> list[str] | None:
    cells = [cell.strip() for cell in line.split("|", count - 1)]
    return cells if len(cells) == count and re.match(r"\d+(_|$)", cells[0]) else None


def _seen(row: list[str], ids: Mapping[str, Mapping[int, JobId]]) -> Seen:
    id, index, name, state, exit_code, node, walltime, memory, reason = row
    ending = _ending(state, reason, exit_code, node=node, walltime=walltime, memory=memory, source="queue")
    reason = "" if reason in _NOTHING else reason
    if not index.isdecimal() and (element := ids.get(name, {}).get(0)) == f"{id}_0":
        id = element
    known = JobState.ENDED if ending else _STATES.get(state, JobState.UNKNOWN)
    return Seen(
        id=JobId(id),
        name=name,
        index=int(index) if index.isdecimal() else 0,
        state=known,
        words=f"{state} {reason}".strip(),
        reason=reason,
        hold=_hold(state, reason, id) if known is JobState.PENDING else None,
        node=_known(node),
        ending=ending,
    )


def _hold(state: str, reason: str, id: str) -> Hold | None:
    word = reason.replace(" ", "_").lower()  # some come as text: "launch failed requeued held"
    if word in _HOPELESS:
        return Hold("its starts fail", hopeless=True)
    if (advice := _HOLDS.get(word)) is not None:
        return Hold(advice.format(id=id))
    return Hold(f"'scontrol release {id}' lets it go on") if state in _HELD_STATES else None


def _ending(
    state: str, reason: str, exit_code: str, *, node: str, walltime: str, memory: str, source: str
) -> Ending | None:
    # sacct says who it was: "CANCELLED by 1001".
    kind = _ENDINGS.get(state.split(" ")[0])
    if kind is None:
        return None
    code, signal = _exit_status(exit_code)
    if kind is EndingKind.FAILED and (signal == _LAUNCH_SIGNAL or reason == "BadConstraints"):
        kind = EndingKind.LAUNCH_FAILED
    return Ending(
        kind=kind,
        words=" ".join(word for word in (state, _known(reason), f"{code}:{signal}") if word),
        exit_code=code if signal == 0 and (code or kind is EndingKind.COMPLETED) else None,
        signal=signal if 0 < signal <= _LAST_SIGNAL and kind is not EndingKind.LAUNCH_FAILED else None,
        node=_known(node),
        limit=_known({EndingKind.TIMED_OUT: walltime, EndingKind.OUT_OF_MEMORY: memory}.get(kind, "")),
        source=source,
    )


def _exit_status(text: str) -> tuple[int, int]:
    """Read (exit code, signal) from ``3:0`` (sacct), or from the status that wait() gave, ``768`` (squeue)."""
    if match := re.fullmatch(r"(\d{1,9}):(\d{1,9})", text):
        return int(match[1]), int(match[2])
    status = int(text) if re.fullmatch(r"\d{1,9}", text) else 0
    signal = status & 0x7F
    return (0, signal) if signal else (status >> 8 & 0xFF, 0)


def _known(cell: str) -> str | None:
    return None if cell in _NOTHING else cell


def _expand(ids: str) -> Iterator[JobId]:
    """List the jobs of ``1343_[2-3,7%2]``, ``1343_7`` or ``1343``."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", ids)
    if not match:
        yield JobId(ids)
        return
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            for index in range(int(first), min(int(last or first), _MOST_ELEMENTS) + 1):
                yield JobId(f"{match[1]}_{index}")


_MOST_ELEMENTS = 4_000_001
"""SLURM's own bound of MaxArraySize: no text may make us list more."""
