"""Options of sbatch, read as it reads them: abbreviated, joined, several in one text; and which are the pool's own.

An option of the user's (``job_extra``) is one of four kinds:

=============  =====================================================================================================
the pool's     jobs are found, counted, or kept alive by it: refused, with what to use instead
a keyword's    ``--mem``, ``--time``, ...: refused where the script says something else already, free where it is silent
srun's         sbatch refuses it, and guides show both beside each other: refused, with where it belongs
free           all others: SLURM takes or refuses them
=============  =====================================================================================================
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "LONG",
    "SHORT",
    "SRUN_ONLY",
    "SRUN_ONLY_SHORT",
    "named",
    "options_of",
    "options_of_line",
    "problems_of_extra",
    "refusal_of_srun",
    "words_of",
]

SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint", "c": "cpus-per-task",
    "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "h": "help",
    "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes",
    "n": "ntasks", "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose", "W": "wait", "w": "nodelist", "x": "exclude",
}  # fmt: skip

ALONE = frozenset(
    {
        *("contiguous", "exclusive", "get-user-env", "help", "hold", "ignore-pbs", "kill-on-invalid-dep", "nice"),
        *("no-kill", "no-requeue", "overcommit", "oversubscribe", "parsable", "propagate", "quiet", "reboot"),
        *("requeue", "spread-job", "test-only", "usage", "use-min-nodes", "verbose", "version", "wait"),
        *("disable-status", "exact", "immediate", "kill-on-bad-exit", "label", "multi-prog", "no-allocate", "overlap"),
        *("preserve-env", "pty", "unbuffered", "consolidate-segments", "share", "spread-segments", "stepmgr"),
    }
)
"""Options that take no value, or one behind ``=`` only (sbatch(1), srun(1))."""

LONG = frozenset(
    {
        *("account", "acctg-freq", "array", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint", "clusters"),
        *("comment", "consolidate-segments", "constraint", "container", "container-id", "contiguous", "core-spec"),
        *("cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline", "delay-boot", "dependency"),
        *("distribution", "error", "exclude", "exclusive", "export", "export-file", "extra", "extra-node-info"),
        *("get-user-env", "gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"),
        *("gres", "gres-flags", "help", "hint", "hold", "ignore-pbs", "input", "job-name", "kill-on-invalid-dep"),
        *("licenses", "mail-type", "mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu"),
        *("mincpus", "network", "nice", "no-kill", "no-requeue", "nodefile", "nodelist", "nodes", "ntasks"),
        *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "ntasks-per-tres"),
        *("oom-kill-step", "open-mode", "output", "overcommit", "oversubscribe", "parsable", "partition", "power"),
        *("prefer", "priority", "profile", "propagate", "qos", "quiet", "reboot", "requeue", "reservation"),
        *("resources", "segment", "share", "signal", "sockets-per-node", "spread-job", "spread-segments", "stepmgr"),
        *("switches", "tasks-per-node", "test-only", "thread-spec", "threads-per-core", "time", "time-min", "tmp"),
        *("tres-bind", "tres-per-task", "tres-per-job", "tres-per-node", "tres-per-socket", "uid", "usage"),
        *("use-min-nodes", "verbose", "version", "wait", "wait-all-nodes", "wckey", "workdir", "wrap"),
    }
)
"""Those of SLURM 20.11 to 26.05."""

SRUN_ONLY = frozenset(
    {
        *("accel-bind", "bcast", "bcast-exclude", "compress", "cpu-bind", "cpu_bind", "disable-status", "epilog"),
        *("exact", "external-launcher", "het-group", "immediate", "interactive", "jobid", "kill-on-bad-exit", "label"),
        *("mpi", "mpi-combine", "msg-timeout", "multi-prog", "no-allocate", "overlap", "preserve-env", "prolog", "pty"),
        *("quit-on-interrupt", "relative", "resv-ports", "send-libs", "slurmd-debug", "task-epilog", "task-prolog"),
        *("tree-width", "unbuffered"),
    }
)
"""Long options of srun that sbatch refuses. (``--threads`` is not one: there it is short for --threads-per-core.)"""

SRUN_ONLY_SHORT = {
    "E": "preserve-env", "I": "immediate", "K": "kill-on-bad-exit", "l": "label", "r": "relative", "u": "unbuffered",
    "X": "disable-status", "Z": "no-allocate",
}  # fmt: skip

_OWNED = {
    "job-name": "the pool finds its jobs by it; use name=",
    "array": "the pool counts its jobs itself; use max_workers= and workers_per_job=",
    "output": "the pool reads its jobs' logs; use log_directory=",
    "error": "a job's stdout and stderr go into one log, which the pool reads; use log_directory=",
    "open-mode": "a requeued job goes on in its log, else it would wipe out why its first run ended",
    "chdir": "jobs run in the directory where the pool is made; change to it first",
    "exclude": "the pool adds nodes that fail to the list; use exclude=",
    "signal": "it would end the agent; jobs keep the time themselves, see checkpoint()",
    "wrap": "the pool writes the script; use setup= for lines of your own",
    "test-only": "no job would come of it; use check(start=True)",
    "wait": "the submit command would not come back before the job's end",
    "quiet": "the submit command would not tell the job's id",
    "help": "no job would come of it",
    "usage": "no job would come of it",
    "version": "no job would come of it",
    "clusters": "the pool would not find the jobs there; set SLURM_CLUSTERS, which all of SLURM's commands read",
    "uid": "the pool would not find another user's jobs",
}
"""Options that only the pool may set, each with the reason and what to use instead."""

_JUST_ONE = {
    "nodes": "one job is one node; use max_workers= for more jobs",
    "ntasks": "one job is one task, the agent, which starts the workers; use workers_per_job=",
    "ntasks-per-node": "one job is one task, the agent, which starts the workers; use workers_per_job=",
    "tasks-per-node": "one job is one task, the agent, which starts the workers; use workers_per_job=",
}
"""The same, but for the value that the pool itself means."""

_KEYWORDS = {
    "cpus-per-task": ("cpus-per-task", "cores= and threads_per_core="),
    "cpus-per-gpu": ("cpus-per-task", "cores="),
    "threads-per-core": ("threads-per-core", "threads_per_core="),
    "hint": ("threads-per-core", "threads_per_core="),
    "ntasks-per-core": ("threads-per-core", "threads_per_core="),
    "mem": ("mem", "memory="),
    "mem-per-cpu": ("mem", "memory="),
    "mem-per-gpu": ("mem", "memory="),
    "time": ("time", "walltime="),
    "gres": ("gres", "gpus="),
    "gpus": ("gres", "gpus="),
    "gpus-per-node": ("gres", "gpus="),
    "gpus-per-task": ("gres", "gpus="),
    "gpus-per-socket": ("gres", "gpus="),
    "licenses": ("licenses", "licenses="),
    "partition": ("partition", "partition="),
    "account": ("account", "account="),
    "qos": ("qos", "qos="),
    "reservation": ("reservation", "reservation="),
    "constraint": ("constraint", "constraint="),
}
"""Options with a keyword of their own: the directive of the script that says the same, and the keyword."""


def words_of(line: str) -> list[str]:
    """Split a directive into words."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is not closed
        return line.split()


def named(name: str) -> tuple[str, ...]:
    """Return the options that a long name may mean: sbatch takes the beginning of one, too. Empty: it is not known."""
    return (name,) if name in LONG | SRUN_ONLY else tuple(sorted(known for known in LONG if known.startswith(name)))


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option by its long name, with its value; an abbreviation that may be several as it is."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            meant = named(name)
            name = meant[0] if len(meant) == 1 else name
            # Of an option that a site's plugin adds nobody knows whether it takes a value; one does not begin with "-".
            alone = name in ALONE or (not meant and bool(rest) and rest[0].startswith("-"))
            if not equals and not alone and rest:
                value = rest.pop(0)
            yield name, value
        elif word.startswith("-"):
            yield from _short(word[1:], rest)


def options_of_line(line: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a directive, with or without ``#SBATCH`` before it."""
    return options_of(words_of(line.strip().removeprefix("#SBATCH")))


def _short(letters: str, rest: list[str]) -> Iterator[tuple[str, str]]:
    """Read ``-Jx``, ``-J x``, ``-HJx``; what SLURM does not know ends the word."""
    while letters:
        letter, letters = letters[0], letters[1:]
        name = SHORT.get(letter) or SRUN_ONLY_SHORT.get(letter)
        if name is None:
            return
        if name in ALONE and letters[:1] != "=":
            yield name, ""
            continue
        yield name, letters.removeprefix("=") if letters else (rest.pop(0) if rest else "")
        return


def problems_of_extra(extra: Iterable[str], stated: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with the user's own options. ``stated``: those of the script, by their long names."""
    for line in extra:
        text = line.strip().removeprefix("#SBATCH").strip()
        if not text.startswith("-"):
            advice = "write for example '--mail-type=END'"
            yield f"job_extra={line!r} cannot be used: it is not an option of sbatch; {advice}"
            continue
        for name, value in options_of(words_of(text)):
            if problem := _problem(name, value, stated):
                yield f"job_extra={line!r} cannot be used: {problem}"


def _problem(name: str, value: str, stated: Mapping[str, str]) -> str:
    if name in SRUN_ONLY:
        return refusal_of_srun(name)
    meant = named(name)
    if len(meant) > 1:
        return f"--{name} may be {', '.join(f'--{one}' for one in meant)}; write it in full"
    if name in _OWNED:
        return f"--{name} is the pool's own: {_OWNED[name]}"
    if name in _JUST_ONE and value not in ("1", "1-1"):
        return f"--{name} is the pool's own: {_JUST_ONE[name]}"
    directive, keyword = _KEYWORDS.get(name, ("", ""))
    if directive in stated and (name, value) != (directive, stated[directive]):
        return (
            f"the script says --{directive}={stated[directive]} already; use {keyword}, or leave that out with "
            f"job_skip=['--{directive}']"
        )
    return ""


def refusal_of_srun(name: str) -> str:
    """Say why sbatch refuses this option of srun, and what to do. ``name`` is the long one, without dashes."""
    if name in ("cpu-bind", "cpu_bind"):
        cure = "leave it out: bind= ('cores', 'threads' or 'none') binds calls to their cores; in a script, write it "
        cure += "after srun"
    else:
        cure = "leave it out; in a script, write it after srun and not in an #SBATCH line"
    return f"--{name} is an option of srun: sbatch refuses it; {cure}"
