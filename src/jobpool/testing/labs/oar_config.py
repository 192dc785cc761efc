"""What a practice OAR is made of: its plan, and the texts of its configuration."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from jobpool.testing.labs.machine import free_ports

__all__ = [
    "MARK",
    "OarNode",
    "OarPlan",
    "hba_conf",
    "make_plan",
    "oar_conf",
    "plan_from_json",
    "plan_to_json",
    "resources_sql",
    "ssh_config",
    "sshd_config",
]

MARK = "JOBPOOL_LAB"
"""The variable by which processes of a lab are found; the nodes' sshd hands it down to the jobs."""

_LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OarNode:
    """One node, which is a sshd of its own."""

    name: str
    port: int
    cores: int
    gpus: int = 0
    mebibytes: int = 16000


@dataclass(frozen=True, slots=True, kw_only=True)
class OarPlan:
    """Where everything of a lab is."""

    directory: Path
    """Holds the record alone."""
    place: Path
    """Below /tmp, since the users that OAR and PostgreSQL run as must get there."""
    server_port: int
    database_port: int
    password: str
    nodes: tuple[OarNode, ...]

    @property
    def pids(self) -> Path:
        """One file per daemon: pid and start time."""
        return self.place / "pids"

    @property
    def log(self) -> Path:
        """Logs of all daemons."""
        return self.place / "log"

    @property
    def database(self) -> Path:
        """PostgreSQL's files and its socket."""
        return self.place / "database"

    @property
    def run(self) -> Path:
        """What oarexec keeps of jobs: the lists of their nodes."""
        return self.place / "run"

    @property
    def keeper(self) -> Path:
        """The socket at which an ordinary user asks for a fault."""
        return self.place / "keeper"


def make_plan(directory: Path, *, nodes: int, cores: int, gpus: int) -> OarPlan:
    """Choose free ports and a place."""
    place = Path(tempfile.mkdtemp(prefix="jobpool-oar-", dir="/tmp"))
    place.chmod(0o711)
    names = [f"node{number}" for number in range(1, nodes + 1)] + (["gpu1"] if gpus else [])
    server, database, *ports = free_ports(len(names) + 2)
    return OarPlan(
        directory=directory,
        place=place,
        server_port=server,
        database_port=database,
        password=secrets.token_hex(16),
        nodes=tuple(
            OarNode(name=name, port=port, cores=cores, gpus=gpus if name == "gpu1" else 0)
            for name, port in zip(names, ports, strict=True)
        ),
    )


def plan_to_json(plan: OarPlan) -> str:
    """Write the record, without the password of the database: anybody may read it."""
    record = {**asdict(plan), "system": "oar", "password": ""}
    return json.dumps(record, default=str, indent=2)


def plan_from_json(text: str) -> OarPlan:
    """Read the record."""
    record = json.loads(text)
    del record["system"]
    record["nodes"] = tuple(OarNode(**node) for node in record["nodes"])
    return OarPlan(**{**record, "directory": Path(record["directory"]), "place": Path(record["place"])})


def oar_conf(plan: OarPlan) -> str:
    """Write ``oar.conf``. Shell and OAR both read it."""
    values = {
        "DB_TYPE": "Pg",
        "DB_HOSTNAME": _LOCALHOST,
        "DB_PORT": plan.database_port,
        "DB_BASE_NAME": "oar",
        "DB_BASE_LOGIN": "oar",
        "DB_BASE_PASSWD": plan.password,
        "DB_BASE_LOGIN_RO": "oar_ro",
        "DB_BASE_PASSWD_RO": plan.password,
        "SERVER_HOSTNAME": "localhost",
        "SERVER_PORT": plan.server_port,
        "OARSUB_DEFAULT_RESOURCES": "/core=1",
        "OARSUB_NODES_RESOURCES": "network_address",
        "OARSUB_FORCE_JOB_KEY": "no",
        "LOG_LEVEL": 2,
        "LOG_CATEGORIES": "all",
        "LOG_FILE": plan.log / "oar.log",
        "OAREXEC_DEBUG_MODE": 0,
        "OAR_RUNTIME_DIRECTORY": plan.run,
        "DEPLOY_HOSTNAME": _LOCALHOST,
        "COSYSTEM_HOSTNAME": _LOCALHOST,
        "DETACH_JOB_FROM_SERVER": 1,
        "OPENSSH_CMD": f"/usr/bin/ssh -F {plan.place}/ssh_config",
        "OAR_SSH_CONNECTION_TIMEOUT": 20,
        "FINAUD_FREQUENCY": 0,  # no look at idle nodes
        "PINGCHECKER_GENERIC_COMMAND": "/bin/true",
        "SCHEDULER_TIMEOUT": 30,
        "SCHEDULER_NB_PROCESSES": 0,
        "SCHEDULER_MIN_TIME_BETWEEN_2_CALLS": 1,
        "SCHEDULER_JOB_SECURITY_TIME": 1,
        "SCHEDULER_GANTT_HOLE_MINIMUM_TIME": 1,
        "SCHEDULER_RESOURCE_ORDER": "scheduler_priority ASC, gpu ASC, network_address ASC, resource_id ASC",
        "SCHEDULER_PRIORITY_HIERARCHY_ORDER": "network_address/resource_id",
        "SCHEDULER_FAIRSHARING_MAX_JOB_PER_USER": 200,
        "SCHEDULER_AVAILABLE_SUSPENDED_RESOURCE_TYPE": "default",
        "ENERGY_SAVING_INTERNAL": "no",
        "OARSTAT_DEFAULT_OUTPUT_FORMAT": 2,
    }
    head = f"# A practice OAR of jobpool's: {plan.directory}"
    return "\n".join([head, *(f'{name}="{value}"' for name, value in values.items()), ""])


def ssh_config(plan: OarPlan) -> str:
    """Write how OAR gets to the nodes: their names mean ports of this machine."""

    def lines() -> Iterator[str]:
        for node in plan.nodes:
            yield f"Host {node.name}\n    HostName {_LOCALHOST}\n    Port {node.port}"
        yield "Host *\n    User oar\n    BatchMode yes\n    ForwardX11 no\n    StrictHostKeyChecking no"
        yield "    UserKnownHostsFile /dev/null\n    LogLevel ERROR\n    ConnectTimeout 5"

    return "\n".join([*lines(), ""])


def sshd_config(plan: OarPlan, node: OarNode) -> str:
    """Write the configuration of one node's sshd, as OAR's package has it, on the loopback address alone."""
    return "\n".join(
        [
            f"Port {node.port}",
            f"ListenAddress {_LOCALHOST}",
            "HostKey /etc/oar/oar_ssh_host_rsa_key",
            "PidFile none",
            "UsePAM no",
            "PermitRootLogin no",
            "PasswordAuthentication no",
            "PubkeyAuthentication yes",
            "AllowUsers oar",
            "MaxStartups 1024",
            "X11Forwarding no",
            "PrintMotd no",
            "AcceptEnv OAR_CPUSET OAR_USER_CPUSET OAR_USER_GPUDEVICE OAR_JOB_USER",
            "PermitUserEnvironment yes",
            f"SetEnv {MARK}={plan.directory}",
            "",
        ]
    )


def hba_conf() -> str:
    """Write who may use the database: root of the socket's user, and OAR with its password."""
    return f"local all postgres peer\nhost oar all {_LOCALHOST}/32 scram-sha-256\n"


def resources_sql(plan: OarPlan) -> str:
    """Write the resources: one for each core. The commands that add them take half a second for each."""
    lines = [f"ALTER TABLE resources ADD {name} integer NOT NULL DEFAULT 0;" for name in ("cpu", "core", "mem", "gpu")]
    lines.append("ALTER TABLE resources ADD host varchar(255);")
    core = gpu = 0
    for number, node in enumerate(plan.nodes, start=1):
        for place in range(node.cores):
            core += 1
            device = gpu + 1 + place * node.gpus // node.cores if node.gpus else 0
            lines.append(
                "INSERT INTO resources (network_address, state, state_num, host, cpu, core, mem, gpu) VALUES "
                f"('{node.name}', 'Alive', 1, '{node.name}', {number}, {core}, {node.mebibytes}, {device});"
            )
        gpu += node.gpus
    return "\n".join([*lines, ""])
