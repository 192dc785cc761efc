"""What PBS's commands see of a user's environment, and what of it a job is given."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobpool.model.command import Command, Unset

__all__ = ["command", "for_commands", "for_jobs"]

_ACCESS = frozenset({"PBS_SERVER", "PBS_DEFAULT", "PBS_CONF_FILE"})
"""How PBS is reached at all, also from inside of a job. PBS_DEFAULT is what PBS_SERVER was called before."""

_UNSET = Unset(("PBS_", "PBSPRO_"), _ACCESS)
"""Inside a job they describe *that* one (PBS_JOBID, PBS_ARRAY_INDEX), or they would change what a command does
(PBS_DPREFIX: which lines of a script are directives) and prints."""

_JOBS_OWN = frozenset({"NCPUS", "OMP_NUM_THREADS", "ENVIRONMENT", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"})
"""Inside a job: its cores and its GPUs, which are not those of the new job."""

_NODES_OWN = frozenset({"TMPDIR", "PWD", "OLDPWD", "SHLVL", "HOSTNAME", "_", "DISPLAY", "XAUTHORITY", "WINDOWID"})
"""What belongs to a process, its shell or its host. A job has a TMPDIR of its own, which PBS removes at its end."""

_READ_ONLY = frozenset({"BASHOPTS", "SHELLOPTS", "BASH_VERSINFO", "EUID", "PPID", "UID"})
"""Variables that bash lets nobody set."""


def command(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables that would change what it does or prints.

    The time-out is needed: PBS's commands have none of their own, and hang as long as a server is frozen (seen).
    """
    return Command(argv, stdin=stdin, timeout=timeout, unset=_UNSET)


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command."""
    return _UNSET.cleaned(environment)


def for_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job's script sets: PBS itself hands none on.

    ``qsub -V`` would, and ``-v``; but everybody may read them there (``qstat -f``), a quote or a comma in one falsifies
    the others (seen), and functions of the shell do not pass. A login shell begins the job, so that what the user's
    profile sets is there anyway.
    """
    inside = _JOBS_OWN if "PBS_JOBID" in environment else frozenset()
    left_out = inside | _NODES_OWN | _READ_ONLY
    return {
        name: value
        for name, value in for_commands(environment).items()
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name not in left_out
    }
