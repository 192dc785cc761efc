"""What OAR's variables in a job say, for the job script to hand on to the agent."""

from __future__ import annotations

from jobpool.batch.job_side import JobSide

__all__ = ["BEGAN", "CLEARED", "JOB_SIDE"]

BEGAN = 'oar_began=$(stat -c %Y "${OAR_NODEFILE:-/}" 2>/dev/null || date +%s)'
"""A line of the script. OAR does not tell a job when it began; it writes the list of its nodes just before it starts
the script, on the first of them."""

CLEARED = (
    "unset BASH_ENV PERL5LIB RUBYLIB SUDO_COMMAND OARDIR OARDO_UID OARDO_USER OARUSER OARCONFFILE OARXAUTHLOCATION"
)
"""A line of the script. By these variables OAR's own programs ran, as another user, before they started the job: each
shell script of a call would read the user's ``.bashrc``, and each Perl program OAR's modules."""

JOB_SIDE = JobSide(
    # An element of an array counts from 1; a plain job has a 1, too.
    index='"$((${OAR_ARRAY_INDEX:-1} - 1))"',
    id='"$OAR_JOB_ID"',
    # The name by which OAR's properties know the node (network_address): one line for each core.
    node='"$(head -n 1 "$OAR_NODEFILE")"',
    # Each core of the job has its line there.
    cpus='"$(wc -l <"$OAR_NODEFILE")"',
    began='"$oar_began"',
    ends='"${OAR_JOB_WALLTIME_SECONDS:+$((oar_began + OAR_JOB_WALLTIME_SECONDS))}"',
)
