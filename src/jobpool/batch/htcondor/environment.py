"""What HTCondor's commands, and the jobs, see of a user's environment."""

from __future__ import annotations

from collections.abc import Mapping

from jobpool.batch import environment_file
from jobpool.model.command import Command, Unset

__all__ = ["command", "for_jobs"]

_OF_A_JOB = (
    "_CONDOR_ANCESTOR_", "_CONDOR_AssignedGPUs", "_CONDOR_BIN", "_CONDOR_CHIRP_CONFIG", "_CONDOR_CREDS",
    "_CONDOR_JOB_AD", "_CONDOR_JOB_IWD", "_CONDOR_JOB_PIDS", "_CONDOR_MACHINE_AD", "_CONDOR_SCRATCH_DIR",
    "_CONDOR_SLOT", "_CONDOR_WRAPPER_ERROR_FILE", "_CHIRP_", "BATCH_SYSTEM",
)  # fmt: skip
"""What a job finds of itself in its environment. HTCondor takes any ``_CONDOR_NAME`` for its setting NAME. All others
that begin so are the user's: they lead to the pool, as ``CONDOR_CONFIG`` does."""

_UNSET = Unset(_OF_A_JOB)


def command(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables of the job that it may be run in.

    60 s are more than the 20 s after which HTCondor's commands give up on a schedd that does not answer;
    ``condor_submit`` alone waits without end.
    """
    return Command(argv, stdin=stdin, timeout=timeout, unset=_UNSET)


def for_jobs(environment: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Write a file for the shell with the variables of the caller that a job shall have, too.

    HTCondor starts a job with next to none (no ``PATH``, no ``HOME``), and what ``getenv`` hands on can be read by
    everybody in the queue.
    """
    return environment_file.text(environment_file.handed_on(_UNSET.cleaned(environment)), own)
