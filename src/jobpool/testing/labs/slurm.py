"""A practice SLURM: real daemons, several nodes, on one machine, for one user.

::

    directory/                      0700
        lab.json                    the plan; its existence says that a lab is here
        etc/slurm.conf, ...         what SLURM_CONF points to, and the key that clients and daemons share
        log/   state/   devices/    logs, slurmctld's state, files that stand for GPUs
        pids/                       one file per daemon: pid and start time
        run/                        unix sockets and the nodes' spool; elsewhere when the path is too long for a socket

    owner (pytest, a shell) ──starts──► munged, slurmctld, slurmd x n [, mariadbd, slurmdbd]
          └─────────────────starts──► owner_watch: brings the lab down when the owner was killed

It needs no root, and no munge or database of the site. See :mod:`.slurm_config` for what is in it, and
:mod:`.slurm_munge` for who can use it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jobpool.batch.slurm.environment import for_commands
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing.labs.daemon import Daemon, LabFailed, last_lines
from jobpool.testing.labs.frame import READY, PracticeLab
from jobpool.testing.labs.machine import (
    cgroup_version,
    end_processes,
    find_program,
    lab_missing,
    missing_advice,
    remove_cgroups,
)
from jobpool.testing.labs.registry import export_line
from jobpool.testing.labs.slurm_accounting import account_commands, create_database, mariadbd_argv
from jobpool.testing.labs.slurm_config import LabPlan, plan_from_json
from jobpool.testing.labs.slurm_files import check_place, record_of, remove_files, remove_record, write_files
from jobpool.testing.labs.slurm_munge import munge_answers, munged_argv
from jobpool.testing.labs.slurm_plan import make_plan

__all__ = ["SlurmLab"]

_OTHERS = ("SLURM", "MYSQL_")
"""Beginnings of variables that would lead a lab to another cluster, or to another database."""


class SlurmLab(PracticeLab[LabPlan]):
    """A real SLURM of several nodes on this machine, for tests and for practice.

    ``nodes`` ordinary nodes of 2 sockets x 8 cores x 2 threads and 64 GiB, which this machine need not have, and one
    node with ``gpus`` GPUs that are none. Partitions: ``short`` (1 h, the default), ``long`` (2 days), ``preempt``
    (requeued when ``short`` or ``long`` need its nodes), ``closed`` (for a group you are not in), ``gpu``; 4 licences
    ``matlab``. ``accounting``: a private database, ``sacct``, and the accounts and QoS of
    :mod:`.slurm_accounting`. ``real``: nodes with the cores of this machine and a share of its memory
    each, no GPUs. ``cgroups`` (root only; implies ``real``): jobs are held to their cores and memory. ``settings``:
    lines of ``slurm.conf`` in the place of the lab's own, such as ``{"JobAcctGatherParams": "OverMemoryKill"}``.

    ::

        with SlurmLab(directory) as lab:
            subprocess.run(["sbatch", "job.sh"], env={**os.environ, **lab.environment})

    As a context manager, or after ``up()``, the lab ends with the process that brought it up, even by ``kill -9``.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        nodes: int = 4,
        gpus: int = 4,
        accounting: bool = False,
        cgroups: bool = False,
        real: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if nodes < 1 or gpus < 0:
            raise ValueError(f"a lab has at least one node, and no fewer than 0 GPUs: nodes={nodes}, gpus={gpus}")
        super().__init__(directory)
        self._nodes, self._gpus = nodes, gpus
        self._accounting, self._cgroups, self._real = accounting, cgroups, real or cgroups
        self._settings = dict(settings or {})

    # What a client needs

    @property
    def conf(self) -> Path:
        """The ``slurm.conf`` of this lab."""
        return self.plan.etc / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands to this lab; to be added to its environment."""
        return {"SLURM_CONF": str(self.conf)}

    def client_environment(self) -> dict[str, str]:
        """Return a whole environment for a client: ours, without the traces of any other cluster or job."""
        kept = {name: value for name, value in for_commands(os.environ).items() if not name.startswith(_OTHERS)}
        return {**kept, **self.environment}

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the ordinary nodes."""
        return tuple(node.name for node in self.plan.nodes if not node.gpus)

    @property
    def gpu_nodes(self) -> tuple[str, ...]:
        """Names of the nodes with GPUs."""
        return tuple(node.name for node in self.plan.nodes if node.gpus)

    # Up and down

    def down(self) -> None:
        """Cancel all jobs, end all daemons, remove all that the lab made. Does nothing when it is not up.

        Also for a lab that is half started or half gone.
        """
        if self._plan is None:
            return
        with suppress(LabFailed, subprocess.TimeoutExpired):
            self.cancel_jobs(timeout=2)
        # By SIGKILL: an orderly end takes slurmctld 3 s, which it spends on saving state that is removed next. It goes
        # first, so that it does not see its nodes go.
        for daemon in self._daemons():
            daemon.kill()
        marks = [f"{_MARK}={self.directory}", *(f"SLURMD_NODENAME={node.name}" for node in self.plan.nodes)]
        end_processes(marks, self.directory)
        if self.plan.cgroups:
            remove_cgroups(self.plan.nodes)
        remove_files(self.plan)
        # Last of all the watching process and the record by which it, or anybody, finds what is left.
        self._end_watch()
        remove_record(self.plan)
        self._plan = None

    def cancel_jobs(self, timeout: float = 10) -> None:
        """Cancel all jobs of all partitions and wait until the queue is empty.

        Raises :class:`LabFailed` when the controller does not answer or jobs are left after the timeout (seconds).
        """
        if not self.slurmctld.is_running:
            raise LabFailed("slurmctld is not running, so no job can be cancelled")
        self.slurmctld.thaw()
        if self.run("squeue", "--noheader", timeout=timeout).stdout.strip():
            self.run("scancel", f"--user={self.plan.user}", timeout=timeout)
            self._await(lambda: not self.run("squeue", "--noheader").stdout.strip(), "the queue is not empty", timeout)

    # Faults

    @property
    def slurmctld(self) -> Daemon:
        """The controller."""
        return self._daemon("slurmctld", "-D", "-i")

    def slurmd(self, node: str) -> Daemon:
        """Return the daemon of one node."""
        if node not in (known := [each.name for each in self.plan.nodes]):
            raise ValueError(f"{node!r} is not a node of this lab: {', '.join(known)}")
        return self._daemon("slurmd", "-D", "-N", node, name=node)

    @property
    def munged(self) -> Daemon:
        """What makes and checks the credentials of clients and daemons; without it SLURM answers nobody."""
        return self._daemon(*munged_argv(self.plan))

    @property
    def slurmdbd(self) -> Daemon:
        """The accounting daemon, of a lab with accounting."""
        return self._daemon("slurmdbd", "-D")

    @property
    def mariadbd(self) -> Daemon:
        """The database, of a lab with accounting."""
        return self._daemon(*mariadbd_argv(self.plan))

    def node_down(self, node: str, reason: str = "test") -> None:
        """Declare a node dead, until :meth:`node_up`: its jobs are requeued, or end with NODE_FAIL, within a second."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", f"Reason={reason}")

    def node_up(self, node: str) -> None:
        """Take a node that is down back into service, and wait until it can run jobs."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        usable = ("idle", "mixed", "allocated", "completing")
        self._await(lambda: self.node_states().get(node) in usable, f"node {node} does not come back", READY)

    def node_states(self) -> dict[str, str]:
        """Return the state of each node, in the words of ``sinfo`` (``idle``, ``down*``)."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.splitlines()
        return dict(line.split() for line in lines)

    def wait_until_answering(self) -> None:
        """Wait until the controller answers, after it was started again. Raises :class:`LabFailed`."""
        self._await(lambda: self.slurmctld.pid and self._answers(), "slurmctld does not answer", READY)

    # How it is done. A condition that asks for a daemon's pid fails at once, with its log, when the daemon has died.

    def _program(self, name: str) -> str:
        return find_program(name)

    @classmethod
    def _read_plan(cls, text: str) -> LabPlan:
        return plan_from_json(text)

    def _make_plan(self) -> LabPlan:
        return make_plan(
            self.directory,
            nodes=self._nodes,
            gpus=self._gpus,
            accounting=self._accounting,
            cgroups=self._cgroups,
            real=self._real,
            settings=self._settings,
        )

    def _write_files(self) -> None:
        write_files(self.plan)

    def _check_machine(self) -> None:
        if missing := lab_missing(accounting=self._accounting):
            raise BatchSystemUnavailable(
                f"programs of SLURM are missing here; their packages: {', '.join(missing)}",
                advice=missing_advice(missing),
            )
        if self._cgroups and cgroup_version() is None:
            raise BatchSystemUnavailable(
                "a lab with cgroups must be brought up by root, where /sys/fs/cgroup can be written",
                advice="leave cgroups out: jobs then run without being held to their memory",
            )

    def _clear_stale(self) -> None:
        if not record_of(self.directory).exists():
            check_place(self.directory)
            return
        there = type(self).attach(self.directory)
        if there.slurmctld.is_running:
            advice = f"use it ({export_line(there.environment)}), bring it down first, or choose another directory"
            raise LabFailed(f"a lab is up in {self.directory} already", advice=advice)
        there.down()

    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> Daemon:
        name = name or Path(program).name
        return Daemon(
            name=name,
            argv=(find_program(program), *arguments),
            environment={**self.client_environment(), **self._daemon_environment()},
            log=self.plan.log / f"{name}.out",
            pid_file=self.plan.pids / name,
        )

    def _daemon_environment(self) -> Mapping[str, str]:
        return {_MARK: str(self.directory), "MYSQL_UNIX_PORT": str(self.plan.database_socket)}

    def _daemons(self) -> list[Daemon]:
        slurm = [self.slurmctld, *(self.slurmd(node.name) for node in self.plan.nodes)]
        accounting = [self.slurmdbd, self.mariadbd] if self.plan.dbd_port else []
        return [*slurm, *accounting, self.munged]

    def _start(self) -> None:
        self.munged.start()
        self._await(lambda: self.munged.pid and munge_answers(self.plan), "munged does not answer", READY)
        if self.plan.dbd_port:
            self._start_accounting()
        self.slurmctld.start()
        # A slurmd that starts before its controller answers tries again only after a second.
        self.wait_until_answering()
        slurmds = [self.slurmd(node.name) for node in self.plan.nodes]
        for slurmd in slurmds:
            slurmd.start()
        idle = {slurmd.name: "idle" for slurmd in slurmds}
        self._await(
            lambda: all(slurmd.pid for slurmd in slurmds) and self.node_states() == idle,
            "the nodes are not idle",
            READY,
        )

    def _start_accounting(self) -> None:
        create_database(self.plan)
        self.mariadbd.start()
        socket = self.plan.database_socket
        self._await(lambda: self.mariadbd.pid and socket.exists(), "mariadbd does not answer", READY)
        self.slurmdbd.start()
        self._await(lambda: self.slurmdbd.pid and self._accounts(), "slurmdbd does not answer", READY)
        self.run("sacctmgr", "--immediate", input=account_commands(self.plan))

    def _answers(self) -> bool:
        return "is UP" in self.run("scontrol", "ping", check=False).stdout

    def _accounts(self) -> bool:
        return self.run("sacctmgr", "--noheader", "show", "cluster", check=False).returncode == 0

    def _tails(self) -> str:
        logs = sorted(self.plan.log.glob("*.out"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"{log.name}: {last_lines(log, 6)}" for log in logs[-3:])


_MARK = "JOBPOOL_LAB"
"""The variable by which processes of a lab are found; slurmd hands it down to the jobs' slurmstepd."""
