"""What a site has and allows: partitions, nodes, accounts, reservations, limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobpool.model.partition import NodeShape, Partition
from jobpool.model.rules import Rules
from jobpool.model.units import Duration, Memory

__all__ = ["Account", "Accounting", "Amounts", "Limits", "NodeShape", "Partition", "Quota", "Reservation", "User"]


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

    rules: Rules = field(default_factory=Rules)
    """How the batch system reads a request, and what it allocates for it."""
    partitions: tuple[Partition, ...] = ()
    other_partitions: bool = False
    """Whether there may be others, which users cannot list: jobs in one of those are compared with nothing."""
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
    unconfined_words: str = ""
    """What would keep them and does not, in the batch system's words; empty: it has none."""
    mapped_files_counted_by: str = ""
    """The setting by which the batch system itself looks at what a job's processes hold, pages of mapped files too, and
    kills the job. Empty: it does not, or is not known to."""
    kill_wait: Duration | None = None
    """Time from the signal that tells a job to end to the one that kills it. None: not known."""
    accounting: Accounting | None = None
    """None: there is none, or it could not be read."""
    unknown: tuple[str, ...] = ()
    """What could not be read, each with the batch system's words: said, not guessed."""
