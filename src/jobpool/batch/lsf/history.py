"""What bhist and bacct say of jobs that the queue has forgotten: a paragraph each, folded in the middle of words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobpool.batch.base import NoAccounting, Unanswered
from jobpool.batch.lsf.endings import KILLED_BY, ending
from jobpool.batch.lsf.states import node_of
from jobpool.model.command import Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState

__all__ = ["parse_history"]

_JOB = re.compile(r"^Job <(\d{1,18}(?:\[\d{1,9}\])?)>,", re.MULTILINE)

_FOLD = re.compile(r"\n {20,}")
"""Lines go on behind 21 blanks, in the middle of a word."""

_EVENT = re.compile(r"^[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?: \d{4})?: (.*)$")
"""What happened, behind the time. Other lines hold the job's command, which may be any text."""

_CODE = re.compile(r"Exited with exit code (\d{1,9})")
_SIGNAL = re.compile(r"Exited by (?:LSF )?signal (\d{1,3})")


def parse_history(done: Completed) -> Mapping[JobId, Ending | JobState] | Unanswered | NoAccounting:
    """Read the answer: how jobs ended, or the state of those that live."""
    words = done.words or f"bhist ended with {done.returncode} and said nothing"
    if done.returncode is None and "No such file" in done.stderr:
        return NoAccounting(words)
    if done.returncode is None or done.returncode < 0:
        return Unanswered(words)
    found = dict(_jobs(_FOLD.sub("", done.stdout)))
    nothing = "No matching job found" in words or (done.ok and not done.stderr.strip())
    return found if found or nothing else Unanswered(words)


def _jobs(text: str) -> Iterator[tuple[JobId, Ending | JobState]]:
    starts = list(_JOB.finditer(text))
    for number, match in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(text)
        yield JobId(match[1]), _told(text[match.end() : end])


def _told(paragraph: str) -> Ending | JobState:
    """Read what happened to a job, line by line: the last run counts."""
    run: list[str] = []
    state, node = JobState.PENDING, None
    for event in map(_EVENT.match, paragraph.splitlines()):
        if event is None:
            continue
        if host := re.match(r"(?:Dispatched|Started)\b.*?<([^<>]*[A-Za-z][^<>]*)>", event[1]):
            run, state, node = [], JobState.RUNNING, node_of(host[1])
        elif re.match(r"Requeued?|Pending: .*requeued|Migration", event[1]):
            run, state = [], JobState.PENDING
        elif re.match(r"Signal <KILL> requested by", event[1]):
            run.append(event[1])
        elif re.match(r"Done successfully|Exited|Completed <", event[1]):
            run.append(event[1])
            state = JobState.ENDED
    if state is not JobState.ENDED:
        return state
    return _ending("\n".join(run), node)


def _ending(said: str, node: str | None) -> Ending:
    if re.search(r"Done successfully|Completed <done>", said):
        return Ending(kind=EndingKind.COMPLETED, message="DONE", exit_code=0, node=node, source="accounting")
    code, signal = _CODE.search(said), _SIGNAL.search(said)
    number = code[1] if code else str(128 + int(signal[1])) if signal else ""
    reason = re.search(r"TERM_[A-Z_]+[^.;\n]*", said) or re.search(KILLED_BY, said)
    return ending(
        reason=reason[0].strip() if reason else "",
        code=number,
        started=node is not None,
        node=node,
        source="accounting",
    )
