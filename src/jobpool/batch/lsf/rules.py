"""How LSF reads a request, and what it gives on a node: job slots, of which the site says what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobpool.batch.lsf.options import options_of_line
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.rules import Grant, Rules, Wish
from jobpool.model.units import Memory

__all__ = ["LsfRules"]

_TEXTS = {"partition": "-q", "account": "-P", "reservation": "-U"}
_OPTIONS = {**_TEXTS, "memory": "-M", "walltime": "-W"}
"""Settings that may be left open, and their options."""


@dataclass(frozen=True, slots=True)
class LsfRules(Rules):
    """LSF's rules: a job gets slots, and a slot is what the site has made it, mostly a core."""

    memory_per: Literal["host", "task"] = "host"
    """What ``rusage[mem=...]`` is counted for: RESOURCE_RESERVE_PER_TASK of the site."""

    def as_written(self, request: Request) -> Request:
        """Return the request as its directives say it: some are left out, and the user's own ones win."""
        changes: dict[str, Any] = {field: None for field, option in _OPTIONS.items() if option in request.job_skip}
        stated = dict(_own_options(request))
        for field, option in _OPTIONS.items():
            if option in stated:
                changes[field] = stated[option] if field in _TEXTS else None
        return replace(request, **changes) if changes else request

    def whole_node_option(self, request: Request) -> str:
        """Return ``-x`` where it is one of the user's own options."""
        return "-x" if any(option == "-x" for option, _ in _own_options(request)) else ""

    def wish_of(self, request: Request) -> Wish:
        """Return what the directives of a request ask for, in slots."""
        return Wish(
            cpus_per_task=self._slots(request),
            memory=request.job_memory,
            exclusive=self.whole_node_option(request) != "",
        )

    def cpus_given(self, request: Request, partition: Partition) -> int:
        """Return the slots that one job gets."""
        return self._slots(request)

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot. ``wish`` counts slots, as the node's cores do."""
        slots, most = wish.cpus, shape.cores * shape.threads_per_core
        memory = wish.memory
        if memory is None and wish.memory_per_cpu is not None:
            memory = Memory(wish.memory_per_cpu * slots)
        if slots > most or (memory is not None and memory > shape.memory):
            return None
        given = most if wish.exclusive or partition.whole_nodes else slots
        cores = -(-given // shape.threads_per_core)
        return Grant(cores=cores, cpus=given, counted=given, memory=memory)

    def node_names(self, text: str) -> frozenset[str]:
        """List the nodes of ``node1 node2``."""
        return frozenset(text.replace(",", " ").split())

    def _slots(self, request: Request) -> int:
        per_core = Mapping.get(dict(request.system_options), "slots_per_core", "1")
        count = int(per_core) if re.fullmatch(r"[1-9][0-9]?", per_core) else 1
        return request.job_cores * max(count, request.threads_per_core)


def _own_options(request: Request) -> Iterator[tuple[str, str]]:
    return (option for line in request.job_extra for option in options_of_line(line))
