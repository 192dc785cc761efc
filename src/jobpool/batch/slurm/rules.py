"""How SLURM reads a request, and what it allocates on a node for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jobpool.batch.slurm import allocation, constraint, hostlist
from jobpool.batch.slurm.options import options_of_line
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.rules import Constraint, Grant, Rules, Wish

__all__ = ["SlurmRules"]

_TEXTS = ("partition", "account", "qos", "reservation")
_OPTIONS = {"memory": "mem", "walltime": "time", "constraint": "constraint"} | {name: name for name in _TEXTS}
"""Settings that may be left open, and their options."""


@dataclass(frozen=True, slots=True)
class SlurmRules(Rules):
    """SLURM's rules, as measured on 22.05 with CR_Core_Memory."""

    def as_written(self, request: Request) -> Request:
        """Return the request as its directives say it: some are left out, and the user's own ones win."""
        skipped = {field: None for field, option in _OPTIONS.items() if _skips(request, option)}
        stated = dict(_own_options(request))
        own = {field: stated[option] for field, option in _OPTIONS.items() if field in _TEXTS and option in stated}
        # Amounts of the user's own, in whatever form: SLURM reads them, and nothing is compared.
        other = {field: None for field, option in _OPTIONS.items() if field not in _TEXTS and option in stated}
        changes: dict[str, Any] = {**skipped, **other, **own}
        return replace(request, **changes) if changes else request

    def whole_node_option(self, request: Request) -> str:
        """Return ``--exclusive`` where it is one of the user's own options. ``=user`` and ``=mcs`` share the node."""
        return "--exclusive" if ("exclusive", "") in _own_options(request) else ""

    def wish_of(self, request: Request) -> Wish:
        """Return what the directives of a request ask for."""
        wish = Rules.wish_of(self, request)
        return replace(wish, threads=None) if _skips(request, "threads-per-core") else wish

    def cpus_given(self, request: Request, partition: Partition) -> int:
        """Return the CPUs that one job gets: more than it asks for where memory is limited per CPU."""
        asked = request.job_cores * request.threads_per_core
        return allocation.raised(asked, request.job_memory, partition.max_memory_per_cpu)

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot."""
        return allocation.grant(wish, partition, shape)

    def read_constraint(self, text: str) -> Constraint | None:
        """Read a constraint. None: it is written in a way that nobody here has seen SLURM take."""
        return constraint.read_constraint(text)

    def node_names(self, text: str) -> frozenset[str]:
        """List the nodes of ``n[1-3,07],gpu1``."""
        return hostlist.expand(text)


def _skips(request: Request, option: str) -> bool:
    return any(f"--{option}".startswith(beginning) for beginning in request.job_skip)


def _own_options(request: Request) -> Iterator[tuple[str, str]]:
    return (option for line in request.job_extra for option in options_of_line(line))
