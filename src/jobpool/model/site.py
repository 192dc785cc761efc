"""What a site has and allows: partitions, nodes, accounts, reservations, limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobpool.model.units import Duration, Memory

__all__ = ["Account", "Accounting", "Amounts", "Limits", "NodeShape", "Partition", "Quota", "Reservation", "User"]


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
    max_cpus_per_node: int | None = None
    max_memory_per_cpu: Memory | None = None
    default_memory_per_cpu: Memory | None = None
    max_memory_per_node: Memory | None = None
    default_memory_per_node: Memory | None = None
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
    cores: int
    """Physical cores of one node."""
    threads_per_core: int
    memory: Memory
    gpus: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What one limit counts. None: it does not count this."""

    cpus: int | None = None
    """As the batch system counts CPUs: hardware threads, of whole cores."""
    memory: Memory | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What the accounting lets a user have by one QoS or account. None: no limit by this one."""

    name: str
    """For a sentence: ``QoS 'long'``, ``account 'bio'``."""
    max_time: Duration | None = None
    max_jobs: int | None = None
    """Jobs that run at once."""
    max_submit: int | None = None
    """Jobs in the queue at once, running ones too."""
    per_job: Amounts = field(default_factory=Amounts)
    per_node: Amounts = field(default_factory=Amounts)
    at_least: Amounts = field(default_factory=Amounts)
    """A job must ask for so much."""
    together: Amounts = field(default_factory=Amounts)
    """Of all running jobs of the user."""
    of_all: Amounts = field(default_factory=Amounts)
    """Of all running jobs of all its users."""
    over_partition: bool = False
    """Whether it is stronger than the QoS of the partition (SLURM's OverPartQOS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account that the user may charge."""

    name: str
    partition: str | None = None
    """The one partition that this is about."""
    qos: tuple[str, ...] = ()
    default_qos: str | None = None
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks, as the batch system sees her."""

    name: str
    groups: tuple[str, ...] = ()
    privileged: bool = False
    """Root, or the user that the batch system itself runs as: groups do not stop her."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What the accounting knows of the user, and what of it is enforced."""

    default_account: str | None = None
    accounts: tuple[Account, ...] = ()
    qos: tuple[Quota, ...] = ()
    """``Quota.name`` is the bare name of the QoS here."""
    enforces_accounts: bool = False
    enforces_limits: bool = False
    enforces_qos: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Nodes that are kept for somebody. Empty ``users``, ``groups``, ``accounts``: it does not ask for these."""

    name: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partition: str | None = None
    node_names: str = ""
    """In the batch system's short form. Empty: not chosen yet, or not known."""
    starts_in: Duration | None = None
    """Time until it begins; 0 when it has begun, None when that is not known."""
    ends_in: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the batch system allows, as far as it says."""

    partitions: tuple[Partition, ...] = ()
    max_array_size: int | None = None
    """Jobs in one submit command at most. (SLURM's MaxArraySize caps the index, so this is the same number.)"""
    max_jobs: int | None = None
    max_memory: Memory | None = None
    """Memory of any node at most, where no partitions are known."""
    licenses: tuple[str, ...] | None = None
    """All there are, as ``name:count``. None: not known."""
    reservations: tuple[Reservation, ...] | None = None
    """None: not known."""
    user: User | None = None
    confined: bool | None = None
    """Whether jobs are kept to their cores, and cannot run on others. None: not known."""
    kill_wait: Duration | None = None
    """Time from the signal that tells a job to end to the one that kills it. None: not known."""
    mapped_files_count: bool = False
    """The batch system itself looks at what a job's processes hold, pages of mapped files too, and kills the job."""
    accounting: Accounting | None = None
    """None: there is none, or it could not be read."""
    unknown: tuple[str, ...] = ()
    """What could not be read, each with the batch system's words: said, not guessed."""
