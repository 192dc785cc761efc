"""The files a practice SLURM is configured by, as pure text.

Values that differ from SLURM's own defaults are here for one of three reasons: to need no root (``linuxproc``, a
munged of one's own), to answer quickly (SLURM's defaults are tuned for thousands of nodes, not for a test), or to show
what a real site has (partitions, limits, a licence, a node with GPUs).

Only the owner of a lab can use it: see :mod:`.slurm_munge`. Its ports are on the loopback address, where
the machine's own name leads there: SLURM knows no other way to choose between that name's address and all addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from jobpool.model.units import Memory

__all__ = [
    "LabPlan",
    "Node",
    "cgroup_conf",
    "gres_conf",
    "plan_from_json",
    "plan_to_json",
    "slurm_conf",
    "slurmdbd_conf",
]

FAKED_MEMORY = Memory(64 * 2**30)
Cgroups = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a lab: what slurmctld is told about it, and the port of its slurmd."""

    name: str
    port: int
    sockets: int = 2
    cores: int = 8
    """Physical cores per socket."""
    threads: int = 2
    """Hardware threads per core."""
    memory: Memory = FAKED_MEMORY
    gpus: int = 0

    @property
    def cpus(self) -> int:
        """What SLURM counts as CPUs: hardware threads."""
        return self.sockets * self.cores * self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPlan:
    """All that the configuration of one lab is made from."""

    directory: Path
    """Holds configuration, state and logs."""
    run: Path
    """Holds unix sockets: a short path, because a socket's path ends at 107 bytes."""
    user: str
    cluster: str
    """Name of the cluster and first part of the nodes' names; unique among the labs of a machine."""
    nodes: tuple[Node, ...]
    ctld_port: int
    dbd_port: int | None = None
    """None: no accounting."""
    cgroups: Cgroups | None = None
    """None: nothing holds a job to its memory and cores."""
    loopback: bool = False
    """Whether the machine's own name leads to 127.0.0.1; then the daemons listen there only, else on all addresses."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of ``slurm.conf``, in the place of the lab's own."""

    @property
    def etc(self) -> Path:
        """Directory of the configuration files."""
        return self.directory / "etc"

    @property
    def munge_key(self) -> Path:
        """The secret behind the credentials of this lab's clients and daemons."""
        return self.etc / "munge.key"

    @property
    def munge_socket(self) -> Path:
        """Where clients and daemons get credentials made and checked."""
        return self.run / "munge.sock"

    @property
    def log(self) -> Path:
        """Directory of the daemons' logs."""
        return self.directory / "log"

    @property
    def devices(self) -> Path:
        """Directory of the files that stand for GPUs."""
        return self.directory / "devices"

    @property
    def pids(self) -> Path:
        """Directory of the files by which daemons are found again."""
        return self.directory / "pids"

    @property
    def state(self) -> Path:
        """Directory of slurmctld's state."""
        return self.directory / "state"

    @property
    def database(self) -> Path:
        """Directory of mariadbd's files."""
        return self.directory / "database"

    @property
    def database_socket(self) -> Path:
        """Where the private mariadbd listens; it has no port."""
        return self.run / "db.sock"

    def spool(self, node: Node) -> Path:
        """Directory of one slurmd: job scripts, credentials, sockets of the running steps."""
        return self.run / node.name


def plan_to_json(plan: LabPlan) -> str:
    """Write a plan as text, for :func:`plan_from_json`."""
    return json.dumps(asdict(plan), default=str, indent=1)


def plan_from_json(text: str) -> LabPlan:
    """Read a plan again."""
    data = json.loads(text)
    nodes = tuple(Node(**{**node, "memory": Memory(node["memory"])}) for node in data.pop("nodes"))
    return LabPlan(directory=Path(data.pop("directory")), run=Path(data.pop("run")), nodes=nodes, **data)


def slurm_conf(plan: LabPlan) -> str:
    """Write ``slurm.conf``."""
    sections = (_identity(plan), _places(plan), _enforcement(plan), _QUICK, _scheduling(plan), _accounting(plan))
    settings = {key: value for section in (*sections, plan.settings) for key, value in section.items()}
    lines = [f"{key}={value}" for key, value in settings.items()]
    return "\n".join([*lines, *_nodes(plan), *_partitions(plan)]) + "\n"


def gres_conf(plan: LabPlan) -> str:
    """Write ``gres.conf``. The device files lead nowhere: a job learns which GPUs it has, and that is all."""
    with_gpus = [node for node in plan.nodes if node.gpus]
    return "".join(
        f"NodeName={node.name} Name=gpu Type=a100 File={plan.devices}/gpu[0-{node.gpus - 1}]\n" for node in with_gpus
    )


def cgroup_conf(plan: LabPlan) -> str:
    """Write ``cgroup.conf``: cores, memory and swap of a job are held to what it asked for, or nothing is."""
    if plan.cgroups is None:
        # slurmd loads a plugin in any case. That of v2, which it would take where it finds v2, needs root and systemd.
        return "CgroupPlugin=cgroup/v1\n"
    lines = [f"CgroupPlugin=cgroup/{plan.cgroups}", "ConstrainCores=yes", "ConstrainRAMSpace=yes"]
    lines += ["ConstrainSwapSpace=yes", "ConstrainDevices=no"]
    if plan.cgroups == "v2":
        # Without it slurmd asks systemd over D-Bus for a scope, which containers do not have.
        lines += ["IgnoreSystemd=yes"]
    return "\n".join(lines) + "\n"


def slurmdbd_conf(plan: LabPlan) -> str:
    """Write ``slurmdbd.conf``. The database is reached by its socket, whose directory nobody else can enter."""
    values = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={plan.munge_socket}",
        **_listening(plan),
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": plan.dbd_port,
        "SlurmUser": plan.user,
        "PidFile": plan.run / "slurmdbd.pid",
        "LogFile": plan.log / "slurmdbd.log",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",  # of the database: its one user, without a password
        "StorageLoc": "slurm_acct_db",
    }
    return "\n".join(f"{key}={value}" for key, value in values.items()) + "\n"


_QUICK: Mapping[str, object] = {
    # Seconds, all of them: a test waits for these.
    "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=10000,bf_interval=2,sched_interval=2",
    "KillWait": 3,
    "SlurmdTimeout": 6,
    "InactiveLimit": 0,
    "MinJobAge": 300,
    # A node comes back by itself when its slurmd does, but not when it was declared down: 2, which many sites have,
    # would bring that one back with its next registration, 2 s later.
    "ReturnToService": 1,
}


def _identity(plan: LabPlan) -> dict[str, object]:
    return {
        "ClusterName": plan.cluster,
        "SlurmctldHost": "localhost(127.0.0.1)",
        "SlurmctldPort": plan.ctld_port,
        "SlurmUser": plan.user,
        "SlurmdUser": plan.user,
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        # cred_expire, seconds: a requeued job may start again after this long; default 120.
        "AuthInfo": f"socket={plan.munge_socket},cred_expire=5",
        **_listening(plan),
        "MpiDefault": "none",
        "SwitchType": "switch/none",
    }


def _listening(plan: LabPlan) -> dict[str, object]:
    # These make SLURM listen at the address of the machine's name, be it what it may, where nobody would look for it.
    return {"CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny"} if plan.loopback else {}


def _places(plan: LabPlan) -> dict[str, object]:
    return {
        "StateSaveLocation": plan.state,
        "SlurmdSpoolDir": plan.run / "%n",
        "SlurmctldPidFile": plan.run / "slurmctld.pid",
        "SlurmdPidFile": plan.run / "%n.pid",
        "SlurmctldLogFile": plan.log / "slurmctld.log",
        "SlurmdLogFile": plan.log / "%n.log",
    }


def _enforcement(plan: LabPlan) -> dict[str, object]:
    if plan.cgroups:
        return {
            "ProctrackType": "proctrack/cgroup",
            "TaskPlugin": "task/affinity,task/cgroup",
            "JobAcctGatherType": "jobacct_gather/cgroup",
            "JobAcctGatherFrequency": 1,
        }
    return {
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": 1,
        # The nodes claim more than this machine has.
        "SlurmdParameters": "config_overrides",
    }


def _scheduling(plan: LabPlan) -> dict[str, object]:
    return {
        "SchedulerType": "sched/backfill",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": min(1000, *(int(node.memory / 2**20 / node.cpus) for node in plan.nodes)),  # MiB
        "MaxArraySize": 1001,
        "MaxJobCount": 10000,
        "GresTypes": "gpu",
        "Licenses": "matlab:4",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 1,
    }


def _accounting(plan: LabPlan) -> dict[str, object]:
    if plan.dbd_port is None:
        return {"JobCompType": "jobcomp/filetxt", "JobCompLoc": plan.log / "jobcomp.log"}
    return {
        "JobCompType": "jobcomp/none",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": plan.dbd_port,
        # Called a password, but what slurmdbd's clients take AuthInfo from; without it they ask the machine's munged.
        "AccountingStoragePass": f"socket={plan.munge_socket}",
        "AccountingStorageEnforce": "limits,qos",
        "AccountingStorageTRES": "gres/gpu",
    }


def _nodes(plan: LabPlan) -> Iterator[str]:
    for node in plan.nodes:
        shape = f"Sockets={node.sockets} CoresPerSocket={node.cores} ThreadsPerCore={node.threads}"
        gres = f" Gres=gpu:a100:{node.gpus}" if node.gpus else ""
        yield (
            f"NodeName={node.name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={node.port} "
            f"{shape} RealMemory={node.memory.mebibytes} State=UNKNOWN{gres}"
        )


def _partitions(plan: LabPlan) -> Iterator[str]:
    plain = ",".join(node.name for node in plan.nodes if not node.gpus)
    gpus = ",".join(node.name for node in plan.nodes if node.gpus)
    yield f"PartitionName=short Nodes={plain} Default=YES MaxTime=1:00:00 DefaultTime=1:00:00 PriorityTier=10"
    yield f"PartitionName=long Nodes={plain} MaxTime=2-00:00:00 DefaultTime=1:00:00 PriorityTier=10"
    yield f"PartitionName=preempt Nodes={plain} MaxTime=2-00:00:00 PriorityTier=1 PreemptMode=REQUEUE"
    # A group that no person is in, for the refusal that follows; SLURM lets root in all the same.
    yield f"PartitionName=closed Nodes={plain} AllowGroups=daemon MaxTime=2-00:00:00 PriorityTier=10"
    if gpus:
        yield f"PartitionName=gpu Nodes={gpus} MaxTime=1-00:00:00 PriorityTier=10"
