"""The job script for LSF, and where a job's log is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jobpool.batch import exit_file
from jobpool.batch.base import JobScript, Notices
from jobpool.batch.job_side import agent_line
from jobpool.batch.lsf.job_side import ELEMENT, INDEX, JOB_SIDE, LOG_ID
from jobpool.batch.quoting import check_name, exports, shell_lines, shell_word
from jobpool.model.job import JobId

__all__ = ["NO_DIRECTORY", "NO_LOG", "log_id", "log_path", "script"]

NO_DIRECTORY, NO_LOG = 72, 73
"""Exit codes of a script that found no working directory, or could not open its log (sysexits.h's EX_OSFILE and
EX_CANTCREAT): there is nowhere to say it."""


def script(job: JobScript, head: Iterable[str], notices: Notices) -> str:
    """Write the job script with this head. Raises ``ConfigError`` for what cannot be written down safely."""
    setup = shell_lines(job.request.setup)
    log = shell_word(str(job.log_directory / f"{check_name(job.name)}-"))
    body = [
        "umask 077",
        *ELEMENT,
        f"exec >>{log}{LOG_ID}.log 2>&1 || exit {NO_LOG}",
        # LSF starts a job elsewhere without a word where its directory is not to be had.
        f"cd -- {shell_word(str(job.working_directory))} || exit {NO_DIRECTORY}",
        "unset LSB_NTRIES",  # the submit command's, and not for commands of the job
        *exports(job.environment),
        *exit_file.script_lines(
            agent_line(job.argv, JOB_SIDE, notices),
            pool=job.directory,
            submission=job.name,
            index=INDEX,
            signals=notices.signals,
            before=setup,
        ),
    ]
    return "\n".join(["#!/bin/bash", *(f"#BSUB {line}" for line in head), "", *body, ""])


def log_id(id: JobId) -> str:
    """Write an id as file names have it: ``1234_5`` for ``1234[5]``."""
    return id.replace("[", "_").removesuffix("]")


def log_path(job: JobScript, id: JobId) -> Path:
    """Say where the script writes the log of this job."""
    return job.log_directory / f"{job.name}-{log_id(id)}.log"
