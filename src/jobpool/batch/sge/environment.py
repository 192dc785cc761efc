"""What Grid Engine's commands see of a user's environment, and what of it jobs get."""

from __future__ import annotations

from collections.abc import Mapping

from jobpool.batch import environment_file
from jobpool.model.command import Command, Unset

__all__ = ["UNSET", "command", "for_commands", "for_jobs", "in_job"]

_PATIENCE = 60.0
"""Seconds. A command whose master is frozen gives up after 122 of them, or later (seen)."""

_ACCESS = frozenset({"SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_CLUSTER_NAME"})
"""The way to the cluster."""

UNSET = Unset(("SGE_",), _ACCESS)
"""The others describe a job, or change what a command prints (SGE_DEBUG_LEVEL, SGE_LONG_QNAMES, SGE_SINGLE_LINE)."""

_OF_A_JOB = frozenset(
    {
        *("ARC", "ENVIRONMENT", "HOSTNAME", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NHOSTS", "NQUEUES", "NSLOTS", "PE"),
        *("PE_HOSTFILE", "QUEUE", "REQNAME", "REQUEST", "RESTARTED", "TMP", "TMPDIR"),
    }
)
"""What Grid Engine sets in a job, by names that are its own (``qsub(1)``). Outside of one, TMPDIR may be the user's."""


def command(*argv: str, stdin: str | None = None, timeout: float = _PATIENCE) -> Command:
    """Make a command that runs without the variables that would change what it does or prints."""
    return Command(argv, stdin=stdin, timeout=timeout, unset=UNSET)


def in_job(environment: Mapping[str, str]) -> bool:
    """Say whether a process with these variables runs in a job of Grid Engine."""
    return "JOB_ID" in environment and "SGE_TASK_ID" in environment


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command that asks Grid Engine, submits, or deletes jobs."""
    inside = _OF_A_JOB if in_job(environment) else frozenset()
    return {name: value for name, value in UNSET.cleaned(environment).items() if name not in inside}


def for_jobs(environment: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Write a file for the shell that gives a job the environment of the process that submits.

    Not ``qsub -V``: everybody can read what that hands on (``qstat -j``), a value of several lines harms it, and the
    functions that a bash exports come out broken. A variable that a job has of its own stays the job's.
    """
    return environment_file.text(environment_file.handed_on(for_commands(environment), but=_OF_A_JOB), own)
