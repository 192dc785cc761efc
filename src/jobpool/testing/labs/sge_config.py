"""What is in a practice Grid Engine: one node with more slots than this machine has cores, three queues, resources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOST", "QUEUES", "SgePlan", "bootstrap", "files", "queue"]

HOST = "localhost"
"""The one host of a lab: its daemons, like all others, are told that this is the machine's name (``host_aliases``)."""

TEMPLATES = Path("/usr/share/gridengine")
"""Debian's configuration, usersets and standard resources, of which a lab takes what it does not set itself."""

SLOTS = 32
MEMORY = "256G"
GPUS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SgePlan:
    """Where a lab is, and by which ports its daemons are found."""

    directory: Path
    user: str
    hostname: str
    qmaster_port: int
    execd_port: int

    @property
    def root(self) -> Path:
        """SGE_ROOT."""
        return self.directory / "root"

    @property
    def common(self) -> Path:
        """The directory of the cell that all hosts of a cluster share."""
        return self.root / "default" / "common"

    @property
    def spool(self) -> Path:
        """Where the daemons keep their state."""
        return self.directory / "spool"

    @property
    def temporary(self) -> Path:
        """Where jobs get their TMPDIR."""
        return self.directory / "tmp"

    @property
    def templates(self) -> Path:
        """What is read once, by the programs that fill the spool."""
        return self.directory / "etc"

    @property
    def log(self) -> Path:
        """What the daemons print."""
        return self.directory / "log"

    @property
    def pids(self) -> Path:
        """One file per daemon."""
        return self.directory / "pids"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a command to the lab."""
        return {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "default",
            "SGE_QMASTER_PORT": str(self.qmaster_port),
            "SGE_EXECD_PORT": str(self.execd_port),
        }


def bootstrap(plan: SgePlan) -> str:
    """Write what each program reads first. The daemons run as whoever starts them."""
    return _table(
        {
            "admin_user": "none",
            "default_domain": "none",
            "ignore_fqdn": "true",
            "spooling_method": "classic",
            "spooling_lib": "libspoolc",
            "spooling_params": f"{plan.common};{plan.spool}/qmaster",
            "binary_path": f"{plan.root}/bin",
            "qmaster_spool_dir": f"{plan.spool}/qmaster",
            "security_mode": "none",
            "listener_threads": "2",
            "worker_threads": "2",
            "scheduler_threads": "1",
            "jvm_threads": "0",
        }
    )


def files(plan: SgePlan) -> Iterator[tuple[Path, str]]:
    """Write all files of a new lab, but for the links to Debian's programs and the record."""
    yield plan.common / "bootstrap", bootstrap(plan)
    yield plan.common / "act_qmaster", f"{HOST}\n"
    yield plan.common / "host_aliases", f"{HOST} {plan.hostname}\n" if plan.hostname != HOST else ""
    yield plan.common / "sched_configuration", _table(_SCHEDULER)
    yield plan.common / "accounting", ""
    yield plan.templates / "configuration", _changed(TEMPLATES / "default-configuration", _configuration(plan))
    for file in sorted((TEMPLATES / "util/resources/centry").iterdir()):
        yield plan.templates / "centry" / file.name, _changed(file, _H_VMEM if file.name == "h_vmem" else {})
    for resource in (_GPU, _EXCLUSIVE, _LICENSE):
        yield plan.templates / "centry" / resource["name"], _table(resource)
    for name, rule in (("smp", "$pe_slots"), ("mpi", "$round_robin")):
        yield plan.templates / "pes" / name, _table({"pe_name": name, **_ENVIRONMENT, "allocation_rule": rule})
    yield plan.templates / "hosts" / HOST, f"hostname {HOST}\n"
    yield plan.templates / "exechosts" / HOST, _table({"hostname": HOST, **_NODE})
    for file in sorted((TEMPLATES / "util/resources/usersets").iterdir()):
        yield plan.templates / "usersets" / file.name, file.read_text()
    yield plan.templates / "usersets" / "trusted", _table({"name": "trusted", **_USERS})
    yield plan.templates / "projects" / "bio", _table({"name": "bio", **_PROJECT})
    yield plan.templates / "projects" / "secret", _table({"name": "secret", **_PROJECT, "acl": "trusted"})
    for name in QUEUES:
        yield plan.templates / "cqueues" / name, queue(plan, name)


def queue(plan: SgePlan, name: str) -> str:
    """Write one queue."""
    kinds = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    limits = [f"{strength}_{kind}" for kind in kinds for strength in "sh"]
    return _table(
        {
            "qname": name,
            "hostlist": HOST,
            "seq_no": str(QUEUES.index(name)),
            **dict.fromkeys(_NONE, "NONE"),
            "nsuspend": "1",
            "suspend_interval": "00:05:00",
            "priority": "0",
            "min_cpu_interval": "00:00:10",
            "processors": "UNDEFINED",
            "qtype": "BATCH INTERACTIVE",
            "pe_list": "smp mpi",
            "rerun": "FALSE",
            "slots": str(SLOTS),
            "tmpdir": str(plan.temporary),
            "shell": "/bin/sh",
            "shell_start_mode": "posix_compliant",
            "notify": "00:00:05",
            "initial_state": "default",
            **dict.fromkeys(limits, "INFINITY"),
            # A call that crashes leaves no core in the directory where its pool was made.
            "s_core": "0",
            "h_core": "0",
            **_OF_QUEUE.get(name, {}),
        }
    )


def _configuration(plan: SgePlan) -> dict[str, str]:
    return {
        "execd_spool_dir": f"{plan.spool}/execd",
        "mailer": "/bin/true",
        "xterm": "/bin/true",
        "min_uid": "0",
        "min_gid": "0",
        "load_report_time": "00:00:05",
        "max_unheard": "00:01:00",
        # Without it processes of a job outlive it that have left its session.
        "execd_params": "ENABLE_ADDGRP_KILL=TRUE",
        "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
    }


QUEUES = ("all.q", "short", "closed")

_OF_QUEUE: Mapping[str, Mapping[str, str]] = {
    "short": {"h_rt": "00:10:00", "slots": "8"},
    "closed": {"user_lists": "trusted", "slots": "2"},
}

_NONE = (
    *("load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog", "starter_method", "suspend_method"),
    *("resume_method", "terminate_method", "owner_list", "user_lists", "xuser_lists", "subordinate_list"),
    *("complex_values", "projects", "xprojects", "calendar"),
)
"""Fields of a queue that are empty."""

_SCHEDULER = {
    "algorithm": "default",
    "schedule_interval": "0:0:1",
    "maxujobs": "0",
    "queue_sort_method": "0",
    "job_load_adjustments": "NONE",
    "load_adjustment_decay_time": "0:0:0",
    "load_formula": "np_load_avg",
    "schedd_job_info": "true",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "params": "none",
    "reprioritize_interval": "0:0:0",
    "halftime": "168",
    "usage_weight_list": "cpu=1.000000 mem=0.000000 io=0.000000",
    "compensation_factor": "5.000000",
    "weight_user": "0.250000",
    "weight_project": "0.250000",
    "weight_department": "0.250000",
    "weight_job": "0.250000",
    "weight_tickets_functional": "0",
    "weight_tickets_share": "0",
    "share_override_tickets": "TRUE",
    "share_functional_shares": "TRUE",
    "max_functional_jobs_to_schedule": "200",
    "report_pjob_tickets": "TRUE",
    "max_pending_tasks_per_job": "50",
    "halflife_decay_list": "none",
    "policy_hierarchy": "OFS",
    "weight_ticket": "0.500000",
    "weight_waiting_time": "0.278000",
    "weight_deadline": "3600000.000000",
    "weight_urgency": "0.500000",
    "weight_priority": "0.000000",
    "max_reservation": "0",
    "default_duration": "INFINITY",
}

_RESOURCE = {"requestable": "YES", "consumable": "YES", "default": "0", "urgency": "0"}
_H_VMEM = {"consumable": "YES", "default": "4G"}
_GPU = {"name": "gpu", "shortcut": "gpu", "type": "INT", "relop": "<=", **_RESOURCE}
_LICENSE = {"name": "matlab", "shortcut": "matlab", "type": "INT", "relop": "<=", **_RESOURCE}
_EXCLUSIVE = {"name": "exclusive", "shortcut": "excl", "type": "BOOL", "relop": "EXCL", **_RESOURCE}

_ENVIRONMENT = {
    "slots": "999",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "start_proc_args": "NONE",
    "stop_proc_args": "NONE",
    "control_slaves": "TRUE",
    "job_is_first_task": "TRUE",
    "urgency_slots": "min",
    "accounting_summary": "FALSE",
    "qsort_args": "NONE",
}
_NODE = {
    "load_scaling": "NONE",
    "complex_values": f"slots={SLOTS},h_vmem={MEMORY},gpu={GPUS},exclusive=true,matlab=4",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "projects": "NONE",
    "xprojects": "NONE",
    "usage_scaling": "NONE",
    "report_variables": "NONE",
}
_USERS = {"type": "ACL", "fshare": "0", "oticket": "0", "entries": "bob"}
_PROJECT = {"oticket": "0", "fshare": "0", "acl": "NONE", "xacl": "NONE"}


def _table(fields: Mapping[str, str]) -> str:
    return "".join(f"{name:<24} {value}\n" for name, value in fields.items())


def _changed(file: Path, changes: Mapping[str, str]) -> str:
    text = file.read_text()
    for name, value in changes.items():
        text = re.sub(rf"^{name}\s.*$", f"{name} {value}", text, flags=re.MULTILINE)
    return text
