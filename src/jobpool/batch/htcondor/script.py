"""The script of a job, which HTCondor runs with bash."""

from __future__ import annotations

import re
from pathlib import Path

from jobpool.batch import environment_file, exit_file
from jobpool.batch.base import JobScript, Notices
from jobpool.batch.htcondor.job_side import INDEX, job_side, lines
from jobpool.batch.job_side import agent_line
from jobpool.batch.quoting import shell_lines, shell_word
from jobpool.model.job import JobId

__all__ = ["job_of_log", "log_path", "script"]


def script(job: JobScript, notices: Notices) -> str:
    """Write the script. Raises ``ConfigError`` for what cannot be written down safely."""
    body = [
        # HTCondor opens the log once for stdout and once for stderr: each would write over what the other has written.
        "exec 2>&1",
        *lines(),
        "umask 077",
        environment_file.reading(job.directory),
        # Where files are transferred a job begins in a directory of its own.
        f"cd -- {shell_word(str(job.working_directory))} || exit",
        *exit_file.script_lines(
            agent_line(job.argv, job_side(job.request.walltime), notices),
            pool=job.directory,
            submission=job.name,
            index=INDEX,
            signals=notices.signals,
            before=shell_lines(job.request.setup),
        ),
    ]
    return "\n".join(["#!/bin/bash", *body, ""])


def log_path(job: JobScript, id: JobId) -> Path:
    """Say where the log of this job is."""
    return job.log_directory / f"{job.name}-{id}.log"


def job_of_log(stem: str) -> tuple[str, JobId, int] | None:
    """Read ``SUBMISSION-CLUSTER.PROC``."""
    match = re.fullmatch(r"(jp-.+-\d+)-(\d+\.(\d+))", stem)
    return None if match is None else (match[1], JobId(match[2]), int(match[3]))
