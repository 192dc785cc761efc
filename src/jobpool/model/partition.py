"""A partition of a site, with its limits, and the shapes of its nodes."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.model.units import Duration, Memory

__all__ = ["NodeShape", "Partition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition (SLURM), or queue (others), with the limits it puts on a job. None: no limit, or not known."""

    name: str
    default: bool = False
    up: bool = True
    tier: int = 1
    """Jobs of a partition with a higher tier start before those of others, and may preempt them."""
    max_time: Duration | None = None
    default_time: Duration | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    no_nodes: str = ""
    """The setting by which it gives no nodes to a job. Empty: it gives some, or nothing is known."""
    max_cpus_per_node: int | None = None
    max_memory_per_cpu: Memory | None = None
    default_memory_per_cpu: Memory | None = None
    max_memory_per_node: Memory | None = None
    default_memory_per_node: Memory | None = None
    allow_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    allow_accounts: tuple[str, ...] = ()
    deny_accounts: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    deny_qos: tuple[str, ...] = ()
    qos: str | None = None
    """The QoS whose limits hold for every job in it."""
    needs_reservation: bool = False
    root_only: bool = False
    node_names: str = ""
    """In the batch system's short form (``n[1-40]``)."""
    nodes: tuple[NodeShape, ...] = ()
    idle_cpus: int | None = None
    usable_cpus: int | None = None
    """CPUs of the nodes that are neither down nor drained."""
    whole_nodes: str = ""
    """By which setting each job gets a node for itself (``OverSubscribe=EXCLUSIVE``). Empty: none, or not known."""
    waiting: int | None = None
    """Jobs that wait in it now, of all users whose jobs may be seen; an array counts as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShape:
    """Nodes that are alike, and how many there are."""

    count: int
    """How many nodes there are."""
    cores: int
    """Physical cores of one node."""
    threads_per_core: int
    """Hardware threads of one core."""
    memory: Memory
    """Bytes of one node."""
    gpus: int = 0
    """GPUs of one node."""
    features: tuple[str, ...] = ()
    """Words that a constraint can ask for."""
