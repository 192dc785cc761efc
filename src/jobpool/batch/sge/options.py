"""Options of qsub in a line of a script, and which of them are the pool's own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

__all__ = ["ALONE", "options_of_line", "problems_of_extra", "resources_of", "words_of"]

ALONE = frozenset(
    {"clear", "cwd", "h", "hard", "help", "notify", "soft", "terse", "V", "verify", "nostdin", "noshell", "shell"}
)
"""Options that take no value. (``-h`` may have one; beside others of a line it is one word.)"""

_PAIRS = frozenset({"pe", "binding"})
"""Options that take two words."""

_OWNED = {
    "N": "the pool finds its jobs by their name; use name=",
    "t": "the pool counts its jobs itself; use max_workers= and workers_per_job=",
    "o": "the pool reads its jobs' logs; use log_directory=",
    "e": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "j": "a job's stdout and stderr go into one log, which the pool reads",
    "i": "the agent reads no input",
    "wd": "jobs run in the directory where the pool is made; change to it first",
    "cwd": "jobs run in the directory where the pool is made",
    "S": "the job script is for bash",
    "b": "the pool writes the script; use setup= for lines of your own",
    "C": "the pool writes the script",
    "sync": "the submit command would not come back before the job's end",
    "now": "a job that cannot start at once would be refused",
    "terse": "the pool reads the answer of the submit command",
    "verify": "no job would come of it",
    "help": "no job would come of it",
    "w": "a queue that is disabled for a moment would have jobs refused for good",
    "r": "Grid Engine would run a job again while processes of its first run go on; the pool asks for new jobs itself",
    "clear": "it would take away what the pool has asked for",
    "@": "the options in a file are not read; write them as job_extra",
    "ckpt": "Grid Engine would start a job again by itself; use checkpoint() in a call",
}
"""Options that only the pool may set, each with the reason and what to use instead."""

_KEYWORDS = {
    "pe": "cores= and system_options={'parallel_environment': ...}",
    "q": "partition=",
    "P": "account=",
    "ar": "reservation=",
}
"""Options of settings: refused where the script says them already."""

_RESOURCES = {"h_rt": "walltime="}

_NEVER = {
    "s_rt": "a job that catches its signal is not ended by h_rt any more (seen on 8.1.9); a pool's jobs end before "
    "their walltime by themselves",
}


def words_of(text: str) -> list[str]:
    """Split the text of a line as qsub does, quotes among it."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def options_of_line(line: str) -> Iterator[tuple[str, str]]:
    """Read the options of a line, with or without ``#$``: names without the dash, and values."""
    words = words_of(line.strip().removeprefix("#$"))
    at = 0
    while at < len(words):
        name, at = words[at], at + 1
        if not name.startswith("-") or len(name) == 1:
            yield "", name
            continue
        name = name[1:]
        width = 0 if name in ALONE else 2 if name in _PAIRS else 1
        value, at = words[at : at + width], at + width
        yield name, " ".join(value)


def resources_of(line: str) -> Iterator[tuple[str, str]]:
    """Read what the ``-l`` options of a line ask for: names and values; a value is empty where only a name stands."""
    for option, value in options_of_line(line):
        if option == "l":
            for part in value.split(","):
                name, _, amount = part.partition("=")
                if name.strip():
                    yield name.strip(), amount.strip()


def problems_of_extra(lines: Iterable[str], stated: frozenset[str]) -> Iterator[str]:
    """Say what the pool cannot take of the user's own lines. ``stated`` are names that the script has already.

    Options as they are called (``q``), and resources (``l h_rt``).
    """
    for line in lines:
        found = list(options_of_line(line))
        for name, value in found:
            if not name:
                yield f"job_extra: {line!r} is no option of qsub's: {value!r} does not begin with '-'"
            elif name in _OWNED:
                yield f"job_extra: {line!r} cannot be used: {_OWNED[name]}"
            elif name in _KEYWORDS and name in stated:
                yield f"job_extra: {line!r} is said by {_KEYWORDS[name]} already; leave one of them out"
        for name, _ in resources_of(line):
            if name in _NEVER:
                yield f"job_extra: {line!r} cannot be used: {_NEVER[name]}"
            elif name in _RESOURCES and f"l {name}" in stated:
                yield f"job_extra: {line!r} is said by {_RESOURCES[name]} already; leave one of them out"
