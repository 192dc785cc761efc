"""What a request becomes for Grid Engine: directives with their reasons, and the job script."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jobpool.batch import environment_file, exit_file
from jobpool.batch.base import Directive, JobScript, Notices
from jobpool.batch.job_side import agent_line
from jobpool.batch.quoting import check_name, shell_lines, single_line
from jobpool.batch.settings import each_name, options_of, refuse_others
from jobpool.batch.sge.job_side import INDEX, JOB_SIDE, TASK
from jobpool.batch.sge.options import options_of_line, problems_of_extra, resources_of
from jobpool.batch.sge.rules import OPTIONS, GridEngineRules
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory

__all__ = ["SETTINGS", "TITLE", "arguments", "directives", "log_path", "script", "sge_time"]

TITLE = "Grid Engine"

SETTINGS = frozenset(
    {
        *("account", "constraint", "exclude", "gpus", "job_extra", "job_skip", "licenses", "partition", "reservation"),
    }
)
"""The settings, of those that not every batch system has, for which there is a word here."""

_PLAIN = re.compile(r"[\w.@*?!|&(){}\[\]:/=<>+,%^~-]+", re.ASCII)
"""What can stand in a directive. qsub cuts a line at ``#``, within quotes too, and knows no escapes (seen on 8.1.9)."""

_BEAR_SUSPENSION = "trap '' USR1"
"""With -notify, USR1 announces a suspension to all processes of the job, and would end those that do not expect it. The
agent does; the others inherit that it means nothing."""

_LEAVE_OUT = "leave it out with job_skip, and write what your site takes as job_extra"


def directives(request: Request, rules: GridEngineRules) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in a directive."""
    options = options_of(request, OPTIONS, title=TITLE)
    refuse_others(request, SETTINGS, title=TITLE)
    if "" in request.job_skip:
        raise ConfigError("job_skip: an empty text would leave out every directive; name one, such as '-l h_vmem'")
    _check_options(options)
    ours = (*_shape(request, rules, options), *_amounts(request, rules, options), *_places(request), *_ALWAYS)
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    return (*kept, *_extra(request, kept))


def arguments(job: JobScript, *, count: int) -> tuple[str, ...]:
    """Write the options of the command line: texts that no line of a script can hold.

    Raises ``ConfigError`` for what cannot be written safely.
    """
    several = ("-t", f"1-{count}") if count > 1 else ()
    directory = single_line(str(job.working_directory), "the working directory")
    return ("-terse", "-N", check_name(job.name), *several, "-wd", directory, "-j", "y", "-o", _log(job, count=count))


def script(job: JobScript, lines: Iterable[Directive], notices: Notices) -> str:
    """Write the job script with these directives. Raises ``ConfigError`` for what cannot be written down safely."""
    setup = shell_lines(job.request.setup)
    if read := [line for text in setup for line in text.splitlines() if line.startswith("#$")]:
        raise ConfigError(f"setup: {read[0]!r} would be read as an option by qsub; give it as job_extra")
    body = [
        "umask 077",
        _BEAR_SUSPENSION,
        TASK,
        environment_file.reading(job.directory),
        *exit_file.script_lines(
            agent_line(job.argv, JOB_SIDE, notices),
            pool=job.directory,
            submission=job.name,
            index=INDEX,
            signals=notices.signals,
            before=setup,
        ),
    ]
    return "\n".join(["#!/bin/bash", *(f"#$ {line.text}" for line in lines), "", *body, ""])


def log_path(job: JobScript, id: JobId) -> Path:
    """Say where Grid Engine writes the log of this job."""
    return job.log_directory / f"{job.name}-{id}.log"


def sge_time(walltime: Duration) -> str:
    """Write a time as ``hours:minutes:seconds``, rounded up to whole seconds."""
    minutes, seconds = divmod(max(1, math.ceil(walltime)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


_ALWAYS = (
    Directive(
        "-S /bin/bash", "The script is for bash: many sites run scripts in another shell, whatever their #! says."
    ),
    Directive("-notify", "Before it kills a job, Grid Engine tells it by a signal: calls may leave checkpoints."),
    Directive("-r n", "Grid Engine must not run a job again by itself: of a lost node, processes may still be there."),
    Directive("-m n", "No mail."),
    Directive("-sync n", "The submit command comes back at once, whatever a .sge_request file says."),
)


def _shape(request: Request, rules: GridEngineRules, options: Mapping[str, str]) -> Iterator[Directive]:
    if (slots := rules.slots(request)) == 1:
        return
    name = options.get("parallel_environment") or rules.environment(request.partition)
    if name is None:
        where = f"queue {request.partition!r}" if request.partition else "this site"
        raise ConfigError(
            f"{where} has no parallel environment that gives several slots of one node (allocation_rule $pe_slots)",
            advice="name the one to use: system_options={'parallel_environment': ...}; 'qconf -spl' lists them",
        )
    workers = f"cores={request.cores} for each of {request.workers_per_job} worker(s)"
    counted = "one slot for each core" if slots == request.job_cores else f"{slots // request.job_cores} for each core"
    yield Directive(f"-pe {_plain(name, 'parallel_environment')} {slots}", f"{workers}; {counted}, all on one node.")


def _amounts(request: Request, rules: GridEngineRules, options: Mapping[str, str]) -> Iterator[Directive]:
    slots = rules.slots(request)
    if (memory := rules.memory(request)) is not None:
        yield _memory(request, memory, rules, options)
    if request.walltime is not None:
        yield Directive(f"-l h_rt={sge_time(request.walltime)}", f"walltime={request.walltime}.")
    if request.gpus:
        gpu = options.get("gpu_resource") or rules.gpu_resource()
        if gpu is None:
            advice = "name it: system_options={'gpu_resource': ...}; 'qconf -sc' lists the resources"
            raise ConfigError("gpus: this site has no resource with a name that is known for GPUs", advice=advice)
        amount = _per_slot(gpu, request.job_gpus, slots, rules, "gpus")
        yield Directive(
            f"-l {_plain(gpu, 'gpu_resource')}={amount}",
            f"gpus={request.gpus} for each worker{_each(amount, request.job_gpus)}",
        )
    for text in each_name(request.licenses):
        if (match := _LICENSE.fullmatch(text)) is None:
            raise ConfigError(f"licenses={text!r} cannot be used: write a name, or NAME:COUNT")
        name, number = match.groups()
        amount = _per_slot(name, int(number or 1), slots, rules, "licenses")
        yield Directive(f"-l {name}={amount}", "licenses=: held by each job while it runs.")


def _memory(request: Request, memory: Memory, rules: GridEngineRules, options: Mapping[str, str]) -> Directive:
    name = options.get("memory_resource") or rules.memory_resource()
    if name is None:
        advice = "name it: system_options={'memory_resource': ...}; 'qconf -sc' lists the resources"
        raise ConfigError("memory: this site has no resource by which jobs ask for memory", advice=advice)
    slots = 1 if rules.of_job(name) else rules.slots(request)
    mebibytes = -(-memory.mebibytes // slots)
    margin = "" if request.job_memory == memory else f", and {Memory(memory - (request.job_memory or 0))} more"
    each = f"; counted for each of {slots} slots" if slots > 1 else ""
    why = f"memory={request.memory} for each of {request.workers_per_job} worker(s) and the agent's share"
    space = ", since address space is what is limited (system_options: memory_margin)" if margin else ""
    return Directive(f"-l {_plain(name, 'memory_resource')}={mebibytes}M", f"{why}{margin}{space}{each}.")


_LICENSE = re.compile(r"([A-Za-z][\w.@-]*)(?::([1-9][0-9]{0,6}))?", re.ASCII)


def _per_slot(name: str, amount: int, slots: int, rules: GridEngineRules, what: str) -> int:
    """Return what to ask for so that the whole job has this much. Raises ``ConfigError`` where that cannot be."""
    if slots == 1 or rules.of_job(name):
        return amount
    if amount % slots and rules.resources is None:
        return -(-amount // slots)  # not known whether it counts for each slot: no reason to refuse
    if amount % slots:
        raise ConfigError(
            f"{what}: Grid Engine counts {name!r} for each slot, and {amount} cannot be divided among {slots} slots",
            advice=f"let cores= times workers_per_job= be a divisor of {amount}; or {_LEAVE_OUT}",
        )
    return amount // slots


def _each(amount: int, whole: int) -> str:
    return "." if amount == whole else "; counted for each slot."


def _places(request: Request) -> Iterator[Directive]:
    for name, option, value in (
        ("partition", "-q", request.partition),
        ("account", "-P", request.account),
        ("reservation", "-ar", request.reservation),
        ("constraint", "-l", request.constraint),
    ):
        if value is not None:
            yield Directive(f"{option} {_plain(value, name)}", f"{name}= was given.")
    if request.exclude:
        nodes = "|".join(_plain(node, "exclude") for node in each_name(request.exclude))
        yield Directive(f"-l h=!({nodes})", "exclude=: not on these nodes.")


def _extra(request: Request, ours: Iterable[Directive]) -> Iterator[Directive]:
    lines = [single_line(line, "job_extra") for line in request.job_extra]
    stated = {name for line in ours for name, _ in options_of_line(line.text)}
    stated |= {f"l {name}" for line in ours for name, _ in resources_of(line.text)}
    if problems := list(problems_of_extra(lines, frozenset(stated))):
        raise ConfigError.from_problems(problems)
    for line in lines:
        yield Directive(line.strip().removeprefix("#$").strip(), "job_extra: your own, taken as it is.")


def _check_options(options: Mapping[str, str]) -> None:
    problems = []
    if not re.fullmatch(r"[1-9]\d{0,2}", options.get("slots_per_core", "1")):
        problems.append(
            f"system_options: slots_per_core={options['slots_per_core']!r} must be a whole number, at least 1"
        )
    if "memory_margin" in options:
        try:
            Memory.parse(options["memory_margin"])
        except ValueError as error:
            problems.append(f"system_options: memory_margin: {error}")
    if problems:
        raise ConfigError.from_problems(problems)


def _plain(value: str, what: str) -> str:
    if not _PLAIN.fullmatch(single_line(value, what)):
        raise ConfigError(
            f"{what}={value!r} cannot stand in a directive of Grid Engine's: blanks, quotes and '#' cannot"
        )
    return value


def _log(job: JobScript, *, count: int) -> str:
    directory = single_line(str(job.log_directory), "the log directory")
    if bad := next((character for character in directory if character in ",$"), None):
        raise ConfigError(
            f"the log directory must not contain {bad!r}, to which Grid Engine gives a meaning: {directory}"
        )
    # A colon would end the name of a host, which is empty here.
    return f":{directory}/{check_name(job.name)}-$JOB_ID{'.$TASK_ID' if count > 1 else ''}.log"
