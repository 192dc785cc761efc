"""Options of qsub, read as it reads them, and which are the pool's own.

An option of the user's (``job_extra``) is the pool's (jobs are found, counted or kept alive by it: refused, with what
to use instead), a keyword's (``-l walltime=``: refused where the script says it already), or free.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["VALUED", "options_of", "problems_of_extra", "resources_of", "words_of"]

VALUED = frozenset("-" + letter for letter in "aACcejklmMNoPpqrRSuvWJ")
"""Options that take a value (qsub(1)); all others stand alone."""

_OWNED = {
    "-N": "the pool finds its jobs by it; use name=",
    "-J": "the pool counts its jobs itself; use max_workers= and workers_per_job=",
    "-o": "the pool reads its jobs' logs; use log_directory=",
    "-e": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "-j": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "-k": "the log is written live, where the pool reads it; use log_directory=",
    "-R": "the log is written live, where the pool reads it; use log_directory=",
    "-I": "an interactive job has no script; use a pool, whose calls run in jobs",
    "-X": "an interactive job has no script; use a pool, whose calls run in jobs",
    "-z": "the submit command would not tell the job's id",
    "-r": "PBS refuses an array that may not be run again; a job that PBS runs again goes on serving the pool",
    "-u": "the pool would not find another user's jobs",
    "-C": "the pool's own lines would be no directives any more",
}
"""Options that only the pool may set, each with the reason and what to use instead."""

_KEYWORDS = {"-q": "partition=", "-A": "account="}
_RESOURCES = {
    "walltime": "walltime=",
    "select": "cores=, memory= and gpus=, and system_options={'select': ...} for more of a chunk",
    "place": "system_options={'place': ...}",
    "ncpus": "cores=",
    "nodes": "cores=",
    "mem": "memory=",
    "ngpus": "gpus=",
}
"""What has a keyword of its own."""


def words_of(line: str) -> list[str]:
    """Split a directive into words."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is not closed
        return line.split()


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options with their values: ``-l a=b``, ``-la=b``, ``-V``, ``-hV``."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.match(r"-[A-Za-z]", word):
            continue
        name, value = word[:2], word[2:]
        if name in VALUED:
            yield name, value or (rest.pop(0) if rest else "")
            continue
        yield name, ""
        if value:
            rest.insert(0, f"-{value}")


def resources_of(text: str) -> dict[str, str]:
    """Read ``-l``'s ``walltime=1:00:00,mem=4gb``; ``select`` and ``place`` hold no comma."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def problems_of_extra(extra: Iterable[str], stated: Iterable[str]) -> Iterator[str]:
    """Say what is wrong with the user's own options. ``stated``: the names of what the script says already."""
    said = frozenset(stated)
    for line in extra:
        text = line.strip().removeprefix("#PBS").strip()
        if not text.startswith("-"):
            yield f"job_extra={line!r} cannot be used: it is not an option of qsub; write for example '-l software=1'"
            continue
        for name, value in options_of(words_of(text)):
            yield from (f"job_extra={line!r} cannot be used: {why}" for why in _problems(name, value, said))


def _problems(name: str, value: str, stated: frozenset[str]) -> Iterator[str]:
    if name in _OWNED:
        yield f"{name} is the pool's own: {_OWNED[name]}"
    elif name in _KEYWORDS and name in stated:
        yield f"the script says {name} already; use {_KEYWORDS[name]}, or leave that out with job_skip=[{name!r}]"
    elif name == "-l":
        for resource in resources_of(value):
            # Beside a chunk nobody may ask for what a chunk holds (qsub refuses it).
            said = resource in stated or (resource in ("ncpus", "nodes", "mem", "ngpus") and "select" in stated)
            if said:
                yield f"the script says -l {resource} already; use {_RESOURCES.get(resource, 'system_options')}"
