"""What a section of dask-jobqueue's ``jobqueue.yaml`` means here.

===========================================  =========================================================================
``queue``                                    ``partition``
``account``, or ``project``                  ``account``
``walltime``                                 ``walltime``, as that batch system reads it (``90``: minutes or seconds)
``cores``, ``memory``, ``processes``         per job there, per worker here: a process becomes a worker, with its part
                                             of the cores and of the memory that the agent's share leaves. ``processes``
                                             missing: Dask's own rule, at least the square root of the cores
``job-extra-directives`` (``job-extra``)     ``job_extra``
``job-directives-skip`` (``header-skip``)    ``job_skip``
``job-script-prologue`` (``env-extra``)      ``setup``
``python``, ``log-directory``                ``python``, ``log_directory``
``resource-spec``, ``disk``, ...             what only this batch system has (``Explainer.read_own_keys``)
===========================================  =========================================================================

``cores``, ``memory`` and ``processes`` describe one job together: ``config`` takes all of them or none. Dask's sizes
are decimal (``2G`` is 2 * 10**9 bytes). Its ``cores`` are CPUs as the batch system counts them, which with
hyper-threading are half cores; nothing in the file says which, so they count as cores here: enough in both cases. All
other keys are about Dask's own workers (``interface``, ``death-timeout``, ...) and mean nothing here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jobpool.batch import registry
from jobpool.model.request import AGENT_MEMORY
from jobpool.model.units import Duration, Memory

__all__ = ["SHAPE", "section_of", "translate"]

SHAPE = ("cores", "memory", "workers_per_job")
"""The settings that describe one job together."""

_SAME = {
    "partition": ("queue",),
    "account": ("account", "project"),
    "job_extra": ("job-extra-directives", "job-extra"),
    "job_skip": ("job-directives-skip", "header-skip"),
    "setup": ("job-script-prologue", "env-extra"),
    "python": ("python",),
    "log_directory": ("log-directory",),
}
"""Settings that need no translation, and their keys there: the first that has a value counts (as in dask-jobqueue)."""


def section_of(table: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Return the values of the system's section, keys written with ``-``, without those that are empty."""
    section = table.get(system)
    if not isinstance(section, Mapping):
        return {}
    values = {str(key).replace("_", "-"): value for key, value in section.items()}
    return {key: value for key, value in values.items() if value not in ("", "null", "Null", "NULL", "~", [], {})}


def translate(section: Mapping[str, Any], system: str) -> tuple[dict[str, tuple[str, Any]], list[tuple[str, str]]]:
    """Return settings as ``{name: (key there, value)}``, and problems as ``(key there, what is wrong)``."""
    found: dict[str, tuple[str, Any]] = {}
    problems: list[tuple[str, str]] = []
    for name, keys in _SAME.items():
        for key in keys:
            if key in section:
                found.setdefault(name, (key, _lines(section[key])))
    read: dict[str, Any] = {}
    for key, reader in _READERS.items():
        try:
            if key in section:
                read[key] = reader(str(section[key]), system)
        except ValueError as error:
            problems.append((key, str(error)))
    if "walltime" in read:
        found["walltime"] = ("walltime", read["walltime"])
    texts = {key: value for key, value in section.items() if isinstance(value, str)}
    for name, (key, value) in registry.explainer(system).read_own_keys(texts).items():
        if name in found:
            first, written = found[name]
            key, value = first, [*([written] if isinstance(written, str) else written), *value]
        found[name] = (key, value)
    return found | _shape(read), problems


def _lines(value: Any) -> Any:
    """Return a table as lines ``key = value``: some batch systems have directives of this form."""
    return [f"{key} = {text}" for key, text in value.items()] if isinstance(value, Mapping) else value


def read_walltime(text: str, system: str) -> Duration:
    """Read a walltime as this batch system does. Raises ``ValueError``."""
    return registry.explainer(system).read_walltime(text)


def _shape(read: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    cores, memory = read.get("cores"), read.get("memory")
    workers: int = read.get("processes") or dask_processes(cores or 1)
    found: dict[str, tuple[str, Any]] = {}
    if "processes" in read or cores:
        found["workers_per_job"] = ("processes" if "processes" in read else "cores", workers)
    if cores:
        found["cores"] = ("cores", max(1, cores // workers))
    if memory:
        found["memory"] = ("memory", _part_of_memory(memory, workers))
    return found


def _count(text: str, _system: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def _part_of_memory(job: int, workers: int) -> Memory:
    """Divide the job's memory so that the job asks for no more than before: the agent's share comes out of it."""
    return Memory(max(job - AGENT_MEMORY, job // 2) // workers)


def dask_processes(cores: int) -> int:
    """Say how many processes Dask makes of a job with these cores: ``distributed.deploy.utils.nprocesses_nthreads``."""
    if cores <= 4:
        return cores
    return next(count for count in range(math.isqrt(cores - 1) + 1, cores + 1) if cores % count == 0)


_DASK_SIZE = re.compile(r"([0-9]*\.?[0-9]+)([kmgtp]?)(i?)b?")


def dask_bytes(text: str, _system: str = "") -> int:
    """Read a size as ``dask.utils.parse_bytes`` does: no unit is bytes, ``2G`` is decimal. Raises ``ValueError``."""
    match = _DASK_SIZE.fullmatch(text.replace(" ", "").lower())
    if not match:
        raise ValueError(f"{text!r} is not a size, such as '24 GiB'")
    number, letter, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgtp".index(letter or " "))


_READERS: dict[str, Callable[[str, str], Any]] = {
    "walltime": read_walltime,
    "cores": _count,
    "processes": _count,
    "memory": dask_bytes,
}
