"""What HTCondor's commands, and the jobs, see of a user's environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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

_OF_THE_NODE = frozenset(
    {
        # The job's own folder for files, and its own devices.
        *("TMPDIR", "TEMP", "TMP", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "NVIDIA_VISIBLE_DEVICES"),
        *("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
        # What a shell keeps for itself.
        *("PWD", "OLDPWD", "SHLVL", "_"),
    }
)
"""Variables that HTCondor, or the shell, sets in the job, and that shall stay as they are there."""

_LONGEST = 131_071
"""Bytes of a variable with its name that Linux hands to a program. A longer one never reached the caller by itself."""


def command(*argv: str, stdin: str | None = None, timeout: float = 60.0) -> Command:
    """Make a command that runs without the variables of the job that it may be run in.

    60 s are more than the 20 s after which HTCondor's commands give up on a schedd that does not answer;
    ``condor_submit`` alone waits without end.
    """
    return Command(argv, stdin=stdin, timeout=timeout, unset=_UNSET)


def for_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the caller that a job shall have, too.

    Its script sets them: HTCondor starts a job with next to none (no ``PATH``, no ``HOME``), and what ``getenv`` hands
    on can be read by everybody in the queue.
    """
    return {
        name: value
        for name, value in _UNSET.cleaned(environment).items()
        if name not in _OF_THE_NODE
        and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        and len(os.fsencode(f"{name}={value}")) <= _LONGEST
    }
