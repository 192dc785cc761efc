"""What a request becomes for LSF: directives with their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobpool.batch.base import Directive
from jobpool.batch.lsf.options import SYSTEM_OPTIONS, problems_of_extra
from jobpool.batch.lsf.rules import LsfRules
from jobpool.batch.quoting import single_line
from jobpool.batch.settings import each_name, options_of, refuse_others
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Memory

__all__ = ["SETTINGS", "TITLE", "directives", "quoted"]

TITLE = "LSF"

SETTINGS = frozenset(
    {
        *("account", "constraint", "exclude", "gpus", "job_extra", "job_skip", "licenses", "partition"),
        "reservation",
    }
)
"""The settings that it has, of those that not every batch system has a word for."""

_LONGEST = 4000
"""Bytes of one value."""

_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}

_CHOICES = {
    "memory_limit": ("enforced", "job", "none"),
    "memory_per": ("host", "job", "task"),
    "memory_unit": tuple(_UNITS),
}
"""Options that have one of a few values."""


def directives(request: Request, site: Limits) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in a directive."""
    refuse_others(request, SETTINGS, title=TITLE)
    options = _options(request)
    if "" in request.job_skip:
        raise ConfigError("job_skip: an empty text would leave out every directive; name one, such as '-M'")
    rules = site.rules if isinstance(site.rules, LsfRules) else LsfRules()
    ours = (*_shape(request, options), *_amounts(request, options, rules), *_places(request, options), *_always())
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    return (*kept, *_extra(request, [line.text for line in kept]))


def quoted(value: str, what: str) -> str:
    """Write a value as bsub reads it behind ``#BSUB``: in quotes, unless it is a plain word."""
    value = _plain(value, what)
    return value if re.fullmatch(r"[\w./:,@%+=-]+", value) else f'"{value}"'


def _plain(value: str, what: str) -> str:
    """Return a value that may stand in quotes: they are a shell's, and nobody says what escapes in them.

    Raises ``ConfigError`` for a value that only an escape could hold.
    """
    value = single_line(value, what)
    if len(value.encode()) > _LONGEST:
        raise ConfigError(f"{what} is longer than {_LONGEST} bytes: {value[:60]}...")
    if bad := next((character for character in value if character in '"\\$`'), None):
        raise ConfigError(f"{what} must not contain {bad!r}, which bsub gives a meaning: {value!r}")
    return value


def _options(request: Request) -> dict[str, str]:
    """Return the system's own options. Raises ``ConfigError`` with all that is wrong with them."""
    options = options_of(request, SYSTEM_OPTIONS, title=TITLE)
    problems = []
    for name, allowed in _CHOICES.items():
        if name in options and options[name] not in allowed:
            problems.append(f"system_options: {name}={options[name]!r}: it must be {' or '.join(allowed)}")
    if not re.fullmatch(r"[1-9][0-9]?", options.get("slots_per_core", "1")):
        problems.append(f"system_options: slots_per_core={options['slots_per_core']!r}: it must be a whole number")
    if not re.fullmatch(r"\w+", options.get("gpu_resource", "x")):
        problems.append(f"system_options: gpu_resource={options['gpu_resource']!r}: it must be one word")
    if problems:
        raise ConfigError.from_problems(problems)
    return options


def _shape(request: Request, options: Mapping[str, str]) -> Iterator[Directive]:
    slots = slots_of(request, options)
    workers = f"cores={request.cores} for each of {request.workers_per_job} worker(s)"
    if slots == request.job_cores:
        yield Directive(f"-n {slots}", f"{workers}; one job slot is taken for one core.")
    else:
        per_core = slots // request.job_cores
        yield Directive(f"-n {slots}", f"{workers}; {per_core} job slots for each core, one for a hardware thread.")
    yield Directive('-R "span[hosts=1]"', "All of it on one node, where the agent is.")


def slots_of(request: Request, options: Mapping[str, str]) -> int:
    """Return the job slots of one job."""
    return request.job_cores * max(int(options.get("slots_per_core", "1")), request.threads_per_core)


def _amounts(request: Request, options: Mapping[str, str], rules: LsfRules) -> Iterator[Directive]:
    if (memory := request.job_memory) is not None:
        yield from _memory(request, memory, options, rules)
    if request.walltime is not None:
        minutes = max(1, request.walltime.minutes)
        yield Directive(
            f"-W {minutes}",
            f"walltime={request.walltime}; in whole minutes. Unless the site has set ABS_RUNLIMIT, LSF counts a fast "
            "node's minutes as more than one.",
        )
    if request.job_gpus:
        yield _gpus(request, options)
    if request.licenses:
        tokens = ",".join(_license(text) for text in each_name(request.licenses))
        yield Directive(f'-R "rusage[{tokens}]"', "licenses=: resources that are reserved while each job runs.")


def _memory(request: Request, memory: Memory, options: Mapping[str, str], rules: LsfRules) -> Iterator[Directive]:
    asked = f"memory={request.memory} for each of {request.workers_per_job} worker(s) and the agent's share"
    unit = options.get("memory_unit", "MB")
    suffix = "" if "memory_unit" in options else unit
    per = options.get("memory_per", rules.memory_per)
    parts = slots_of(request, options) if per == "task" else 1
    amount = f"{-(-memory // (parts * _UNITS[unit]))}{suffix}"
    why = {
        "host": "for the whole job, since it is counted for each host",
        "task": f"in {parts} part(s), since this site counts it for each slot (RESOURCE_RESERVE_PER_TASK)",
        "job": "for the whole job",
    }[per]
    yield Directive(f'-R "rusage[mem={amount}{"/job" if per == "job" else ""}]"', f"{asked}; reserved {why}.")
    if (limit := options.get("memory_limit", "job")) != "none":
        whole = f"{-(-memory // _UNITS[unit])}{suffix}"
        yield Directive(
            f"-M {whole}{'!' if limit == 'enforced' else ''}",
            "memory= as a limit, too: of the whole job where the site has set LSB_JOB_MEMLIMIT, else of each process.",
        )


def _gpus(request: Request, options: Mapping[str, str]) -> Directive:
    asked = f"gpus={request.gpus} for each of {request.workers_per_job} worker(s)"
    if resource := options.get("gpu_resource"):
        return Directive(f'-R "rusage[{resource}={request.job_gpus}]"', f"{asked}, by the resource of this site.")
    more = f":{options['gpu_options']}" if "gpu_options" in options else ""
    text = _plain(f"num={request.job_gpus}{more}", "system_options: gpu_options")
    return Directive(f'-gpu "{text}"', f"{asked}.")


def _license(text: str) -> str:
    match = re.fullmatch(r"([\w.@-]+)(?:[:=]([1-9][0-9]{0,6}))?", text)
    if match is None:
        raise ConfigError(f"licenses={text!r} cannot be used: write a name, or NAME:COUNT")
    return f"{match[1]}={match[2] or 1}"


def _places(request: Request, options: Mapping[str, str]) -> Iterator[Directive]:
    for option, name, value in (
        ("-q", "partition", request.partition),
        ("-P", "account", request.account),
        ("-U", "reservation", request.reservation),
        ("-G", "system_options: user_group", options.get("user_group")),
        ("-g", "system_options: job_group", options.get("job_group")),
        ("-app", "system_options: application", options.get("application")),
        ("-sla", "system_options: service_class", options.get("service_class")),
    ):
        if value is not None:
            yield Directive(f"{option} {quoted(value, name)}", f"{name}= was given.")
    if request.constraint is not None:
        yield Directive(
            f'-R "select[{_plain(request.constraint, "constraint")}]"',
            "constraint= was given: only nodes of which this is true.",
        )
    if request.exclude:
        yield Directive(f'-R "select[{_others(each_name(request.exclude))}]"', "exclude=: not on these nodes.")


def _others(exclude: tuple[str, ...]) -> str:
    for name in exclude:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(f"exclude={name!r} cannot be used: write the name of one node, as bhosts shows it")
    return " && ".join(f"hname!='{name}'" for name in exclude)


def _always() -> Iterator[Directive]:
    yield Directive("-rn", "Never run again by LSF: jobpool asks for new jobs itself.")
    yield Directive(
        "-o /dev/null",
        "The script writes the log itself: LSF would bring it at the job's end only, and its report by mail.",
    )


def _extra(request: Request, ours: list[str]) -> Iterator[Directive]:
    lines = [single_line(line, "job_extra") for line in request.job_extra]
    if problems := list(problems_of_extra(lines, ours)):
        raise ConfigError.from_problems(problems)
    for line in lines:
        text = line.strip().removeprefix("#BSUB").strip()
        yield Directive(text, "job_extra: your own, taken as it is.")
