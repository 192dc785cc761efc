"""What a pool is configured with, and where each value came from.

The strongest source that has a value counts, for each setting on its own (lists and variables are not merged)::

    keyword                        JobPoolExecutor(cores=2)
    environment                    JOBPOOL_CORES=2
    project   jobpool.toml         in the current directory, or the nearest above it, up to home or a git checkout's top
    user      jobpool.toml         in ~/.config/jobpool (what platformdirs says)
    site      jobpool.toml         in /etc/jobpool, or the file that JOBPOOL_SITE_CONFIG names
    jobqueue  jobqueue.yaml        dask-jobqueue's, the section of the batch system (see jobqueue_yaml)
    default

Keys of a ``jobpool.toml`` are the names of the settings; a section for a batch system overrides them there::

    account = "bio"
    setup = ["module load ffmpeg"]

    [slurm]
    partition = "long"
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobpool.config.files import Findings, Places, load_toml
from jobpool.config.settings import AUTO, IDLE_TIMEOUT, SETTINGS
from jobpool.config.sources import (
    Given,
    Origin,
    from_environment,
    from_jobqueue,
    from_keywords,
    from_table,
    from_toml,
)
from jobpool.model.bounded import MOST_SLOTS
from jobpool.model.errors import BatchSystemUnavailable, ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

if TYPE_CHECKING:
    from jobpool.batch.base import BatchSystem
    from jobpool.batch.registry import Found, Machine

__all__ = ["DEFAULT_MAX_WORKERS", "Origin", "Settings", "keywords_from_text", "local_cores", "resolve"]

DEFAULT_MAX_WORKERS = 100
"""Workers at most on a batch system, when ``max_workers`` is not given. Jobs are asked for as calls need them, so this
is a bound and no order: enough to be worth a cluster, and below what one user may usually have in a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a pool is configured with; ``origins`` has an entry for each setting, ``notes`` are warnings to show."""

    scheduler: str
    """As asked: a batch system or ``auto``."""
    system: str
    """The batch system this came to."""
    max_workers: int
    min_workers: int = 0
    request: Request = field(default_factory=Request)
    auto: tuple[str, ...] = ()
    """Which of ``cores``, ``memory`` and ``walltime`` the first calls shall tell. The request has defaults for them."""
    idle_timeout: Duration | None = IDLE_TIMEOUT
    max_tasks_per_child: int | None = None
    max_memory_growth: Memory | None = None
    name: str | None = None
    log_directory: Path | None = None
    submit_host: str | None = None
    """The host on which the batch system's commands run, as ``ssh`` takes it. None: this one."""
    arrays: bool | int = True
    """Whether several jobs are submitted as one array; a number: how many at most."""
    submit_by: str = "stdin"
    python: tuple[str, ...]
    """The command that runs Python in a job: an interpreter alone, or behind what starts it."""
    container: str | None = None
    """The image in which Python runs in a job, perhaps with the program that runs it (``podman://...``)."""
    container_options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    choice: str = ""
    """Why ``auto`` came to this batch system, for the user, where several could have been meant. Else empty."""

    def values(self, *, auto: bool = True) -> dict[str, Any]:
        """Return every setting by its name, in the order of the table; without ``auto``, the defaults in its place."""
        found = {name: getattr(self.request if name in _OF_REQUEST else self, name) for name in SETTINGS}
        return found | dict.fromkeys(self.auto, AUTO) if auto else found


_OF_REQUEST = {field.name for field in fields(Request)}


def resolve(
    keywords: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    places: Places | None = None,
    detect: Callable[[], str | Found] | None = None,
    cores_here: Callable[[], int] | None = None,
) -> Settings:
    """Find every setting's value.

    ``keywords`` holds what the caller gave, by name; None stands for "no limit" or "the site's own" where a setting may
    be None (``memory=None`` overrides a file), and for "not given" elsewhere. ``detect`` names the batch system of this
    machine when ``scheduler`` is ``auto``, ``cores_here`` counts this machine's cores.

    Raises :class:`ConfigError` with all problems of all sources.
    """
    environment = os.environ if environment is None else environment
    cwd = _current_directory() if cwd is None else cwd
    places = Places.usual(environment, cwd) if places is None else places
    findings = Findings()
    tomls = load_toml(places, findings)
    strong = [from_keywords(keywords, cwd, findings), from_environment(environment, cwd, findings)]
    general = ChainMap(*strong, *(from_table(file, file.table, "") for file in tomls))

    scheduler, host = _checked("scheduler", general, findings), _submit_host(general)
    system, choice = _taken(detect or partial(_find, host)) if scheduler == "auto" else (scheduler, "")
    layers = strong + [from_toml(file, system, findings) for file in tomls]
    layers.append(from_jobqueue(places, system, cwd, set(ChainMap(*layers)), findings))
    given = ChainMap(*layers)
    found = {name: _checked(name, given, findings) for name in SETTINGS if name != "scheduler"}
    origins = {name: given[name].origin if name in given else Origin("default") for name in SETTINGS}
    findings.problems += _conflicts(found, origins)
    if _is_from_project(given):
        # The jobs' variables, which may hold secrets, go to that host: not to one that a cloned repository names.
        findings.problems.append(
            f"submit_host={given['submit_host'].value!r} ({origins['submit_host']}) cannot be used: a project's file "
            "must not name it; write it into your own jobpool.toml, or set JOBPOOL_SUBMIT_HOST"
        )
    if findings.problems:
        unknown_system = scheduler is None and len(findings.problems) == 1
        raise (BatchSystemUnavailable if unknown_system else ConfigError).from_problems(findings.problems)
    settings = _settings(scheduler, system or "local", found, origins, findings, cores_here or local_cores)
    return _writable(replace(settings, choice=choice))


def keywords_from_text(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn ``KEY=VALUE`` texts into keywords for :func:`resolve`. Raises :class:`ConfigError` without a ``=``."""
    keywords, problems = {}, []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        name = key.strip().replace("-", "_")
        if not equals:
            problems.append(f"{pair!r} is not KEY=VALUE")
        keywords[name] = SETTINGS[name].from_text(text) if name in SETTINGS else text
    if problems:
        raise ConfigError.from_problems(problems)
    return keywords


def local_cores() -> int:
    """Count the physical cores that this process may use: its affinity, hardware threads of one core counted once."""
    cpus = os.sched_getaffinity(0)
    siblings = {Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in cpus}
    try:
        return len({file.read_text() for file in siblings})
    except OSError:  # no sysfs in this container
        return len(cpus)


# ------------------------------------------------------------------------------------------------------------- values


def _checked(name: str, given: Mapping[str, Given], findings: Findings) -> Any:
    """Return the setting's value in its type; a problem is noted, and gives None."""
    setting = SETTINGS[name]
    if name not in given:
        return setting.default
    entry = given[name]
    if entry.value is None and setting.optional:
        return None
    try:
        return setting.read(entry.value, entry.base)
    except ValueError as error:
        findings.problems.append(f"{name}={entry.value!r} ({entry.origin}) cannot be used: {error}")
        return None


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the current directory does not exist any more; change to another") from None


def _conflicts(found: Mapping[str, Any], origins: Mapping[str, Origin]) -> list[str]:
    least, most = found["min_workers"], found["max_workers"]
    if least is None or most is None or least <= most:
        return []
    return [
        f"min_workers={least} ({origins['min_workers']}) cannot be used: it is more than "
        f"max_workers={most} ({origins['max_workers']})"
    ]


def _writable(settings: Settings) -> Settings:
    """Raise ``ConfigError`` for what no job script can say; what a file of Dask's says so is left out, with a note."""
    from jobpool.batch import registry

    system, origin = registry.get(settings.system, Path()), settings.origins["job_extra"]
    # Sizes that are to be found will be written, whatever they come to.
    sizes: dict[str, Any] = {"memory": Memory(2**30), "walltime": Duration(3600)}
    request = replace(settings.request, **{name: size for name, size in sizes.items() if name in settings.auto})
    if origin.kind == "jobqueue":
        # Written for other programs: Dask's own job scripts may say it, and one that cannot is no reason to stop.
        told = {line: _refused(system, replace(request, job_extra=(line,))) for line in request.job_extra}
        request = replace(request, job_extra=tuple(line for line, problems in told.items() if not problems))
        left_out = [f"left out: {_with_origin(text, origin)}" for problems in told.values() for text in problems]
        extra, notes = request.job_extra, (*settings.notes, *left_out)
        settings = replace(settings, request=replace(settings.request, job_extra=extra), notes=notes)
    if problems := _refused(system, request):
        # Said as of every other setting: with the place that its value came from.
        said = [_with_origin(text, origin) if text.startswith("job_extra=") else text for text in problems]
        options = f"system_options ({settings.origins['system_options']}): "
        said = [text.replace("system_options: ", options, 1) for text in said]
        raise ConfigError.from_problems(said)
    return settings


def _with_origin(problem: str, origin: Origin) -> str:
    return problem.replace(" cannot be used: ", f" ({origin}) cannot be used: ", 1)


def _refused(system: BatchSystem, request: Request) -> list[str]:
    try:
        system.directives(request, Limits())  # what is wrong with it is so at every site
    except ConfigError as error:
        return error.problems or [str(error)]
    return []


def require(system: str, submit_host: str | None = None) -> None:
    """Raise :class:`BatchSystemUnavailable` when this batch system cannot be used on the submit host (None: here)."""
    from jobpool.batch import registry

    registry.require(system, _machine(submit_host))


def _submit_host(given: Mapping[str, Given]) -> str | None:
    """Return the host on which a batch system is looked for. What is wrong with it is noted with all other problems."""
    if _is_from_project(given):
        return None
    host: str | None = _checked("submit_host", given, Findings())
    return host


def _is_from_project(given: Mapping[str, Given]) -> bool:
    return "submit_host" in given and given["submit_host"].origin.kind == "project"


def _find(submit_host: str | None) -> Found:
    from jobpool.batch import registry

    found = registry.find(_machine(submit_host))
    if submit_host is not None and found.name == "local":
        raise BatchSystemUnavailable(
            f"no batch system was found on {submit_host} (submit_host)" + (f": {found.why}" if found.why else ""),
            advice="name a host on which the batch system's commands work, or use scheduler='local'",
        )
    return found


def _taken(detect: Callable[[], str | Found]) -> tuple[str, str]:
    found = detect()
    return (found, "") if isinstance(found, str) else (found.name, found.why)


def _machine(submit_host: str | None) -> Machine:
    from jobpool.batch.registry import SYSTEMS, Machine
    from jobpool.commands import shell, ssh

    if submit_host is not None:
        names = dict.fromkeys(name for entry in SYSTEMS.values() for name in entry.commands)
        done = shell.run_now(ssh.programs(names, submit_host))
        if done.returncode is None:
            raise BatchSystemUnavailable(
                f"no command can be run on {submit_host} (submit_host)",
                words=done.words,
                advice=f"try ssh {submit_host} true; it must ask for nothing: keys, an agent, a port and a user come "
                "from your configuration of ssh",
            )
        there = ssh.parse_programs(done)
        return Machine(there.get, lambda command: shell.run_now(replace(command, host=submit_host)))
    return Machine(run=shell.run_now, environment=os.environ, is_there=os.path.exists)


def _settings(
    scheduler: str,
    system: str,
    found: dict[str, Any],
    origins: dict[str, Origin],
    findings: Findings,
    cores_here: Callable[[], int],
) -> Settings:
    """Fill in what depends on other settings."""
    from jobpool.batch import registry

    auto = tuple(name for name in ("cores", "memory", "walltime") if found[name] == AUTO)
    found.update((name, SETTINGS[name].default) for name in auto)
    able = registry.capabilities(system)
    if not able.queues:
        auto = ()  # nothing is asked for here, and nobody waits
    if found["max_workers"] is None:
        usual = cores_here() // found["cores"] if able.shares_machine else DEFAULT_MAX_WORKERS
        found["max_workers"] = max(1, usual, found["min_workers"])
        origins["max_workers"] = Origin("default")
    if able.shares_machine and origins["workers_per_job"].kind == "default":
        # This machine is one node: one agent for all its workers, instead of one (60 MB, 0.5 s of CPU) for each.
        found["workers_per_job"] = min(found["max_workers"], MOST_SLOTS)
    if able.shares_machine:
        found["submit_host"] = None  # what was written for a cluster runs here, too
    if found["workers_per_job"] > found["max_workers"]:
        # Not an error: a site's file may well say 8 where one pool wants 2. The rest of the job would never be used.
        findings.notes.append(
            f"workers_per_job={found['workers_per_job']} ({origins['workers_per_job']}) is cut to "
            f"max_workers={found['max_workers']}"
        )
        found["workers_per_job"] = found["max_workers"]
    request = Request(**{name: found.pop(name) for name in SETTINGS if name in _OF_REQUEST})
    return Settings(
        scheduler=scheduler,
        system=system,
        request=request,
        auto=auto,
        origins=origins,
        notes=tuple(findings.notes),
        **found,
    )
