"""What qacct says of jobs that have ended: a block for each run of each element."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from jobpool.batch.base import NoAccounting, Tracked, Unanswered
from jobpool.batch.quoting import check_name
from jobpool.batch.sge.environment import command
from jobpool.batch.sge.fields import Fields, blocks, count, size, time
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState
from jobpool.model.units import Duration, Memory

__all__ = ["commands", "parse"]

_NOT_YET = re.compile(r"job (id|name) .* not found", re.IGNORECASE)
"""The master writes records every 15 s by default; of a job that was deleted before it ran there is never one."""

_NO_FILE = ("permission denied", "can't open accounting file")

_LIMIT, _RESCHEDULED, _BY_SIGNAL = 37, 25, 100
_NOTICED = 140
"""Exit code of an agent that ended for USR2, the notice of a kill: 128 and the signal's number."""
_AFTER_THE_JOB = range(12, 17)
"""Codes of ``failed`` for what went wrong behind the job's end (epilog and the like): its exit code counts."""
_NODE = frozenset({19, 21, 22, 36})
"""Codes for a job of which its node knew nothing any more."""


def commands(submissions: Sequence[Tracked]) -> tuple[Command, ...]:
    """Make one qacct for all: of several ``-j`` it takes the last, so that it is given a pattern for the names.

    It reads its file from the first line to the last, which on an old cluster takes it long: one command is enough.
    """
    names = [check_name(submission.name) for submission in submissions]
    return (command("qacct", "-j", names[0] if len(names) == 1 else f"{_common(names)}*"),) if names else ()


def parse(
    done: Sequence[Completed], submissions: Sequence[Tracked]
) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
    """Read its answer."""
    known: dict[JobId, Ending | JobState] = {}
    wanted = {submission.name for submission in submissions}
    for answer in done:
        if not answer.ok:
            words = answer.words or f"qacct ended with {answer.returncode} and said nothing"
            if _NOT_YET.search(words):
                continue
            none = answer.returncode is not None and any(phrase in words.lower() for phrase in _NO_FILE)
            return NoAccounting(words) if none else Unanswered(words)
        for record in blocks(answer.stdout, "qname"):
            if record.get("jobname") in wanted:
                number, task = record.get("jobnumber", ""), record.get("taskid", "undefined")
                # A later block is a later run of the same job.
                known[JobId(number if task == "undefined" else f"{number}.{task}")] = _ending(record)
    return known


def _common(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((at for at, letter in enumerate(first) if letter != last[at : at + 1]), len(first))
    return first[:same]


def _ending(record: Fields) -> Ending | JobState:
    failed, status = _number(record.get("failed", "")), _number(record.get("exit_status", ""))
    if failed == _RESCHEDULED:
        return JobState.PENDING
    # A script that ends by itself at the notice of a delete is none that failed; its exit code is the agent's.
    name = _signal_of(status) if failed in (_LIMIT, _BY_SIGNAL) or status == _NOTICED else None
    kind = _kind(failed, status)
    walltime, memory = _asked(record, "h_rt"), _memory(record)
    used, lasted = size(record.get("maxvmem", "")), time(record.get("ru_wallclock", "")) or Duration(0)
    if failed == _LIMIT or name in ("KILL", "USR2"):
        # Versions before 8 say "assumedly after job" of jobs that they end at a limit, too.
        if walltime is not None and lasted >= walltime:
            kind = EndingKind.TIMED_OUT
        elif memory is not None and used is not None and used > memory:
            kind = EndingKind.OUT_OF_MEMORY
        elif failed == _LIMIT:  # a limit of the queue's, where the job has asked for none
            kind = EndingKind.TIMED_OUT if walltime is None else EndingKind.OUT_OF_MEMORY
        elif name == "USR2" or record.get("deleted_by", "NONE") not in ("", "NONE", "undefined"):
            kind = EndingKind.CANCELLED
    limits = {EndingKind.TIMED_OUT: walltime, EndingKind.OUT_OF_MEMORY: memory}
    limit = limits.get(kind)
    return Ending(
        kind=kind,
        message=_message(record),
        exit_code=status if name is None and kind in (EndingKind.COMPLETED, EndingKind.FAILED) else None,
        signal=None if name is None or status is None else status - 128,
        node=record.get("hostname") or None,
        limit=None if limit is None else str(limit),
        used=used if kind is EndingKind.OUT_OF_MEMORY else None,
        source="accounting",
    )


def _kind(failed: int | None, status: int | None) -> EndingKind:
    if failed in (None, 0, _LIMIT, _BY_SIGNAL) or failed in _AFTER_THE_JOB:
        return EndingKind.COMPLETED if not status and failed != _BY_SIGNAL else EndingKind.FAILED
    return EndingKind.NODE_FAILED if failed in _NODE else EndingKind.LAUNCH_FAILED


def _message(record: Fields) -> str:
    return f"failed {' '.join(record.get('failed', '').split())}, exit status {_words(record.get('exit_status', ''))}"


def _words(text: str) -> str:
    return " ".join(text.split())


def _number(text: str) -> int | None:
    return count(text.split()[0]) if text.split() else None


def _signal_of(status: int | None) -> str | None:
    with suppress(ValueError):
        return None if status is None or status <= 128 else signal.Signals(status - 128).name.removeprefix("SIG")
    return None


def _asked(record: Fields, name: str) -> Duration | None:
    return next((time(value) for value in _values(record, name)), None)


def _memory(record: Fields) -> Memory | None:
    """Return the memory that the job asked for: what it asked for each slot, by the number of its slots."""
    per_slot = next((size(value) for value in _values(record, "h_vmem")), None)
    return None if per_slot is None else Memory(per_slot * (count(record.get("slots", "1")) or 1))


def _values(record: Fields, name: str) -> Iterable[str]:
    """Find what a job asked for in ``-q all.q -l h_rt=8,h_vmem=512M -pe smp 2``."""
    return re.findall(rf"(?<![\w.]){re.escape(name)}=([^,\s]+)", record.get("category", ""))
