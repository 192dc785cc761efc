"""What a request becomes for SLURM: directives with their reasons, and the job script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jobpool.batch.base import Directive, JobScript, Notices
from jobpool.batch.job_side import agent_line
from jobpool.batch.quoting import check_name, exports, shell_lines, single_line
from jobpool.batch.slurm.job_side import JOB_SIDE
from jobpool.batch.slurm.options import options_of, problems_of_extra, words_of
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.units import Duration

__all__ = ["directives", "head", "log_path", "script", "slurm_time", "stated_options"]

# SLURM expands these in --output: the id of the array, and the element's index.
_ARRAY_LOG, _PLAIN_LOG = "-%A_%a.log", "-%A.log"

_LONGEST = 4000
"""Bytes of one directive: the controller takes paths of up to 4096, and sbatch's buffer for a word has 8192."""

_LARGEST = 4 * 2**20
"""Bytes of a whole script that the controller takes, unless the site has set ``max_script_size``."""


def directives(request: Request) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in a directive."""
    if "" in request.job_skip:
        raise ConfigError("job_skip: an empty text would leave out every directive; name one, such as '--mem'")
    ours = (*_shape(request), *_amounts(request), *_places(request))
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    return (*kept, *_extra(request, dict(options_of([word for line in kept for word in words_of(line.text)]))))


def head(job: JobScript, *, count: int) -> tuple[str, ...]:
    """Write the directives of a script for so many jobs. Raises ``ConfigError`` for what cannot be written safely."""
    return (
        _option("--output", _log_pattern(job, _ARRAY_LOG if count > 1 else _PLAIN_LOG)),
        # A requeued job writes to the same file: without this it would wipe out why its first run ended.
        "--open-mode=append",
        _option("--chdir", single_line(str(job.working_directory), "the working directory")),
        *(directive.text for directive in directives(job.request)),
    )


def script(job: JobScript, head: Iterable[str], notices: Notices) -> str:
    """Write the job script with this head. Raises ``ConfigError`` for what cannot be written down safely."""
    setup = shell_lines(job.request.setup)
    body = [
        "umask 077",
        *exports(job.environment),
        *setup,
        # exec: the agent is the process that SLURM signals, and whose exit code it reports.
        f"exec {agent_line(job.argv, JOB_SIDE, notices)}",
    ]
    text = "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in head), "", *body, ""])
    if len(text.encode()) >= _LARGEST:
        raise ConfigError(f"the job script has {len(text):,} characters, and SLURM takes {_LARGEST:,}: shorten setup=")
    return text


def log_path(job: JobScript, id: JobId) -> Path:
    """Say where SLURM writes the log of this job."""
    return job.log_directory / f"{job.name}-{id}.log"


def stated_options(head: Iterable[str]) -> frozenset[str]:
    """Return the long names of all options in these directives (``--mem``)."""
    return frozenset(f"--{name}" for line in head for name, _ in options_of(words_of(line)))


def slurm_time(walltime: Duration) -> str:
    """Write a time as ``days-hours:minutes:seconds``, rounded up to SLURM's grain of a minute (0 means no limit)."""
    hours, minutes = divmod(max(1, walltime.minutes), 60)
    return f"{hours // 24}-{hours % 24:02d}:{minutes:02d}:00"


def _shape(request: Request) -> Iterator[Directive]:
    yield Directive("--nodes=1", "One job is one node: its workers share one agent.")
    yield Directive("--ntasks=1", "One task, the agent; it starts the workers itself.")
    cores, threads = request.job_cores, request.threads_per_core
    workers = f"cores={request.cores} for each of {request.workers_per_job} worker(s)"
    if threads == 1:
        yield Directive(f"--cpus-per-task={cores}", f"{workers}: {cores} whole core(s).")
        yield Directive(
            "--threads-per-core=1",
            "threads_per_core=1: SLURM counts cores, not their hardware threads (else two CPUs may be one core); "
            "a second thread is this job's too, and stays idle.",
        )
    else:
        yield Directive(
            f"--cpus-per-task={cores * threads}",
            f"{workers}, {threads} hardware threads each, which SLURM counts as CPUs: {cores} whole core(s).",
        )
        yield Directive(
            f"--threads-per-core={threads}",
            f"threads_per_core={threads}: only nodes whose cores have {threads} hardware threads.",
        )


def _amounts(request: Request) -> Iterator[Directive]:
    if request.job_memory is not None:
        yield Directive(
            f"--mem={request.job_memory.mebibytes}M",
            f"memory={request.memory} for each of {request.workers_per_job} worker(s) and the agent's share; for the "
            "whole job, since memory per CPU would change with the node's hardware threads.",
        )
    if request.walltime is not None:
        yield Directive(f"--time={slurm_time(request.walltime)}", f"walltime={request.walltime}; in whole minutes.")
    if request.job_gpus:
        yield Directive(
            f"--gres=gpu:{request.job_gpus}",
            f"gpus={request.gpus} for each of {request.workers_per_job} worker(s); in the form that all versions take.",
        )
    if request.licenses:
        licenses = _joined(request.licenses, "licenses")
        yield Directive(_option("--licenses", licenses), "licenses=: held by each job while it runs.")


def _places(request: Request) -> Iterator[Directive]:
    for name, value in (
        ("partition", request.partition),
        ("account", request.account),
        ("qos", request.qos),
        ("reservation", request.reservation),
        ("constraint", request.constraint),
    ):
        if value is not None:
            yield Directive(_option(f"--{name}", single_line(value, name)), f"{name}= was given.")
    if request.exclude:
        yield Directive(_option("--exclude", _joined(request.exclude, "exclude")), "exclude=: not on these nodes.")


def _extra(request: Request, stated: Mapping[str, str]) -> Iterator[Directive]:
    lines = [single_line(line, "job_extra") for line in request.job_extra]
    if problems := list(problems_of_extra(lines, stated)):
        raise ConfigError.from_problems(problems)
    for line in lines:
        text = line.strip().removeprefix("#SBATCH").strip()
        yield Directive(text, "job_extra: your own, taken as it is.")


def _joined(values: tuple[str, ...], what: str) -> str:
    return ",".join(single_line(value, what) for value in values)


def _log_pattern(job: JobScript, ending: str) -> str:
    directory = single_line(str(job.log_directory), "the log directory")
    if "\\" in directory:
        # SLURM would take the backslash as "expand nothing", and all jobs would write to one file.
        raise ConfigError(f"the log directory must not contain a backslash, which SLURM gives a meaning: {directory}")
    return f"{directory.replace('%', '%%')}/{check_name(job.name)}{ending}"


def _option(name: str, value: str) -> str:
    """Write ``name=value`` as sbatch reads it.

    Its own rules, not a shell's: a backslash escapes in every kind of quotes, ``#`` begins a comment outside them, and
    ``$`` means nothing (``get_argument`` in src/common/slurm_opt.c).
    """
    if len(value.encode()) > _LONGEST:
        raise ConfigError(f"the value of {name} is longer than {_LONGEST} bytes: {value[:60]}...")
    if re.fullmatch(r"[\w./:,@%+=\[\]-]+", value):
        return f"{name}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'
