"""The job script for PBS, and where its log goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from jobpool.batch import environment_file, exit_file
from jobpool.batch.base import Directive, JobScript, Notices
from jobpool.batch.job_side import agent_line
from jobpool.batch.pbs.job_side import INDEX, JOB_SIDE
from jobpool.batch.quoting import check_name, shell_lines, shell_word, single_line
from jobpool.model.errors import ConfigError

__all__ = ["log_path", "log_pattern", "script"]

_ELEMENT = "^array_index^"
"""qsub puts an element's index in its place."""

_LARGEST = 4 * 2**20
"""Bytes of a whole script, far below PBS's ``jobscript_max_size`` (100 MB); what is larger is a mistake."""


def script(job: JobScript, directives: Iterable[Directive], notices: Notices) -> str:
    """Write the job script. Raises ``ConfigError`` for what cannot be written down safely."""
    directory = single_line(str(job.working_directory), "the working directory")
    setup = shell_lines(job.request.setup)
    log = shell_word(f"{single_line(str(job.log_directory), 'the log directory')}/{job.name}-")
    opened = [] if _takes(job.log_directory) else [f'exec >>{log}"{INDEX}".log 2>&1']
    lines = [
        "umask 077",
        *opened,
        environment_file.reading(job.directory),
        # PBS begins a job in $HOME.
        f"cd {shell_word(directory)} || cd /tmp",
        *exit_file.script_lines(
            agent_line(job.argv, JOB_SIDE, notices),
            pool=job.directory,
            submission=job.name,
            index=f'"{INDEX}"',
            signals=notices.signals,
            before=setup,
        ),
    ]
    head = (f"#PBS {directive.text}" for directive in directives)
    text = "\n".join(["#!/bin/bash", *head, "", *lines, ""])
    if len(text.encode()) >= _LARGEST:
        size = f"{len(text):,} characters"
        raise ConfigError(f"the job script has {size}, and more than {_LARGEST:,} are a mistake: shorten setup=")
    return text


def log_pattern(job: JobScript, *, count: int) -> str:
    """Return qsub's ``-o`` for so many jobs: ``/dev/null`` where the script itself opens the log."""
    if not _takes(job.log_directory):
        return "/dev/null"
    return f"{job.log_directory}/{_log_name(job, _ELEMENT if count > 1 else '0')}"


def _takes(directory: Path) -> bool:
    """Say whether qsub reads this path as it is.

    It refuses letters other than ASCII's (seen), what stands before a colon is a host for it, and ``^`` begins
    ``^array_index^``. Blanks, ``%``, ``@`` and ``=`` do no harm (seen).
    """
    return re.fullmatch(r"/[A-Za-z0-9_./ %@=+-]*", str(directory)) is not None


def log_path(job: JobScript, index: int) -> Path:
    """Say where PBS writes the log of this job."""
    return job.log_directory / _log_name(job, str(index))


def _log_name(job: JobScript, index: str) -> str:
    return f"{check_name(job.name)}-{index}.log"
