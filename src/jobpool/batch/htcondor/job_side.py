"""What HTCondor tells a job of itself: two arguments, and files of which the environment says where they are."""

from __future__ import annotations

import math
from collections.abc import Iterator

from jobpool.batch.job_side import JobSide
from jobpool.model.units import Duration

__all__ = ["ARGUMENTS", "INDEX", "job_side", "lines"]

ARGUMENTS = "$(ProcId) $(ClusterId).$(ProcId)"
"""What the submit description hands to the script: no variable in the job has its ids."""

INDEX = '"$condor_proc"'
"""The job's place in its submission, as a word for the shell."""


def lines() -> Iterator[str]:
    """Write the lines that keep what the job is told, before the user's own lines run."""
    yield "condor_proc=$1 condor_id=$2 condor_node= condor_cpus= condor_began="
    # A file that a line of setup= sources would take them for its own.
    yield "set --"
    yield (
        'while read -r name _ value; do case $name in Machine) condor_node=${value//\\"/};; Cpus) condor_cpus=$value;; '
        'esac; done 2>/dev/null <"$_CONDOR_MACHINE_AD"'
    )
    yield (
        "while read -r name _ value; do case $name in JobCurrentStartDate) condor_began=$value;; esac; done "
        '2>/dev/null <"$_CONDOR_JOB_AD"'
    )


def job_side(walltime: Duration | None) -> JobSide:
    """Return where the agent finds what. HTCondor counts the walltime from the start that the job's own file tells."""
    ends = "" if walltime is None else f'"${{condor_began:+$((condor_began + {math.ceil(walltime)}))}}"'
    return JobSide(
        index=INDEX, id='"$condor_id"', node='"$condor_node"', began='"$condor_began"', ends=ends, cpus='"$condor_cpus"'
    )
