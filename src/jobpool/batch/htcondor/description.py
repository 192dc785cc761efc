"""What a request becomes for HTCondor: the lines of a submit description, with their reasons."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from jobpool.batch.base import Directive, JobScript
from jobpool.batch.htcondor.endings import NEVER_STARTS
from jobpool.batch.htcondor.job_side import ARGUMENTS
from jobpool.batch.htcondor.options import key_of, problems_of_extra
from jobpool.batch.htcondor.rules import UNSAID, HTCondorRules
from jobpool.batch.quoting import check_name, single_line
from jobpool.batch.settings import each_name, options_of, refuse_others
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits

__all__ = ["OPTIONS", "SETTINGS", "TITLE", "VACATE", "description", "directives", "text"]

TITLE = "HTCondor"

SETTINGS = frozenset({"account", "licenses", "constraint", "exclude", "gpus", "job_extra", "job_skip"})

OPTIONS = {
    "should_transfer_files": "IF_NEEDED (the default), NO or YES: whether a job may run where HTCondor does not know "
    "that this file system is there, too; its log is then sent back",
    "request_disk": "disk space of one job in the node's scratch directory, such as '2GB'",
}
"""The ``system_options``."""

VACATE = 30
"""Seconds from SIGTERM to SIGKILL that a job asks for: an agent leaves in less. HTCondor's default is 10 minutes, in
which a removed job keeps its slot. The machine's own bound is smaller at some sites."""

_KEPT = 30
"""Seconds that a held job stays in the queue before it removes itself: polls read its end there."""

PERIODIC_REMOVE = (
    "(NumJobStarts >= 1 && JobStatus == 1) || (JobStatus == 5 && (NumJobStarts >= 1 || "
    f"{' || '.join(f'HoldReasonCode == {code}' for code in NEVER_STARTS)}) "
    f"&& time() - EnteredCurrentStatus > {_KEPT})"
)


def directives(request: Request, site: Limits) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in a line."""
    refuse_others(request, SETTINGS, title=TITLE)
    options = options_of(request, OPTIONS, title=TITLE)
    if "" in request.job_skip:
        raise ConfigError("job_skip: an empty text would leave out every line; name one, such as 'request_memory'")
    ours = (*_amounts(request, options, site), *_places(request), *_ends(request), *_files(options))
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    stated = {key_of(line.text) or "" for line in kept}
    extra = [single_line(line, "job_extra") for line in request.job_extra]
    if problems := list(problems_of_extra(extra, stated)):
        raise ConfigError.from_problems(problems)
    return (*kept, *(Directive(line.strip(), "job_extra: your own, taken as it is.") for line in extra))


def description(job: JobScript, script: str, *, count: int) -> str:
    """Write the submit description of so many jobs that run this script, a file in the pool's directory."""
    log = f"{_path(str(job.log_directory), 'the log directory')}/{check_name(job.name)}-$(ClusterId).$(ProcId).log"
    lines = [
        f"batch_name = {job.name}",
        "executable = /bin/bash",
        "transfer_executable = false",
        f'arguments = "{_argument(_path(str(job.directory / script), "the pool directory"))} {ARGUMENTS}"',
        f"initialdir = {_path(str(job.working_directory), 'the working directory')}",
        f"output = {log}",
        f"error = {log}",
        *(directive.text for directive in directives(job.request, job.site)),
        f"queue {count}",
    ]
    return "\n".join([*lines, ""])


def text(value: str) -> str:
    """Write a text as ClassAd expressions have it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _amounts(request: Request, options: dict[str, str], site: Limits) -> Iterator[Directive]:
    workers = f"for each of {request.workers_per_job} worker(s)"
    cpus = request.job_cores * request.threads_per_core
    threads = f" with {request.threads_per_core} hardware threads each" if request.threads_per_core > 1 else ""
    yield Directive(f"request_cpus = {cpus}", f"cores={request.cores} {workers}{threads}; of one slot, on one machine.")
    rules = site.rules if isinstance(site.rules, HTCondorRules) else HTCondorRules()
    memory = replace(request, memory=rules.memory_of(request)).job_memory
    if memory is not None:
        said = (
            f"memory={request.memory}"
            if request.memory
            else f"memory= is not given, and the site says nothing: {UNSAID}"
        )
        yield Directive(
            f"request_memory = {memory.mebibytes}MB",
            f"{said} {workers} and the agent's share; for the whole job, in MiB.",
        )
    if "request_disk" in options:
        yield Directive(f"request_disk = {_value(options['request_disk'], 'request_disk')}", "system_options.")
    if request.job_gpus:
        yield Directive(f"request_gpus = {request.job_gpus}", f"gpus={request.gpus} {workers}.")
    if request.licenses:
        limits = ", ".join(_value(each, "licenses") for each in request.licenses)
        yield Directive(f"concurrency_limits = {limits}", "licenses=: held by each job while it runs.")


def _places(request: Request) -> Iterator[Directive]:
    if request.account is not None:
        yield Directive(f"accounting_group = {_value(request.account, 'account')}", "account= was given.")
    wanted = ["(NumJobStarts =?= 0)"]
    why = "A job runs once: calls of a lost one run again in another job"
    if request.exclude:
        wanted += [f"(TARGET.Machine =!= {text(_machine(name))})" for name in each_name(request.exclude)]
        why += "; exclude=: not on these machines"
    if request.constraint is not None:
        wanted.append(f"({_value(request.constraint, 'constraint')})")
        why += "; constraint= was given"
    yield Directive(f"requirements = {' && '.join(wanted)}", f"{why}.")


def _ends(request: Request) -> Iterator[Directive]:
    if request.walltime is not None:
        yield Directive(
            f"allowed_job_duration = {max(1, math.ceil(request.walltime))}",
            f"walltime={request.walltime}; in seconds. HTCondor holds the job then; periodic_remove removes it.",
        )
    yield Directive(
        f"job_max_vacate_time = {VACATE}",
        "Seconds from SIGTERM to SIGKILL; a removed job keeps its slot for 10 minutes by default.",
    )
    yield Directive(
        f"periodic_remove = {PERIODIC_REMOVE}",
        "A job that has run leaves the queue: it shall not run a second time, nor stay there held.",
    )


def _files(options: dict[str, str]) -> Iterator[Directive]:
    how = options.get("should_transfer_files", "IF_NEEDED").upper()
    if how not in ("IF_NEEDED", "NO", "YES"):
        raise ConfigError(f"system_options: should_transfer_files={how!r} must be IF_NEEDED, NO or YES")
    yield Directive(
        f"should_transfer_files = {how}",
        "Python and the pool's directory must be there on the machines; HTCondor need not know that they are."
        if how != "NO"
        else "system_options.",
    )
    if how != "NO":
        yield Directive('transfer_output_files = ""', "Results come back over the network, and no files.")
        yield Directive("stream_output = true", "Where it sends files, the log is sent while it is written.")
        yield Directive("stream_error = true", "The same for stderr, which is in the same log.")
    yield Directive("notification = never", "No mail.")


def _value(value: str, what: str) -> str:
    """Return what stands behind the ``=`` of a line. HTCondor cuts spaces at its ends."""
    value = single_line(value, what).strip()
    if value.endswith("\\"):
        raise ConfigError(
            f"{what} must not end with a backslash: HTCondor would read the next line as its end: {value!r}"
        )
    return value


def _machine(name: str) -> str:
    if "[" in name:  # SLURM's way to write several; here no machine would be left out
        raise ConfigError(f"exclude={name!r} cannot be used: write each machine's name, as condor_status shows it")
    return single_line(name, "exclude")


def _path(value: str, what: str) -> str:
    """Write a path, in which HTCondor shall expand nothing."""
    single_line(value, what)
    if value != value.strip() or value.endswith("\\"):
        raise ConfigError(f"{what} must not begin or end with a space, nor end with a backslash: {value!r}")
    if "$$" in value:
        raise ConfigError(f"{what} must not contain '$$', which HTCondor expands: {value!r}")
    return re.sub(r"\$(?=[A-Z_]*\()", "$(DOLLAR)", value)


def _argument(value: str) -> str:
    """Quote one argument within the double quotes of ``arguments``."""
    return "'" + value.replace("'", "''").replace('"', '""') + "'"
