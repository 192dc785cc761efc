"""What is known of two sides, where calls come from and where they run, and of the site between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobpool.batch.base import Capabilities
from jobpool.batch.explainer import Remark, SiteFacts, Surroundings, Used
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Memory

__all__ = ["DiskQuota", "Folder", "Meeting", "Side", "Site"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder as one side sees it."""

    path: str
    there: bool = True
    kind: str = ""
    """Type of its file system, in the kernel's words: ``ext4``, ``nfs4``, ``tmpfs``."""
    inode: int = 0
    marked: bool | None = None
    """Whether the file that the other side has put there is there. None: none was put there."""
    free: Memory | None = None
    files: int | None = None
    """Files that may still be made (free inodes). None: the file system does not count them."""
    mount: str = ""
    """Where its file system is mounted."""
    device: str = ""
    """What is mounted there, in the kernel's words: ``server:/export/home``, ``/dev/sda1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskQuota:
    """How much of a file system the user may have. None: no limit."""

    mount: str
    whose: str = ""
    """``user``, ``group``, or as the file system says."""
    used: Memory | None = None
    limit: Memory | None = None
    files: int = 0
    files_limit: int | None = None
    unknown: str = ""
    """Why it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One process, and the machine under it."""

    node: str
    user: int
    python: str
    executable: str
    packages: Mapping[str, str]
    """Versions of all that is installed."""
    main: str
    """File of the module ``__main__``. Empty: it has none, as in a worker."""
    start_method: str
    """How ``multiprocessing`` starts processes where nobody chooses."""
    time: float
    """Its clock, in seconds since the epoch."""
    cpus: int
    """CPUs (hardware threads) of the machine."""
    allowed: int
    """CPUs that the process may run on."""
    cores: int
    """Cores that these belong to."""
    threads_per_core: int
    memory: Memory
    """Of the machine."""
    memory_limit: Memory | None
    """Of the process's cgroup. None: no limit."""
    limits: Mapping[str, int | None]
    """What ``ulimit`` shows, by its name in setrlimit(2) without ``RLIMIT_``. None: no limit."""
    environment: Mapping[str, str]
    """Variables that change how programs run. The values of proxies, which may hold passwords, are left out."""
    home: Folder
    project: Folder
    """The working directory."""
    temp: Folder
    scratch: Mapping[str, Folder] = field(default_factory=dict)
    """By the variables that name them: ``SCRATCH``, ``WORK``."""
    quotas: tuple[DiskQuota, ...] | None = None
    """None: not asked."""
    installed: Folder
    """Where Python's packages are."""
    read: float
    """Seconds to open and read one file of a package, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """How a call got from one side to the other."""

    waited: float
    """Seconds from the submit until the call ran."""
    offset: float
    """Seconds by which the other side's clock is ahead."""
    uncertain: float
    """Seconds that the offset may be wrong by."""
    address: str = ""
    """Address of this host that answered the job."""
    job: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The batch system, as far as it can be asked from here."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    limits: Limits = field(default_factory=Limits)
    request: Request = field(default_factory=Request)
    """What jobs of this user are configured to ask for; ``"auto"`` is settled in it."""
    chosen: bool = False
    """The partition was left to ``"auto"``."""
    auto: tuple[str, ...] = ()
    """Sizes that are left to the first calls."""
    facts: SiteFacts = field(default_factory=SiteFacts)
    """What the batch system says of itself beside its limits."""
    surroundings: Surroundings = field(default_factory=Surroundings)
    """By what the batch systems that are known show around a process."""
    remarks: tuple[Remark, ...] = ()
    """What variables that are set here change about jobs."""
    left: tuple[Used, ...] | None = None
    """Each limit of the account and the QoS: what and of whom, the limit, how much is used. None: not known."""
