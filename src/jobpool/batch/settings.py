"""Settings of a request that not every batch system has a word for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from jobpool.model.errors import ConfigError
from jobpool.model.request import Request

__all__ = ["OPTIONAL", "each_name", "options_of", "refuse_others"]

OPTIONAL = {
    "partition": ("constraint", "qos", "job_extra"),
    "account": ("qos", "job_extra"),
    "qos": ("partition", "account", "job_extra"),
    "reservation": ("partition", "constraint", "job_extra"),
    "licenses": ("constraint", "job_extra"),
    "constraint": ("partition", "job_extra"),
    "exclude": ("constraint", "job_extra"),
    "gpus": ("constraint", "job_extra"),
    "job_extra": (),
    "job_skip": (),
}
"""By its name in a request: the settings by which most of the same can be said, the nearest first."""


def refuse_others(request: Request, settings: Iterable[str], *, title: str) -> None:
    """Raise ``ConfigError`` for each setting with a value that a batch system does not have.

    ``settings`` are those that it has, of the ones in ``OPTIONAL``.
    """
    known = frozenset(settings)
    problems = []
    for name, near in OPTIONAL.items():
        value = getattr(request, name)
        if name in known or not value:
            continue
        nearest = next((other for other in near if other in known), None)
        instead = f"the nearest that it has is {nearest}=" if nearest else "leave it out"
        shown = list(value) if isinstance(value, tuple) else value
        problems.append(f"{name}={shown!r} cannot be used: {title} has no such setting; {instead}")
    if problems:
        raise ConfigError.from_problems(problems)


def each_name(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the names in these texts, one by one: ``exclude="n7,n8"`` names two nodes, as it does on SLURM."""
    return tuple(name for text in texts for part in text.split(",") if (name := part.strip()))


def options_of(request: Request, known: Mapping[str, str], *, title: str) -> dict[str, str]:
    """Return the request's ``system_options``. Raises ``ConfigError`` for each that a batch system does not have.

    ``known`` are those that it has, each with a sentence on what it means.
    """
    problems = []
    for name, value in request.system_options:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        problems.append(f"system_options: {title} has no option {name!r} (value {value!r}){meant or f': {has}'}")
    if problems:
        raise ConfigError.from_problems(problems)
    return dict(request.system_options)
