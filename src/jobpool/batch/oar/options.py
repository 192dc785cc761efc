"""Options of oarsub, read as it reads them, and which are the pool's own.

An option of the user's (``job_extra``) is one of three kinds:

=============  =====================================================================================================
the pool's     jobs are found, counted, or kept alive by it: refused, with what to use instead
a keyword's    ``-l``, ``-p``, ``-q``, ``--project``: refused where the pool says it already, free where it is silent
free           all others: OAR takes or refuses them
=============  =====================================================================================================
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ALONE", "LONG", "SHORT", "named", "options_of", "options_of_line", "problems_of_extra", "words_of"]

SHORT = {
    "a": "after", "C": "connect", "d": "directory", "D": "dumper", "E": "stderr", "e": "export-job-key-to-file",
    "h": "help", "I": "interactive", "i": "import-job-key-from-file", "J": "json", "k": "use-job-key", "l": "resource",
    "n": "name", "O": "stdout", "p": "property", "q": "queue", "r": "reservation", "S": "scanscript", "s": "stagein",
    "t": "type", "V": "version", "X": "xml", "Y": "yaml",
}  # fmt: skip

ALONE = frozenset(
    {
        *("connect", "dumper", "help", "hold", "interactive", "json", "scanscript", "use-job-key", "version", "xml"),
        *("yaml",),
    }
)
"""Options that take no value."""

LONG = frozenset(
    {
        *SHORT.values(),
        *("anterior", "array", "array-param-file", "checkpoint", "hold", "notify", "project", "resubmit", "signal"),
        *("stagein-md5sum", "import-job-key-inline"),
    }
)

_OWNED = {
    "name": "the pool finds its jobs by it; use name=",
    "array": "the pool counts its jobs itself; use max_workers= and workers_per_job=",
    "array-param-file": "the pool counts its jobs itself; use max_workers= and workers_per_job=",
    "stdout": "the pool reads its jobs' logs; use log_directory=",
    "stderr": "the pool reads its jobs' logs; use log_directory=",
    "directory": "calls run in the directory of the script that makes the pool",
    "checkpoint": "the agent takes its leave before the walltime ends by itself",
    "signal": "the agent takes its leave before the walltime ends by itself",
    "interactive": "a job of a pool has no terminal",
    "connect": "a job of a pool has no terminal",
    "scanscript": "the pool writes the job's script itself",
    "resubmit": "the pool makes its jobs itself",
    "reservation": "it starts one job at a fixed time, and a pool has many; use reservation= for a container job",
    **dict.fromkeys(("dumper", "json", "xml", "yaml"), "the pool reads what oarsub prints"),
    **dict.fromkeys(("help", "version"), "it makes oarsub submit nothing"),
}
"""Options that are the pool's own, with what to do instead."""

_KEYWORDS = {
    "resource": "cores=, gpus= and walltime=, or leave ours out with job_skip=['-l']",
    "property": "constraint=",
    "queue": "partition=",
    "project": "account=",
}
"""Options with a keyword of their own."""


def words_of(line: str) -> list[str]:
    """Split options into words, as a shell does."""
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is not closed
        return line.split()


def named(name: str) -> tuple[str, ...]:
    """Return the options that a long name may mean: oarsub takes the beginning of one, too. Empty: it is not known."""
    return (name,) if name in LONG else tuple(sorted(known for known in LONG if known.startswith(name)))


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option by its long name, with its value; an abbreviation that may be several as it is.

    A word that is neither an option nor the value of one is the value of an option without a name.
    """
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            yield "", word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--") and name[:1] in SHORT:
            # -t besteffort and -tbesteffort are the same.
            name, value = SHORT[name[0]], name[1:] + equals + value
        else:
            meant = named(name)
            name = meant[0] if len(meant) == 1 else name
        if name not in ALONE and not value and rest:
            value = rest.pop(0)
        yield name, value


def options_of_line(line: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a directive, with or without ``#OAR`` before it."""
    return options_of(words_of(line.strip().removeprefix("#OAR")))


def problems_of_extra(extra: Iterable[str], stated: Iterable[str]) -> Iterator[str]:
    """Say what is wrong with the user's own options. ``stated``: those that the pool writes, by their long names."""
    stated = frozenset(stated)
    for line in extra:
        text = line.strip().removeprefix("#OAR").strip()
        if not text.startswith("-"):
            yield f"job_extra={line!r} cannot be used: it is not an option of oarsub; write for example '-t besteffort'"
            continue
        for name, value in options_of(words_of(text)):
            if problem := _problem(name, value, stated):
                yield f"job_extra={line!r} cannot be used: {problem}"


def _problem(name: str, value: str, stated: frozenset[str]) -> str:
    if not name:
        return f"oarsub would take {value!r} for the command; write one option with its value in a text"
    meant = named(name)
    if len(meant) > 1:
        return f"--{name} may be {', '.join(f'--{one}' for one in meant)}; write it in full"
    if name in _OWNED:
        return f"--{name} is the pool's own: {_OWNED[name]}"
    if name == "type" and value == "idempotent":
        return "OAR would run such a job again behind the pool's back; the pool runs lost calls again itself"
    if name in _KEYWORDS and name in stated:
        return f"the pool says --{name} already; use {_KEYWORDS[name]}"
    return ""
