"""Options of bsub, read as it reads them; which are the pool's own, and which a keyword says better.

An option of the user's (``job_extra``) is one of three kinds:

=============  =====================================================================================================
the pool's     jobs are found, counted, or kept alive by it: refused, with what to use instead
a keyword's    ``-W``, ``-M``, ``-n``, ...: refused where the script says it already, free where it is silent
free           all others: LSF takes or refuses them
=============  =====================================================================================================
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["SYSTEM_OPTIONS", "options_of", "options_of_line", "problems_of_extra", "words_of"]

SYSTEM_OPTIONS = {
    "application": "application profile (-app)",
    "gpu_options": "what follows num= in -gpu (mode=exclusive_process:j_exclusive=yes)",
    "gpu_resource": "a resource that counts GPUs, for versions without -gpu (ngpus_excl_p)",
    "job_group": "job group (-g)",
    "memory_limit": "job (-M), enforced (-M with '!'), or none",
    "memory_per": "host, task or job: what rusage[mem=...] is counted for",
    "memory_unit": "KB, MB, GB or TB: amounts are then bare numbers of this unit, for versions that take no units",
    "service_class": "service class (-sla)",
    "slots_per_core": "job slots that one physical core counts for: 2 where slots are hardware threads",
    "user_group": "user group (-G)",
}
"""``system_options`` of LSF, each with what it means."""

ALONE = frozenset(
    {"-B", "-H", "-I", "-IS", "-ISp", "-ISs", "-IX", "-Ip", "-Is", "-K", "-N", "-Ne", "-V", "-XF", "-Zs", "-h", "-r"}
    | {"-rn", "-ul", "-x"}
)
"""Options that take no value."""

_LONG = frozenset(
    {
        *(
            "alloc_flags",
            "app",
            "clusters",
            "cn_cu",
            "cn_mem",
            "core_isolation",
            "csm",
            "cwd",
            "data",
            "datagrp",
            "env",
        ),
        *("eo", "Ep", "eptl", "ext", "freq", "gpu", "hl", "hostfile", "is", "Jd", "jm", "jobaff", "jsdl", "json"),
        *("jsonfile", "ln_mem", "ln_slots", "Lp", "mig", "network", "nnodes", "notify", "oo", "outdir", "pack"),
        *("ptl", "rcacct", "rnc", "sla", "smt", "sp", "stage", "step_cgroup", "stepd", "ti", "tty", "wa", "We", "wt"),
        *("yaml",),
    }
) | {option[1:] for option in ALONE}
"""Options whose names are not a letter and its value in one word, as ``-n4`` is."""

_OWNED = {
    "-J": "the pool finds its jobs by it; use name=",
    "-o": "the pool reads its jobs' logs; use log_directory=",
    "-oo": "the pool reads its jobs' logs; use log_directory=",
    "-e": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "-eo": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "-outdir": "the pool reads its jobs' logs; use log_directory=",
    "-cwd": "jobs run in the directory where the pool is made; change to it first",
    "-i": "the pool writes the script, which reads nothing",
    "-is": "the pool writes the script, which reads nothing",
    "-K": "the submit command would not come back before the job's end",
    "-Zs": "the script is handed on by the submit command already",
    "-pack": "the pool submits its jobs itself",
    "-json": "the pool writes the script; use setup= for lines of your own",
    "-yaml": "the pool writes the script; use setup= for lines of your own",
    "-jsdl": "the pool writes the script; use setup= for lines of your own",
    "-r": "jobpool asks for new jobs itself, and a job that ran again would have the name of one that is gone",
    "-Q": "jobpool asks for new jobs itself",
    "-k": "a job that is restarted from a checkpoint would meet a server that gave it up",
    "-h": "no job would come of it",
    "-V": "no job would come of it",
}
"""Options that only the pool may set, each with the reason and what to use instead."""

_KEYWORDS = {
    "-n": "cores= and workers_per_job=",
    "-W": "walltime=",
    "-M": "memory=",
    "-q": "partition=",
    "-P": "account=",
    "-U": "reservation=",
    "-gpu": "gpus=",
    "-G": "system_options={'user_group': ...}",
    "-g": "system_options={'job_group': ...}",
    "-app": "system_options={'application': ...}",
    "-sla": "system_options={'service_class': ...}",
}
"""Options with a keyword of their own."""

_SECTIONS = {
    r"\bspan\s*\[": ('-R "span[hosts=1]"', "one job is one node; use max_workers= for more jobs"),
    r"\brusage\s*\[[^]]*\bmem\s*=": ('-R "rusage[mem=', "use memory="),
}
"""Of a resource requirement: what the script says already, how that line begins, and what to use instead."""


def words_of(line: str) -> list[str]:
    """Split a directive into words."""
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is not closed
        return line.split()


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value; empty for one that takes none. What is no option is left out."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            continue
        if word in ALONE:
            yield word, ""
        elif word[1:] not in _LONG and (attached := re.fullmatch(r"(-[A-Za-z])(.+)", word)):
            yield attached[1], attached[2]
        else:
            yield word, rest.pop(0) if rest else ""


def options_of_line(line: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a directive, with or without ``#BSUB`` before it."""
    return options_of(words_of(line.strip().removeprefix("#BSUB")))


def problems_of_extra(extra: Iterable[str], ours: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with the user's own options. ``ours`` are the directives that the script has."""
    stated = {option for line in ours for option, _ in options_of_line(line)}
    for line in extra:
        text = line.strip().removeprefix("#BSUB").strip()
        if not text.startswith("-"):
            yield f"job_extra={line!r} cannot be used: it is not an option of bsub; write for example '-B'"
            continue
        for option, value in options_of_line(text):
            if problem := _problem(option, value, stated, ours):
                yield f"job_extra={line!r} cannot be used: {problem}"


def _problem(option: str, value: str, stated: set[str], ours: Sequence[str]) -> str:
    if option.startswith("-I"):
        return f"{option} is the pool's own: its jobs have no terminal"
    if option in _OWNED:
        return f"{option} is the pool's own: {_OWNED[option]}"
    if option in _KEYWORDS and option in stated:
        return (
            f"the script says {option} already; use {_KEYWORDS[option]}, or leave that out with job_skip=['{option}']"
        )
    if option == "-R":
        for section, (line, instead) in _SECTIONS.items():
            if re.search(section, value) and any(ours_line.startswith(line) for ours_line in ours):
                return f"the script says {line} already; {instead}, or leave that out with job_skip=['{line}']"
    return ""
