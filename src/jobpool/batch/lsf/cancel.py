"""How jobs of LSF's are cancelled, and what bkill says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from jobpool.batch.base import Doubtful, Tracked
from jobpool.batch.lsf.environment import command
from jobpool.batch.quoting import check_name
from jobpool.model.command import Command, Completed
from jobpool.model.job import JobId

__all__ = ["cancel", "parse_cancel"]

_MOST = 100
"""Words of one bkill: the daemon is asked for each of them."""

_LONGEST = 200
"""Characters of an array's list of elements: LSF takes 255 with the rest."""

_DONE = re.compile(
    r".*(is being (terminated|signaled)|has already finished|No matching job found|Operation is in progress"
    r"|Job has not started yet|is not found).*",
    re.IGNORECASE,
)


def cancel(submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
    """Make one bkill for each name, and some for the ids.

    The 0 behind a name stands for all jobs of that name: without it, bkill takes the last one alone.
    """
    words = list(_words(ids))
    parts = [words[start : start + _MOST] for start in range(0, len(words), _MOST)]
    by_name = (command("bkill", "-J", check_name(submission.name), "0") for submission in submissions)
    return (*(command("bkill", *part) for part in parts), *by_name)


def parse_cancel(done: Completed) -> Doubtful | None:
    """Read the answer. A job that is gone is as good as cancelled, though the exit code is 255."""
    said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    if done.ok or (done.returncode is not None and said and all(map(_DONE.fullmatch, said))):
        return None
    return Doubtful(done.words or f"bkill ended with {done.returncode} and said nothing")


def _words(ids: Iterable[JobId]) -> Iterator[str]:
    """Write ids as bkill takes them at once: ``1234[1-100,107]``. What is no id of LSF's names no job, and is left out.

    An id of 0 would be all jobs of the user.
    """
    arrays: dict[str, set[int]] = {}
    for id in dict.fromkeys(ids):
        match = re.fullmatch(r"([1-9][0-9]{0,17})(?:\[([1-9][0-9]{0,8})\])?", id)
        if match is None:
            continue
        if match[2] is None:
            yield match[1]
        else:
            arrays.setdefault(match[1], set()).add(int(match[2]))
    for base, numbers in arrays.items():
        for part in _joined(_runs(sorted(numbers))):
            yield f"{base}[{part}]"


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _joined(runs: Iterable[str]) -> Iterator[str]:
    text = ""
    for run in runs:
        if text and len(text) + len(run) >= _LONGEST:
            yield text
            text = ""
        text = f"{text},{run}" if text else run
    if text:
        yield text
