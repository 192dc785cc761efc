"""What qstat says of jobs: states, exit codes, endings, in the queue and in the job history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jobpool.batch.base import Answer, NoAccounting, Tracked, Unanswered
from jobpool.batch.pbs import ids
from jobpool.batch.pbs.answers import Row, jobs_of
from jobpool.batch.pbs.endings import ending_of
from jobpool.model.command import Completed
from jobpool.model.job import Ending, Hold, JobId, JobState, Seen

__all__ = ["parse_account", "parse_poll", "parse_starts"]

_STATES = {
    **dict.fromkeys(("Q", "H", "W", "T", "M"), JobState.PENDING),
    "R": JobState.RUNNING,
    **dict.fromkeys(("S", "U"), JobState.SUSPENDED),
    "E": JobState.COMPLETING,
}

_OVER = frozenset({"F", "X"})
"""Ended: in the history, and an element of an array of which others live."""

_FAILED_STARTS = "too many failed attempts"
"""PBS tries 21 times within a minute to start a job, and holds it then for good."""

_DEPENDS = 22
"""The substate of a job that waits for another one."""

_NO_HISTORY = "not configured to maintain job history"


def parse_poll(done: Sequence[Completed], submissions: Sequence[Tracked]) -> Answer | Unanswered:
    """Read the answers. They may show all jobs of all users: those of other submissions are left out."""
    wanted = {submission.name for submission in submissions}
    seen: dict[JobId, Seen] = {}
    for answer in done:
        if isinstance(rows := jobs_of(answer), str):
            return Unanswered(rows)
        for id, parsed, row in _jobs(rows):
            if (
                row.get("Job_Name") in wanted
                and (one := _seen(id, parsed, row, rows.get(parsed.whole, {}))) is not None
            ):
                seen[id] = one
    return tuple(seen.values())


def parse_account(done: Sequence[Completed]) -> dict[JobId, Ending | JobState] | Unanswered | NoAccounting:
    """Read the job history. Of an array's elements that it does not tell apart nothing is said."""
    known: dict[JobId, Ending | JobState] = {}
    for answer in done:
        if _NO_HISTORY in answer.stderr:
            return NoAccounting(answer.words)
        if isinstance(rows := jobs_of(answer), str):
            return Unanswered(rows)
        for id, _, row in _jobs(rows):
            state = str(row.get("job_state"))
            found = ending_of(row, "accounting") if state in _OVER else _STATES.get(state)
            if found is not None:
                known[id] = found
    return known


def parse_starts(done: Sequence[Completed]) -> dict[JobId, float] | Unanswered:
    """Read when jobs may start (``estimated.start_time``): there where the site has PBS look ahead."""
    starts: dict[JobId, float] = {}
    for answer in done:
        if isinstance(rows := jobs_of(answer), str):
            return Unanswered(rows)
        for id, _, row in _jobs(rows):
            told = row.get("estimated")
            start = told.get("start_time") if isinstance(told, Mapping) else None
            if isinstance(start, int | float) and start > 0:
                starts[id] = float(start)
    return starts


def _jobs(rows: Mapping[str, Row]) -> Iterator[tuple[JobId, ids.PbsId, Row]]:
    """Yield what is a job: an array itself is none."""
    for id, row in rows.items():
        if (parsed := ids.parse(id)) is not None and not parsed.is_array:
            yield JobId(id), parsed, row


def _seen(id: JobId, parsed: ids.PbsId, row: Row, array: Row) -> Seen | None:
    """Return what is seen of a job; None of one that is over, and nobody says how: it is as good as absent."""
    letter = str(row.get("job_state"))
    # Of an element of an array that is held it is the array that says so (seen).
    held_by = array if letter == "Q" and array.get("job_state") == "H" else row
    comment = str(held_by.get("comment", row.get("comment", "")))
    ending = ending_of(row, "queue") if letter in _OVER else None
    if letter in _OVER and ending is None:
        return None
    state = JobState.ENDED if ending else _STATES.get(letter, JobState.UNKNOWN)
    if state is JobState.RUNNING and " and terminated" in comment:
        state = JobState.COMPLETING  # PBS says R until its processes are gone, for 12 s and more (seen)
    reason = (comment or _held_as(held_by)) if state is JobState.PENDING else ""
    return Seen(
        id=id,
        name=str(row["Job_Name"]),
        index=parsed.index or 0,
        state=state,
        message=f"{letter} {comment}".strip(),
        reason=reason,
        hold=_hold(held_by, comment, parsed.whole) if state is JobState.PENDING else None,
        node=node_of(row),
        ending=ending,
    )


def node_of(row: Row) -> str | None:
    """Return the first node of ``node1/0*2+node2/0*2``. A job that waits has none, whatever is left of an old run."""
    host = str(row.get("exec_host", ""))
    return host.partition("+")[0].partition("/")[0] or None


def _hold(row: Row, comment: str, id: str) -> Hold | None:
    if row.get("job_state") != "H":
        return None
    if _FAILED_STARTS in comment:
        return Hold("its starts fail", hopeless=True)
    if row.get("substate") == _DEPENDS:
        return Hold("it waits for another job to end")
    if "s" in str(row.get("Hold_Types", "")) or "o" in str(row.get("Hold_Types", "")):
        return Hold("an operator or PBS itself holds it; ask an administrator why")
    return Hold(f"'qrls {id}' lets it go on")


def _held_as(row: Row) -> str:
    """Say that a job is held, where PBS has no comment on it: ``u`` its user, ``o`` an operator, ``s`` PBS itself."""
    return f"Hold_Types={row['Hold_Types']}" if row.get("job_state") == "H" and row.get("Hold_Types") else ""
