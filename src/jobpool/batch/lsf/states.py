"""What bjobs says of jobs: a record of JSON each, all of whose values are texts."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from jobpool.batch.base import Answer, Unanswered
from jobpool.batch.lsf.endings import ending
from jobpool.model.command import Completed
from jobpool.model.job import Ending, EndingKind, Hold, JobId, JobState, Seen

__all__ = ["FIELDS", "parse_poll", "records"]

FIELDS = "jobid jobindex job_name stat exit_code exit_reason pend_reason exec_host runtimelimit memlimit max_mem"
"""For ``bjobs -o``. A field without a width is shown whole."""

_STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT"), JobState.PENDING),
    # UNKWN: its host is not reached; it may come back, and the job with it.
    **dict.fromkeys(("RUN", "PROV", "UNKWN"), JobState.RUNNING),
    **dict.fromkeys(("USUSP", "SSUSP"), JobState.SUSPENDED),
    # Killed while its host is not reached: it ends when the host is back.
    "ZOMBI": JobState.COMPLETING,
    **dict.fromkeys(("DONE", "EXIT", "POST_DONE", "POST_ERR"), JobState.ENDED),
}

_NOTHING = frozenset({"", "-"})

_GONE = re.compile(r"No (unfinished )?job found.*|Job <[^>]*> is not found|.*No matching job found")
"""What it says instead of an answer where there is no such job."""

_FAILED_STARTS = re.compile(
    r"Unable to (access job file|set job's environment|determine job's home|open job's I/O|determine user account)"
    r"|Job execution initialization failed|There is no such user account|pre-exec command exited",
    re.IGNORECASE,
)
"""Reasons of jobs whose starts have failed: LSF tries them again, and keeps them in the queue."""


def parse_poll(done: Sequence[Completed], names: Container[str]) -> Answer | Unanswered:
    """Read the answers: the jobs of the submissions with these names."""
    found: dict[JobId, Seen] = {}
    for answer in done:
        told = records(answer)
        if isinstance(told, Unanswered):
            return told
        for seen in map(_seen, told):
            if seen is not None and seen.name in names:
                found[seen.id] = seen
    return tuple(found.values())


def records(done: Completed) -> list[Mapping[str, str]] | Unanswered:
    """Return the records of one answer.

    The exit code is 255 as soon as one of the jobs is not known, with a good answer; and the JSON may stand between
    lines that a library prints while it waits for a daemon.
    """
    words = done.words or f"bjobs ended with {done.returncode} and said nothing"
    if done.returncode is None or done.returncode < 0:
        return Unanswered(words)
    begin, end = done.stdout.find("{"), done.stdout.rfind("}")
    if begin < 0:
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        return [] if lines and all(map(_GONE.fullmatch, lines)) else Unanswered(words)
    try:
        told = json.loads(done.stdout[begin : end + 1], strict=False)["RECORDS"]
    except (ValueError, KeyError, TypeError):
        return Unanswered(f"the answer of bjobs cannot be read: {done.stdout.strip()[:200]}")
    found = list(_texts(told))
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    # With a daemon that is down there may be an empty answer (seen on an open relative of LSF's).
    if not found and not done.ok and said and not all(map(_GONE.fullmatch, said)):
        return Unanswered(words)
    return found


def _texts(told: Any) -> Iterator[Mapping[str, str]]:
    for record in told if isinstance(told, list) else ():
        if isinstance(record, dict):
            yield {str(name): "" if str(value) in _NOTHING else str(value).strip() for name, value in record.items()}


def _seen(record: Mapping[str, str]) -> Seen | None:
    job, name = record.get("JOBID", ""), record.get("JOB_NAME", "")
    if not job.isdecimal() or "STAT" not in record:
        return None  # one with an ERROR: it is absent
    element = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", name)
    number = int(record.get("JOBINDEX") or (element[2] if element and element[2] else 0) or 0)
    id = JobId(f"{job}[{number}]" if number else job)
    state, reason = record["STAT"], record.get("PEND_REASON", "").strip("; ")
    if state == "PSUSP" and not reason:
        reason = state
    known = _STATES.get(state, JobState.UNKNOWN)
    return Seen(
        id=id,
        name=element[1] if element else name,
        index=max(0, number - 1),
        state=known,
        message=" ".join(word for word in (state, reason, record.get("EXIT_REASON", "")) if word),
        reason=reason,
        hold=_hold(state, reason, id) if known is JobState.PENDING else None,
        node=node_of(record.get("EXEC_HOST", "")),
        ending=_ending(state, record) if known is JobState.ENDED else None,
    )


def node_of(hosts: str) -> str | None:
    """Return the host of ``node1:node1`` or ``4*node1``."""
    first = hosts.split(":")[0].strip()
    return re.sub(r"^\d+\*", "", first) or None


def _hold(state: str, reason: str, id: JobId) -> Hold | None:
    if state == "PSUSP":
        if "admin" in reason:
            return Hold("an administrator holds it; ask for the reason, and for 'bresume' of it")
        return Hold(f"'bresume {id}' lets it go on")
    if _FAILED_STARTS.search(reason) and not re.search(r"\d+ host", reason):
        return Hold("its starts fail", hopeless=True)
    return None


def _ending(state: str, record: Mapping[str, str]) -> Ending:
    host, code = node_of(record.get("EXEC_HOST", "")), record.get("EXIT_CODE", "")
    # A program of the site's that runs after the job (POST_ERR) says nothing of the job.
    if state in ("DONE", "POST_DONE") or (state == "POST_ERR" and code in ("", "0")):
        return Ending(kind=EndingKind.COMPLETED, message=state, exit_code=0, node=host, source="queue")
    return ending(
        reason=record.get("EXIT_REASON", ""),
        code=code,
        started=host is not None,
        node=host,
        walltime=record.get("RUNTIMELIMIT", ""),
        memory=record.get("MEMLIMIT", ""),
        used=record.get("MAX_MEM", ""),
        source="queue",
    )
