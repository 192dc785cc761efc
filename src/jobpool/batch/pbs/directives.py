"""What a request becomes for PBS: directives with their reasons.

A job is one chunk, ``-l select=1:ncpus=4:mem=8448mb:ngpus=1``, so that all of it is on one node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from jobpool.batch import settings
from jobpool.batch.base import Directive
from jobpool.batch.pbs.options import options_of, problems_of_extra, resources_of, words_of
from jobpool.batch.quoting import single_line
from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.model.units import Duration

__all__ = ["OPTIONS", "SETTINGS", "TITLE", "directives", "pbs_time"]

TITLE = "PBS"

SETTINGS = frozenset({"account", "constraint", "gpus", "job_extra", "job_skip", "licenses", "partition", "reservation"})
"""PBS has no QoS, and no word for nodes that a job is not to use."""

OPTIONS = {
    "select": "more of the chunk, as in 'cpu_type=rome:scratch=10gb': names and values with ':' between them",
    "place": "how the chunk is placed, in the place of 'pack': 'pack:excl' gives each job a node for itself",
    "project": "the project (-P), where the site has one beside, or in the place of, the account (-A)",
    "memory": "the resource that memory= asks for: 'mem' (the default), 'vmem', or 'none' to ask for none",
    "gpus": "the resource that gpus= asks for: 'ngpus' (the default), or what the site calls it",
    "ncpus_per_core": "how many of ncpus this site counts for one physical core: '2' where it counts hardware threads",
}
"""What only PBS has a word for, by its name in ``system_options=``."""

_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PAIR = re.compile(r"[A-Za-z][A-Za-z0-9_-]*=[^\s:=+,\"'\\]+")
_MEMORY = ("mem", "vmem", "none")


def directives(request: Request) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in a directive."""
    settings.refuse_others(request, SETTINGS, title=TITLE)
    options = settings.options_of(request, OPTIONS, title=TITLE)
    if problems := list(_problems(request, options)):
        raise ConfigError.from_problems(problems)
    ours = (*_amounts(request, options), *_places(request, options), *_manners())
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    return (*kept, *_extra(request, kept))


def pbs_time(walltime: Duration) -> str:
    """Write a time as ``hours:minutes:seconds``; PBS takes no days (seen)."""
    seconds = max(1, math.ceil(walltime))
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _problems(request: Request, options: Mapping[str, str]) -> Iterator[str]:
    if "" in request.job_skip:
        yield "job_skip: an empty text would leave out every directive; name one, such as '-l walltime'"
    if request.partition and request.reservation:
        yield (
            f"reservation={request.reservation!r} cannot be used beside partition={request.partition!r}: in PBS a "
            "reservation is a queue; leave one of them out"
        )
    for name, value, pattern in (
        ("constraint", request.constraint, rf"{_PAIR.pattern}(:{_PAIR.pattern})*|{_RESOURCE.pattern}"),
        ("system_options: select", options.get("select"), rf"{_PAIR.pattern}(:{_PAIR.pattern})*"),
    ):
        if value is not None and not re.fullmatch(pattern, value):
            yield f"{name}={value!r} cannot be part of a chunk; write name=value, and ':' between several"
    if options.get("memory", "mem") not in _MEMORY:
        yield f"system_options: memory={options['memory']!r} is none of {', '.join(_MEMORY)}"
    if not re.fullmatch(r"[1-9][0-9]?", options.get("ncpus_per_core", "1")):
        yield f"system_options: ncpus_per_core={options['ncpus_per_core']!r} is no number of CPUs"
    for name in ("gpus", "place"):
        if name in options and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_=:-]*", options[name]):
            yield f"system_options: {name}={options[name]!r} is nothing that PBS takes there"
    for text in settings.each_name(request.licenses):
        if not re.fullmatch(rf"{_RESOURCE.pattern}(:[1-9][0-9]*)?", text):
            yield f"licenses={text!r} cannot be used: write 'name' or 'name:count'"


def _amounts(request: Request, options: Mapping[str, str]) -> Iterator[Directive]:
    threads = max(request.threads_per_core, int(options.get("ncpus_per_core", "1")))
    chunk = [f"select=1:ncpus={request.job_cores * threads}"]
    each = f"each of {request.workers_per_job} worker(s)"
    why = [f"one chunk, so one node; cores={request.cores} for {each}"]
    if threads > 1:
        why.append(f"{threads} of ncpus for each core")
    memory = options.get("memory", "mem")
    if request.job_memory is not None and memory != "none":
        chunk.append(f"{memory}={request.job_memory.mebibytes}mb")
        why.append(f"memory={request.memory} for {each} and the agent's share")
    if request.job_gpus:
        chunk.append(f"{options.get('gpus', 'ngpus')}={request.job_gpus}")
        why.append(f"gpus={request.gpus} for {each}")
    if request.constraint is not None:
        chunk.append(request.constraint if "=" in request.constraint else f"{request.constraint}=True")
        why.append(f"constraint={request.constraint}")
    if more := options.get("select"):
        chunk.append(more)
        why.append("and what system_options says")
    yield Directive(f"-l {':'.join(chunk)}", f"{'; '.join(why)}.")
    place = options.get("place")
    said = f"system_options: place={place}." if place else "All of a chunk on one node."
    yield Directive(f"-l place={place or 'pack'}", said)
    if request.walltime is not None:
        text = f"walltime={request.walltime}; without days, which PBS does not read."
        yield Directive(f"-l walltime={pbs_time(request.walltime)}", text)
    for text in settings.each_name(request.licenses):
        name, _, count = text.partition(":")
        yield Directive(f"-l {name}={count or 1}", f"licenses={text}: a resource of the server's.")


def _places(request: Request, options: Mapping[str, str]) -> Iterator[Directive]:
    for option, name, value in (
        ("-q", "partition", request.partition),
        ("-q", "reservation", request.reservation),
        ("-A", "account", request.account),
        ("-P", "system_options: project", options.get("project")),
    ):
        if value is not None:
            yield Directive(f"{option} {_word(value, name)}", f"{name}={value} was given.")


def _manners() -> Iterator[Directive]:
    yield Directive("-j oe", "stdout and stderr go into one log.")
    yield Directive("-k doe", "the log is written to its place while the job runs, and not copied there at its end.")
    yield Directive("-m n", "no mail.")


def _extra(request: Request, ours: tuple[Directive, ...]) -> Iterator[Directive]:
    lines = [single_line(line, "job_extra") for line in request.job_extra]
    stated: set[str] = set()
    for directive in ours:
        for name, value in options_of(words_of(directive.text)):
            stated |= {*resources_of(value)} if name == "-l" else {name}
    if problems := list(problems_of_extra(lines, stated)):
        raise ConfigError.from_problems(problems)
    for line in lines:
        text = line.strip().removeprefix("#PBS").strip()
        yield Directive(text, "job_extra: your own, taken as it is.")


def _word(value: str, what: str) -> str:
    """Return a word of a directive: qsub splits them at blanks, and takes a quote off as a shell does not."""
    value = single_line(value, what)
    if re.search(r"[\s\"'\\#]", value) or value.startswith("-"):
        raise ConfigError(
            f"{what}={value!r} cannot stand in a directive of PBS: it takes no blanks and no quotes there"
        )
    return value
