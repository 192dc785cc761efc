"""What a request becomes for OAR: options with their reasons, the job script, and the command line of oarsub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobpool.batch import environment_file
from jobpool.batch.base import Directive, JobScript, Notices
from jobpool.batch.job_side import agent_line
from jobpool.batch.oar.job_side import BEGAN, CLEARED, JOB_SIDE
from jobpool.batch.oar.options import options_of, problems_of_extra, words_of
from jobpool.batch.oar.rules import OarRules
from jobpool.batch.quoting import check_name, shell_lines, shell_word, single_line
from jobpool.batch.settings import each_name, refuse_others
from jobpool.batch.settings import options_of as system_options
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration

__all__ = ["NOTICE", "OPTIONS", "SETTINGS", "TITLE", "directives", "log_path", "oar_time", "script", "submit_argv"]

TITLE = "OAR"

SETTINGS = frozenset(
    {
        *("partition", "account", "reservation", "licenses", "constraint", "exclude", "gpus"),
        *("job_extra", "job_skip"),
    }
)
"""Those of ``settings.OPTIONAL`` for which OAR has a word."""

OPTIONS = {
    "core_property": "the level of the hierarchy that is one core",
    "gpu_property": "the level of the hierarchy that is one GPU",
    "memory_property": "the property that holds the MiB of a node; 'none' leaves memory out",
    "core_memory_property": "the property that holds the MiB for each core of a node",
    "whole_node": "'yes' gives each job a node for itself",
}
"""What is OAR's own, for ``system_options``."""

NOTICE = 30
"""Seconds from the signal to the kill of a besteffort job: as long as SLURM gives by default."""

_NODE = re.compile(r"[\w.-]+")
_LEVEL = re.compile(r"[A-Za-z_]\w*")

_PLAIN = re.compile(r"[A-Za-z0-9_./ -]+")
"""Paths that OAR itself can be given. It refuses logs with other letters, gives ``%`` a meaning, and writes paths into
a program for Perl, between single quotes."""


def directives(request: Request, site: Limits) -> tuple[Directive, ...]:
    """Say what the request becomes. Raises ``ConfigError`` for a value that cannot stand in an option."""
    refuse_others(request, SETTINGS, title=TITLE)
    if "" in request.job_skip:
        raise ConfigError("job_skip: an empty text would leave out every option; name one, such as '-p'")
    rules = _rules(request, site)
    ours = (_resources(request, rules), *_properties(request, rules), *_places(request), *_notice(request))
    kept = tuple(line for line in ours if not line.text.startswith(request.job_skip or ("\0",)))
    return (*kept, *_extra(request, [name for line in kept for name, _ in options_of(words_of(line.text))]))


def script(job: JobScript, notices: Notices) -> str:
    """Write the job script."""
    return "\n".join(
        [
            "#!/bin/bash",
            # A comment for readers: oarsub is given these on its command line.
            *(f"#OAR {directive.text}" for directive in directives(job.request, job.site)),
            "",
            BEGAN,
            CLEARED,
            "umask 077",
            *_places_of_its_own(job),
            environment_file.reading(job.directory),
            *shell_lines(job.request.setup),
            # exec: the agent is the process whose exit code OAR reports.
            f"exec {agent_line(job.argv, JOB_SIDE, notices)}",
            "",
        ]
    )


def submit_argv(job: JobScript, *, count: int, script_file: Path) -> tuple[str, ...]:
    """Write the command line of oarsub, whose last word is a line for a shell on the node."""
    log, directory = f"{job.log_directory}/{job.name}-%jobid%.log", str(job.working_directory)
    if not _PLAIN.fullmatch(str(job.log_directory)):
        log = "/dev/null"
    return (
        "oarsub",
        f"--name={check_name(job.name)}",
        f"--directory={directory if _PLAIN.fullmatch(directory) else '/'}",
        f"--stdout={log}",
        f"--stderr={log}",
        *(word for directive in directives(job.request, job.site) for word in words_of(directive.text)),
        *((f"--array={count}",) if count > 1 else ()),
        # The shell that runs this line has read the user's .bashrc for BASH_ENV; once is enough.
        f"exec env -u BASH_ENV /bin/bash {shell_word(str(script_file))}",
    )


def log_path(job: JobScript, id: JobId) -> Path:
    """Say where OAR writes the log of this job."""
    return job.log_directory / f"{job.name}-{id}.log"


def oar_time(walltime: Duration) -> str:
    """Write a time as ``hours:minutes:seconds``, rounded up to a second."""
    seconds = max(1, -int(-walltime // 1))
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _rules(request: Request, site: Limits) -> OarRules:
    """Return what the site calls things: as the user says, else as its resources do."""
    own = system_options(request, OPTIONS, title=TITLE)
    problems = [
        f"system_options: {name}={value!r} is not the name of a property"
        for name, value in own.items()
        if name != "whole_node" and not _LEVEL.fullmatch(value)
    ]
    if own.get("whole_node", "no") not in ("yes", "no"):
        problems.append(f"system_options: whole_node={own['whole_node']!r} must be 'yes' or 'no'")
    if problems:
        raise ConfigError.from_problems(problems)
    found = site.rules if isinstance(site.rules, OarRules) else OarRules()
    memory = own.get("memory_property", "" if "core_memory_property" in own else found.memory)
    return OarRules(
        core=own.get("core_property", found.core),
        gpu=own.get("gpu_property", found.gpu),
        memory="" if memory == "none" else memory,
        core_memory="" if memory else own.get("core_memory_property", found.core_memory),
        known=found.known,
    )


def _resources(request: Request, rules: OarRules) -> Directive:
    """Write all of ``-l`` in one: several would be alternatives."""
    each = f"for each of {request.workers_per_job} worker(s)"
    if rules.whole_node_option(request):
        what, why = "/nodes=1", ["whole_node: all cores of one node"]
    elif request.job_gpus:
        what = f"/nodes=1/{_gpu_level(rules)}={request.job_gpus}"
        why = [
            f"gpus={request.gpus} {each}, on one node; a GPU comes with all its cores, so that it is no other job's too"
        ]
    else:
        what = f"/nodes=1/{rules.core}={request.job_cores}"
        why = [f"cores={request.cores} {each}, on one node: they share an agent"]
    if request.walltime is not None:
        what += f",walltime={oar_time(request.walltime)}"
        why.append(f"walltime={request.walltime}, in seconds")
    return Directive(f"-l {what}", f"{'; '.join(why)}.")


def _gpu_level(rules: OarRules) -> str:
    if rules.gpu:
        return rules.gpu
    if rules.known:
        raise ConfigError(
            "gpus: no resource of this site has a property for GPUs that is known here; name it with "
            "system_options={'gpu_property': ...}, or leave gpus out"
        )
    return "gpu"


def _properties(request: Request, rules: OarRules) -> Iterator[Directive]:
    """Write one ``-p`` for all: of several, oarsub takes the last."""
    wanted, why = [], []
    if request.job_gpus and not rules.whole_node_option(request):
        wanted.append(f"{_gpu_level(rules)} > 0")
        why.append("gpus=: a core without a GPU has the number 0")
    if request.constraint is not None:
        wanted.append(single_line(request.constraint, "constraint"))
        why.append("constraint= was given")
    if (memory := request.job_memory) is not None and not rules.whole_node_option(request):
        for name, needed, of in (
            (rules.memory, memory.mebibytes, "a node"),
            (rules.core_memory, -(-memory.mebibytes // request.job_cores), "each core"),
        ):
            if name:
                wanted.append(f"{name} >= {needed}")
                why.append(
                    f"memory={request.memory} for each of {request.workers_per_job} worker(s) and the agent's share: "
                    f"{name} is the MiB of {of}; OAR chooses nodes by it, and keeps nobody else from this memory"
                )
    if request.exclude:
        excluded = each_name(request.exclude)
        if odd := [name for name in excluded if not _NODE.fullmatch(name)]:
            raise ConfigError(f"exclude: {', '.join(map(repr, odd))} cannot be the name of a node")
        names = ", ".join(f"'{name}'" for name in excluded)
        wanted.append(f"network_address NOT IN ({names})")
        why.append("exclude=: not on these nodes")
    if wanted:
        text = wanted[0] if len(wanted) == 1 else " AND ".join(f"({each})" for each in wanted)
        yield Directive(f"-p {shlex.quote(text)}", f"{'; '.join(why)}.")


def _places(request: Request) -> Iterator[Directive]:
    if request.partition is not None:
        queue = single_line(request.partition, "partition")
        if not re.fullmatch(r"[\w.-]+", queue):
            raise ConfigError(f"partition={queue!r} cannot be the name of a queue; a job is in one queue")
        yield Directive(f"-q {queue}", "partition= was given, which OAR calls a queue.")
    if request.account is not None:
        project = single_line(request.account, "account")
        if "'" in project or "\\" in project:
            raise ConfigError(f"account={project!r} cannot be the name of a project: OAR's database refuses it")
        yield Directive(f"--project {shlex.quote(project)}", "account= was given, which OAR calls a project.")
    if request.reservation is not None:
        if not re.fullmatch(r"\d{1,10}", request.reservation):
            raise ConfigError(
                f"reservation={request.reservation!r}: OAR's is the number of a container job "
                "(oarsub -t container ...), inside of which the pool's jobs run"
            )
        yield Directive(f"-t inner={request.reservation}", "reservation= was given: inside of this container job.")
    for license in each_name(request.licenses):
        if (match := re.fullmatch(r"(\w+)(?:[:*=](\d{1,6}))?", license)) is None:
            raise ConfigError(f"licenses: {license!r} cannot be a token of OAR's; write NAME or NAME:COUNT")
        yield Directive(
            f"-t token:{match[1]}={match[2] or 1}", "licenses=: OAR calls them tokens; held by each job while it runs."
        )


def _notice(request: Request) -> Iterator[Directive]:
    """Ask for a signal before a kill that may come early. At its walltime an agent leaves by its own clock."""
    own = [option for line in request.job_extra for option in options_of(words_of(line))]
    if request.partition == "besteffort" or ("type", "besteffort") in own:
        yield Directive(
            f"--checkpoint {NOTICE} --signal 12",
            f"A besteffort job is killed when its place is needed: SIGUSR2 comes {NOTICE} s before, for checkpoints.",
        )


def _extra(request: Request, stated: Iterable[str]) -> Iterator[Directive]:
    lines = [single_line(line, "job_extra") for line in request.job_extra]
    if problems := list(problems_of_extra(lines, stated)):
        raise ConfigError.from_problems(problems)
    for line in lines:
        text = line.strip().removeprefix("#OAR").strip()
        yield Directive(text, "job_extra: your own, taken as it is.")


def _places_of_its_own(job: JobScript) -> Iterator[str]:
    """Write lines that go to the places of which OAR cannot be told."""
    if not _PLAIN.fullmatch(str(job.log_directory)):
        log = f"{single_line(str(job.log_directory), 'the log directory')}/{job.name}-"
        yield f'exec >>{shell_word(log)}"$OAR_JOB_ID.log" 2>&1'
    if not _PLAIN.fullmatch(str(job.working_directory)):
        yield f"cd -- {shell_word(single_line(str(job.working_directory), 'the working directory'))} || exit"
