"""What the agent is told by the script of its job: words that the job's shell expands, as options of its command line.

An agent knows no batch system. What only the job's own environment tells (its id, its node, when it ends) stands in
variables that each batch system names differently; its script hands them on under one name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobpool.batch.base import Notices
from jobpool.batch.quoting import shell_command, shell_word

__all__ = ["JobSide", "agent_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSide:
    """Where the job's environment says what: words for the shell (``"$OAR_JOB_ID"``). Empty: it does not say."""

    index: str
    """The job's place in its submission, from 0. A sum may be written as ``$((...))``."""
    id: str
    """The id as the batch system's commands take it."""
    node: str = ""
    """The batch system's own name of the node."""
    began: str = ""
    """When the job began, in seconds since the epoch, by the batch system's clock."""
    ends: str = ""
    """When its walltime ends, by the same clock."""
    cpus: str = ""
    """How many CPUs of the node are the job's, as the batch system counts them."""
    cluster: str = ""
    """The name of the cluster."""
    step_variables: str = ""
    """A regular expression for the names of variables that describe the script's own place in the job and would mislead
    a program that a call starts. It is written down as it is."""


def agent_line(argv: Iterable[str], side: JobSide, notices: Notices) -> str:
    """Write the agent's command line with what the job's environment tells."""
    told = (
        ("--index", side.index),
        ("--job-id", side.id),
        ("--node", side.node),
        ("--began", side.began),
        ("--ends", side.ends),
        ("--cpus", side.cpus),
        ("--cluster", side.cluster),
        ("--step-variables", shell_word(side.step_variables) if side.step_variables else ""),
        ("--notice", ",".join(notices.signals)),
        ("--suspension", notices.suspension or ""),
    )
    return " ".join((shell_command(argv), *(f"{option} {word}" for option, word in told if word)))
