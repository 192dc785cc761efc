"""The nouns that all rooms share: plain, frozen, without behaviour beyond what follows from their fields."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Literal, NewType

from jobpool.model.errors import ConfigError
from jobpool.model.units import Duration, Memory

__all__ = [
    "AGENT_MEMORY",
    "PLAIN",
    "UNREACHABLE",
    "Account",
    "Accounting",
    "Amounts",
    "Call",
    "CallOptions",
    "Command",
    "Completed",
    "Ending",
    "EndingKind",
    "Hold",
    "JobId",
    "JobState",
    "Limits",
    "NodeShape",
    "Partition",
    "Quota",
    "Request",
    "Reservation",
    "Retry",
    "Seen",
    "Usage",
    "User",
]

JobId = NewType("JobId", str)
"""The batch system's own id of one job, as its commands take it; an array's element is its own job (``1343_7``)."""

Bind = Literal["cores", "threads"]

AGENT_MEMORY = Memory(256 * 2**20)
"""The agent's share of a job's memory. An agent holds 60 MB, a fork-server and copies of Dask's messages some more
(measured); the rest is for the page tables and log buffers that a cgroup counts too."""


UNREACHABLE = 75
"""Exit code of a job whose agent found no way to the server (sysexits.h's EX_TEMPFAIL)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one worker needs, and where its job may run.

    ``cores``, ``memory`` and ``gpus`` are per worker, ``walltime`` is per job. ``cores`` are physical cores;
    ``threads_per_core`` says how many of each core's hardware threads the call may use.
    """

    cores: int = 1
    memory: Memory | None = None
    gpus: int = 0
    walltime: Duration | None = None
    workers_per_job: int = 1
    threads_per_core: int = 1
    bind: Bind | None = "cores"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    licenses: tuple[str, ...] = ()
    constraint: str | None = None
    exclude: tuple[str, ...] = ()
    job_extra: tuple[str, ...] = ()
    job_skip: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    @property
    def job_cores(self) -> int:
        """Physical cores of one job."""
        return self.cores * self.workers_per_job

    @property
    def job_gpus(self) -> int:
        """GPUs of one job."""
        return self.gpus * self.workers_per_job

    @property
    def job_memory(self) -> Memory | None:
        """Memory of one job: all workers' and the agent's share. None: the site's default."""
        return None if self.memory is None else Memory(self.memory * self.workers_per_job + AGENT_MEMORY)

    @property
    def threads(self) -> int:
        """Threads that one call may run at once."""
        return self.cores * self.threads_per_core


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the batch system, to be run without a shell."""

    argv: tuple[str, ...]
    stdin: str | None = None
    timeout: float = 60.0
    """Seconds. Above the 10-18 s that SLURM's commands take to give up on a frozen controller."""
    environment: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    """All variables that it runs with. None: those of the process that runs it, without those by which a user changes
    what SLURM's commands do (``SCANCEL_STATE``). Not printed: they may hold secrets."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of a :class:`Command`. ``returncode`` is None when it did not finish in time or could not start."""

    command: Command
    returncode: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command said that it succeeded."""
        return self.returncode == 0

    @property
    def words(self) -> str:
        """What the batch system said, for a person: stderr, else stdout, stripped."""
        return (self.stderr.strip() or self.stdout.strip())[-4000:]


class JobState(enum.Enum):
    """What the batch system says of a job, the same words for all of them."""

    PENDING = "pending"
    """In the queue, held, or waiting to be run again."""
    RUNNING = "running"
    """Its script runs, or is about to (SLURM's CONFIGURING)."""
    COMPLETING = "completing"
    """Its processes are being ended; not gone yet."""
    SUSPENDED = "suspended"
    """Stopped by the batch system, may go on."""
    ENDED = "ended"
    """It will not run again. ``Seen.ending`` says why."""
    UNKNOWN = "unknown"
    """A state this version does not know. An observation, not an ending."""


class EndingKind(enum.Enum):
    """Why a job came to its end."""

    COMPLETED = "completed"
    """Its script returned 0."""
    FAILED = "failed"
    """Its script returned another code, or died of a signal of its own."""
    LAUNCH_FAILED = "launch failed"
    """The batch system could not start the script (output directory missing, node without the user, ...)."""
    OUT_OF_MEMORY = "out of memory"
    """It was killed for memory."""
    TIMED_OUT = "timed out"
    """Its walltime ended."""
    CANCELLED = "cancelled"
    """Somebody cancelled it (we, the user, an administrator)."""
    PREEMPTED = "preempted"
    """A job with more priority took its place."""
    NODE_FAILED = "node failed"
    """The node died, was drained by force, or failed to boot."""
    LOST = "lost"
    """It is gone from the queue and nothing says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a job came to its end, with the evidence."""

    kind: EndingKind
    words: str = ""
    """The batch system's own: state, reason, exit code (``TIMEOUT TimeLimit 0:0``)."""
    exit_code: int | None = None
    signal: int | None = None
    node: str | None = None
    limit: str | None = None
    used: Memory | None = None
    """What the whole job held when it was killed for memory, where somebody says so."""
    kills: int | None = None
    """How often the kernel killed in it for memory, all its time long, where somebody says so."""
    source: str = ""
    """Who says so: ``queue``, ``accounting``, ``agent``, ``exit file``, or ``absence``."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job in the queue will not start before somebody acts."""

    advice: str
    """Who has to act, and how."""
    hopeless: bool = False
    """Its starts fail, and so it would with those that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One job as one poll saw it."""

    id: JobId
    name: str
    """The name of its submission, which is unique: how a job is recognised before its id is known."""
    index: int
    """Its place in the submission, from 0; 0 for a job that is not an element of an array."""
    state: JobState
    words: str = ""
    """The batch system's own state and reason, unchanged."""
    reason: str = ""
    """The reason alone (``Resources``, ``QOSMaxJobsPerUserLimit``), empty when there is none."""
    hold: Hold | None = None
    """Present when it is pending and held."""
    node: str | None = None
    ending: Ending | None = None
    """Present exactly when ``state`` is ENDED."""


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
    mapped_files_count: bool = False
    """The batch system itself looks at what a job's processes hold, pages of mapped files too, and kills the job."""
    accounting: Accounting | None = None
    """None: there is none, or it could not be read."""
    unknown: tuple[str, ...] = ()
    """What could not be read, each with the batch system's words: said, not guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call used."""

    wall: float
    """Seconds from the call's start to its end."""
    cpu: float
    """CPU seconds of the call and of the child processes it waited for."""
    peak_memory: Memory
    """Peak resident memory of the worker while the call ran."""
    threads: int
    """Threads of the worker process when the call ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a call runs again after a loss, and with what.

    Raises ``ConfigError``, with all problems, for values that cannot be used.
    """

    lost: int = 10
    """Times that a call may lose its job without fault of its own (preemption, node failure, ...)."""
    crashed: int = 2
    """Times that a call's worker may die under it before the call is blamed."""
    memory_growth: float | None = None
    """A call that was killed for memory runs again with this many times as much, above 1. None: it fails at once."""
    max_memory: str | int | Memory | None = None
    """Memory of one worker up to which it may grow (``"64 GiB"``). None: as much as the site's nodes have."""

    def __post_init__(self) -> None:
        problems = []
        for name in ("lost", "crashed"):
            if not _is_whole(getattr(self, name)):
                problems.append(f"{name}={getattr(self, name)!r}: it must be a whole number, at least 0")
        growth = self.memory_growth
        if growth is not None and not (isinstance(growth, (int, float)) and 1 < growth < math.inf):
            problems.append(f"memory_growth={growth!r}: it must be a number above 1, or None")
        try:
            most = None if self.max_memory is None else Memory.parse(self.max_memory)
            object.__setattr__(self, "max_memory", most)
        except ValueError as error:
            problems.append(f"max_memory={self.max_memory!r}: {error}")
        if problems:
            raise ConfigError.from_problems([f"Retry: {problem}" for problem in problems])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What holds for a call wherever it runs."""

    timeout: Duration | None = None
    """It may run so long; then its worker is killed."""
    expected_time: Duration | None = None
    """It is expected to run so long: it is not started where less time is left."""
    retry: Retry | None = None
    """None: the pool's own."""


PLAIN = CallOptions()
"""Of calls about which nothing was said."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call on its way: an id, the function's key, and its pickled arguments, which only the worker opens.

    Or calls for several items of a map, its rows: they have successive ids from ``id`` on, and share one payload.
    Whoever holds them may cut them in two, and never looks into the payload.
    """

    id: int
    function: str
    """Content hash of the pickled function; the server knows the pickle."""
    payload: bytes = field(repr=False)
    request: str = ""
    """Key of the request it needs a worker of; empty: the pool's own."""
    skip: int = 0
    """Rows at the beginning of the payload that are not in it."""
    rows: int = 0
    """How many rows there are. 0: a single call, with a payload of another form."""
    terms: CallOptions = PLAIN

    @property
    def timeout(self) -> float | None:
        """Seconds that it may run."""
        return self.terms.timeout

    @property
    def expected_time(self) -> float | None:
        """Seconds that it is expected to run, where the user said so."""
        return self.terms.expected_time

    @property
    def items(self) -> int:
        """How many calls it is."""
        return self.rows or 1

    @property
    def ids(self) -> range:
        """The ids of all calls that it is."""
        return range(self.id, self.id + self.items)

    def cut(self, at: int) -> tuple[Call, Call]:
        """Return the first ``at`` rows, and the rest."""
        skip, rows = self.skip + at, self.rows - at
        rest = Call(self.id + at, self.function, self.payload, self.request, skip, rows, self.terms)
        return Call(self.id, self.function, self.payload, self.request, self.skip, at, self.terms), rest
