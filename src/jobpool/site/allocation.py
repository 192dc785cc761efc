"""Which nodes a job may have, and whether it has them for itself, by the rules of the batch system."""

from __future__ import annotations

from jobpool.model.request import Request
from jobpool.model.rules import Rules
from jobpool.model.site import NodeShape, Partition

__all__ = ["fits_features", "whole_nodes"]


def whole_nodes(request: Request, partition: Partition, rules: Rules) -> str:
    """Say by what each job of this request gets a node for itself. Empty: it shares one."""
    return partition.whole_nodes or rules.whole_node_option(request)


def fits_features(request: Request, shape: NodeShape, rules: Rules) -> bool:
    """Say whether the constraint allows such nodes; one that cannot be read here allows all."""
    wanted = rules.read_constraint(request.constraint) if request.constraint else None
    return wanted is None or wanted.holds(frozenset(shape.features))
