"""What PBS's commands see of a user's environment, and what of it a job is given."""

from __future__ import annotations

from collections.abc import Mapping

from jobpool.batch import environment_file
from jobpool.model.command import Command, Unset

__all__ = ["UNSET", "command", "for_commands", "for_jobs"]

_ACCESS = frozenset({"PBS_SERVER", "PBS_DEFAULT", "PBS_CONF_FILE"})
"""How PBS is reached at all, also from inside of a job. PBS_DEFAULT is what PBS_SERVER was called before."""

UNSET = Unset(("PBS_", "PBSPRO_"), _ACCESS)
"""Inside a job they describe *that* one (PBS_JOBID, PBS_ARRAY_INDEX), or they would change what a command does
(PBS_DPREFIX: which lines of a script are directives) and prints."""

_JOBS_OWN = frozenset({"NCPUS", "OMP_NUM_THREADS", "ENVIRONMENT"})
"""Inside a job: its cores, which are not those of the new job."""


def command(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables that would change what it does or prints.

    The time-out is needed: PBS's commands have none of their own, and hang as long as a server is frozen (seen).
    """
    return Command(argv, stdin=stdin, timeout=timeout, unset=UNSET)


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command."""
    return UNSET.cleaned(environment)


def for_jobs(environment: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Write a file for the shell with the variables that jobs get: PBS itself hands none on.

    ``qsub -V`` would, and ``-v``; but everybody may read them there (``qstat -f``), a quote or a comma in one falsifies
    the others (seen), and functions of the shell do not pass. A login shell begins the job, so that what the user's
    profile sets is there anyway.
    """
    inside = _JOBS_OWN if "PBS_JOBID" in environment else frozenset()
    return environment_file.text(environment_file.handed_on(for_commands(environment), but=inside), own)
