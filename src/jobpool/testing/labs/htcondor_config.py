"""What a practice HTCondor is configured by, as pure text.

Values that differ from HTCondor's own defaults are here for one of three reasons: to need no root and no daemon of the
site, to answer quickly (its defaults are tuned for thousands of machines: it looks once a minute), or to show what a
real site has (a policy that holds jobs for memory, a concurrency limit).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobpool.model.units import Memory

__all__ = ["HTCondorPlan", "condor_config", "plan_from_json", "plan_to_json"]

FAKED_MEMORY = Memory(32 * 2**30)


@dataclass(frozen=True, slots=True, kw_only=True)
class HTCondorPlan:
    """All that the configuration of one lab is made from."""

    directory: Path
    user: str
    port: int
    """Of the collector. The other daemons choose theirs."""
    nodes: tuple[str, ...]
    """Names of the machines that are played."""
    cpus: int = 16
    memory: Memory = FAKED_MEMORY
    settings: Mapping[str, str] = field(default_factory=dict)
    """In the place of the lab's own."""

    @property
    def config(self) -> Path:
        """The file that CONDOR_CONFIG points to."""
        return self.directory / "etc" / "condor_config"

    @property
    def log(self) -> Path:
        """Directory of the daemons' logs."""
        return self.directory / "log"

    @property
    def pids(self) -> Path:
        """Directory of one file per daemon."""
        return self.directory / "pids"

    def execute(self, node: str) -> Path:
        """Return where the jobs of a machine have their scratch directories."""
        return self.directory / "execute" / node

    @property
    def places(self) -> tuple[Path, ...]:
        """All directories of a lab."""
        names = ("etc", "log", "spool", "lock", "run", "execute", "pids")
        return (*(self.directory / name for name in names), *map(self.execute, self.nodes))


def condor_config(plan: HTCondorPlan) -> str:
    """Write the configuration. The node's own values come by the environment of its startd."""
    own = {
        "RELEASE_DIR": "/usr",
        "LOCAL_DIR": str(plan.directory),
        "LOCAL_CONFIG_FILE": "",
        "LOCAL_CONFIG_DIR": "",
        "BIN": "/usr/bin",
        "SBIN": "/usr/sbin",
        "LIB": "/usr/lib/condor",
        "LIBEXEC": "/usr/libexec/condor",
        "SHARE": "/usr/share/condor",
        "LOG": str(plan.log),
        "SPOOL": str(plan.directory / "spool"),
        "LOCK": str(plan.directory / "lock"),
        "RUN": str(plan.directory / "run"),
        # Loopback only, and nobody but the owner of the lab.
        "DAEMON_LIST": "COLLECTOR NEGOTIATOR SCHEDD STARTD",
        "CONDOR_HOST": "127.0.0.1",
        "COLLECTOR_HOST": f"127.0.0.1:{plan.port}",
        "NETWORK_INTERFACE": "127.0.0.1",
        "BIND_ALL_INTERFACES": "FALSE",
        "ENABLE_IPV6": "FALSE",
        "USE_SHARED_PORT": "FALSE",
        "UID_DOMAIN": "lab",
        "FILESYSTEM_DOMAIN": "lab",
        "SCHEDD_NAME": "lab",
        **{f"ALLOW_{right}": f"{plan.user}@*" for right in ("READ", "WRITE", "DAEMON", "NEGOTIATOR", "ADMINISTRATOR")},
        "SEC_DEFAULT_AUTHENTICATION": "REQUIRED",
        "SEC_DEFAULT_AUTHENTICATION_METHODS": "FS",
        # The daemons have no condor_master above them, so that each can be killed and frozen by itself.
        "SEC_USE_FAMILY_SESSION": "FALSE",
        # The machines.
        "NUM_CPUS": str(plan.cpus),
        "MEMORY": str(plan.memory.mebibytes),
        "NUM_SLOTS": "1",
        "NUM_SLOTS_TYPE_1": "1",
        "SLOT_TYPE_1": "100%",
        "SLOT_TYPE_1_PARTITIONABLE": "TRUE",
        "START": "TRUE",
        "SUSPEND": "FALSE",
        "PREEMPT": "FALSE",
        "KILL": "FALSE",
        "WANT_SUSPEND": "FALSE",
        "RunBenchmarks": "FALSE",
        # The others are Python programs that take a second. With none condor_starter crashes (seen).
        "FILETRANSFER_PLUGINS": "/usr/libexec/condor/curl_plugin",
        "CREATE_CORE_FILES": "FALSE",
        "COLLECTOR_BOOTSTRAP_SSL_CERTIFICATE": "FALSE",
        "STARTER_JOB_ENVIRONMENT": f'"JOBPOOL_LAB={plan.directory}"',
        # A site's.
        "MATLAB_LIMIT": "4",
        # Quickly.
        "NEGOTIATOR_INTERVAL": "1",
        "NEGOTIATOR_MIN_INTERVAL": "1",
        "NEGOTIATOR_CYCLE_DELAY": "1",
        "SCHEDD_INTERVAL": "1",
        "SCHEDD_MIN_INTERVAL": "1",
        # It would call the negotiator in the moment in which that calls it: both then wait for 20 s.
        "SCHEDD_SEND_RESCHEDULE": "FALSE",
        "PERIODIC_EXPR_INTERVAL": "1",
        "MAX_PERIODIC_EXPR_INTERVAL": "2",
        "UPDATE_INTERVAL": "5",
        "CLASSAD_LIFETIME": "15",
        "STARTER_UPDATE_INTERVAL": "2",
        "STARTER_INITIAL_UPDATE_INTERVAL": "1",
        "PID_SNAPSHOT_INTERVAL": "2",
        "JOB_START_COUNT": "100",
        "JOB_DEFAULT_LEASE_DURATION": "20",
    }
    lines = [f"{name} = {value}" for name, value in {**own, **plan.settings}.items()]
    return "\n".join([*lines, "use policy : HOLD_IF_MEMORY_EXCEEDED", ""])


def plan_to_json(plan: HTCondorPlan) -> str:
    """Write a plan down, for whoever attaches to the lab."""
    return json.dumps({"system": "htcondor", **asdict(plan), "directory": str(plan.directory)}, indent=1)


def plan_from_json(text: str) -> HTCondorPlan:
    """Read what :func:`plan_to_json` wrote."""
    told: dict[str, Any] = json.loads(text)
    told.pop("system")
    return HTCondorPlan(
        **{
            **told,
            "directory": Path(told["directory"]),
            "nodes": tuple(told["nodes"]),
            "memory": Memory(told["memory"]),
        }
    )
