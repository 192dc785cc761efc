"""How OAR reads a request: what a site calls its cores, its GPUs and the memory of its nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jobpool.batch.oar.options import options_of_line
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.request import Request
from jobpool.model.rules import Constraint, Grant, Rules, Wish

__all__ = ["OarRules"]


@dataclass(frozen=True, slots=True)
class OarRules(Rules):
    """The properties of a site's resources. OAR gives whole resources, which are cores; their threads are theirs."""

    core: str = "core"
    """The level of the hierarchy that is one core."""
    gpu: str = ""
    """The level that is one GPU. Empty: no resource has one, or nothing is known."""
    memory: str = ""
    """The property that holds the MiB of a node. Empty: there is none."""
    core_memory: str = ""
    """The property that holds the MiB for each core, where there is none for the node."""
    known: bool = False
    """Whether the properties were read."""

    def whole_node_option(self, request: Request) -> str:
        """Return ``whole_node`` where it is one of the request's ``system_options``."""
        return "whole_node" if dict(request.system_options).get("whole_node", "no") == "yes" else ""

    def as_written(self, request: Request) -> Request:
        """Return the request as its options say it: the user's own ``-q`` and ``--project`` count."""
        own = dict(option for line in request.job_extra for option in options_of_line(line))
        partition, account = own.get("queue", request.partition), own.get("project", request.account)
        # Without a property for it, memory is the agent's business alone, and no node is compared with it.
        memory = request.memory if self.memory or self.core_memory or not self.known else None
        return replace(request, partition=partition, account=account, memory=memory)

    def wish_of(self, request: Request) -> Wish:
        """Return what the options of a request ask for: whole cores, with all threads that they have."""
        return Wish(
            cpus_per_task=request.job_cores,
            threads=1,
            memory=request.job_memory,
            exclusive=self.whole_node_option(request) != "",
        )

    def grant(self, wish: Wish, partition: Partition, shape: NodeShape) -> Grant | None:
        """Return what such a node gives. None: it cannot. A size of 0 means that nothing tells the node's memory."""
        if wish.cpus > shape.cores or (wish.memory is not None and 0 < shape.memory < wish.memory):
            return None
        cores = shape.cores if wish.exclusive else wish.cpus
        return Grant(cores=cores, cpus=cores * shape.threads_per_core, counted=cores, memory=None)

    def read_constraint(self, text: str) -> Constraint | None:
        """Return None: a constraint is SQL, which the database alone can read."""
        return None
