"""How PBS reads a request, and what it allocates on a node for it.

PBS counts ``ncpus``: as many as the site says that a node has, mostly one for each hardware thread. It keeps no core
together: two jobs may run on the two threads of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jobpool.batch.pbs.options import options_of, resources_of, words_of
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.rules import Constraint, Grant, Rules, Wish

__all__ = ["PbsRules"]


@dataclass(frozen=True, slots=True)
class PbsRules(Rules):
    """PBS's rules."""

    def as_written(self, request: Request) -> Request:
        """Return the request as its directives say it: some are left out, and the user's own ones win."""
        changes: dict[str, Any] = {}
        if _skips(request, "-l walltime="):
            changes["walltime"] = None
        if _skips(request, "-q ") or request.reservation is not None:
            changes["partition"] = None  # in PBS a reservation is a queue, which no limits are known of
        if _skips(request, "-l select=") or dict(request.system_options).get("memory") == "none":
            changes["memory"] = None
        for name, value in _own(request):
            if name == "-q":
                changes["partition"] = value.partition("@")[0] or None
            elif name == "-l" and "walltime" in resources_of(value):
                changes["walltime"] = None
        return replace(request, **changes) if changes else request

    def whole_node_option(self, request: Request) -> str:
        """Return the option of ``place`` by which each job gets a node for itself. Empty: there is none."""
        places = [dict(request.system_options).get("place", "")]
        places += [resources_of(value).get("place", "") for name, value in _own(request) if name == "-l"]
        found = [word for place in places for word in place.split(":") if word in ("excl", "exclhost")]
        return f"place={found[0]}" if found else ""

    def wish_of(self, request: Request) -> Wish:
        """Return what the directives of a request ask for."""
        return replace(Rules.wish_of(self, request), cpus_per_task=self._ncpus(request), threads=None)

    def cpus_given(self, request: Request, partition: Partition) -> int:
        """Return what one job gets of ``ncpus``."""
        return self._ncpus(request)

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot."""
        exclusive = wish.exclusive or bool(partition.whole_nodes)
        memory = wish.memory or partition.default_memory_per_node
        if wish.cpus > shape.cores or (wish.memory is not None and wish.memory > shape.memory):
            return None
        cores = shape.cores if exclusive else wish.cpus
        return Grant(cores=cores, cpus=cores, counted=cores, memory=memory)

    def read_constraint(self, text: str) -> Constraint | None:
        """Read ``name=value:name=value``, or one name, which stands for ``name=True``."""
        names = tuple(text.split(":")) if "=" in text else (f"{text}=True",)
        if not all(re.fullmatch(r"[^=]+=[^=]+", name) for name in names):
            return None
        return Constraint(names, lambda features: features >= frozenset(names))

    def _ncpus(self, request: Request) -> int:
        per_core = dict(request.system_options).get("ncpus_per_core", "")
        return request.job_cores * max(request.threads_per_core, int(per_core) if per_core.isdecimal() else 1)


def _skips(request: Request, directive: str) -> bool:
    return any(directive.startswith(beginning) for beginning in request.job_skip if beginning)


def _own(request: Request) -> Iterator[tuple[str, str]]:
    return (one for line in request.job_extra for one in options_of(words_of(line.strip().removeprefix("#PBS"))))
