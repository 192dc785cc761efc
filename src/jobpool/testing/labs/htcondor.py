"""A practice HTCondor: a real pool of several machines, on one machine, for one user.

::

    directory/                      0700
        lab.json                    the plan; its existence says that a lab is here
        etc/condor_config           what CONDOR_CONFIG points to
        log/   spool/   execute/    logs, the queue and the history, the jobs' scratch directories
        pids/                       one file per daemon: pid and start time

    owner (pytest, a shell) ──starts──► collector, negotiator, schedd, startd x n
          └─────────────────starts──► owner_watch: brings the lab down when the owner was killed

There is no condor_master, which would start again what a test has killed. HTCondor takes no jobs from root, so that the
lab is an ordinary user's. See :mod:`jobpool.testing.labs.htcondor_config` for what is in it.
"""

from __future__ import annotations

import os
import random
import shutil
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from jobpool.batch.htcondor.environment import command
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing.labs.daemon import Daemon, LabFailed, last_lines, wait_gone
from jobpool.testing.labs.frame import READY, PracticeLab
from jobpool.testing.labs.htcondor_config import HTCondorPlan, condor_config, plan_from_json, plan_to_json
from jobpool.testing.labs.machine import end_processes, free_ports, missing_advice, processes_of, user_name
from jobpool.testing.labs.registry import export_line

__all__ = ["HTCondorLab", "htcondor_missing"]

_PROGRAMS = ("condor_collector", "condor_negotiator", "condor_schedd", "condor_startd", "condor_submit", "condor_q")
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/sbin"
_MARK = "JOBPOOL_LAB"
"""The variable by which processes of a lab are found; HTCondor is told to set it in each job, too."""


def htcondor_missing() -> list[str]:
    """List the Debian packages that the lab needs and this machine lacks."""
    return [] if all(_which(program) for program in _PROGRAMS) else ["htcondor"]


class HTCondorLab(PracticeLab[HTCondorPlan]):
    """A real HTCondor pool on this machine, for tests and for practice.

    ``nodes`` machines with one partitionable slot of 16 CPUs and 32 GiB each, which this machine need not have. A job
    that uses more memory than it asked for is held within some seconds. ``settings``: lines of the configuration in the
    place of the lab's own, such as ``{"MAX_JOBS_PER_OWNER": "3"}``.

    As a context manager, or after ``up()``, the lab ends with the process that brought it up, even by ``kill -9``.
    """

    def __init__(self, directory: str | Path, *, nodes: int = 2, settings: Mapping[str, str] | None = None) -> None:
        if nodes < 1:
            raise ValueError(f"a lab has at least one node: nodes={nodes}")
        super().__init__(directory)
        self._nodes, self._settings = nodes, dict(settings or {})

    # What a client needs

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands to this lab; to be added to its environment."""
        return {"CONDOR_CONFIG": str(self.plan.config)}

    def client_environment(self) -> dict[str, str]:
        """Return a whole environment for a client: ours, without the traces of any other pool or job."""
        cleaned = command().unset.cleaned(os.environ)
        kept = {name: value for name, value in cleaned.items() if not name.startswith("_CONDOR_")}
        return {**kept, **self.environment}

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the machines."""
        return self.plan.nodes

    # Up and down

    def down(self) -> None:
        """End all jobs and daemons, and remove all that the lab made. Does nothing when it is not up.

        Also for a lab that is half started or half gone.
        """
        if self._plan is None:
            return
        for daemon in self._daemons():
            daemon.kill()
        end_processes([f"{_MARK}={self.directory}"])
        for place in self.plan.places:
            if place != self.plan.pids:
                shutil.rmtree(place, ignore_errors=True)
        # Last of all the watching process and the record by which it, or anybody, finds what is left.
        self._end_watch()
        shutil.rmtree(self.plan.pids, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        with suppress(OSError):  # it holds files that are not the lab's
            self.directory.rmdir()
        self._plan = None

    def cancel_jobs(self, timeout: float = 20) -> None:
        """Remove all jobs and wait until the queue is empty.

        Raises :class:`LabFailed` when the schedd does not answer or jobs are left after the timeout (seconds).
        """
        if not self.schedd.is_running:
            raise LabFailed("condor_schedd is not running, so no job can be removed")
        self.schedd.thaw()
        if self._ids():
            self.run("condor_rm", "-all", check=False, timeout=timeout)
            self._await(lambda: not self._ids(), "the queue is not empty", timeout)

    # Faults

    @property
    def collector(self) -> Daemon:
        """What knows the daemons of the pool."""
        return self._daemon("condor_collector", "-f", "-p", str(self.plan.port))

    @property
    def negotiator(self) -> Daemon:
        """What brings jobs and machines together. Without it, or frozen, no job starts."""
        return self._daemon("condor_negotiator", "-f")

    @property
    def schedd(self) -> Daemon:
        """What holds the queue."""
        return self._daemon("condor_schedd", "-f")

    def startd(self, node: str) -> Daemon:
        """Return the daemon of one machine."""
        if node not in self.plan.nodes:
            raise ValueError(f"{node!r} is not a machine of this lab: {', '.join(self.plan.nodes)}")
        daemon = self._daemon("condor_startd", "-f", name=f"startd-{node}")
        own = {
            "NETWORK_HOSTNAME": node,
            "EXECUTE": str(self.plan.execute(node)),
            **{
                f"{kind}_LOG": str(self.plan.log / f"{kind.title()}Log.{node}")
                for kind in ("STARTD", "STARTER", "PROCD")
            },
            "STARTD_ADDRESS_FILE": str(self.plan.directory / "run" / f"startd-{node}.address"),
            "STARTD_CLAIM_ID_FILE": str(self.plan.directory / "run" / f"startd-{node}.claim"),
            "STARTD_HISTORY": "",
            "PROCD_ADDRESS": str(self.plan.directory / "run" / f"procd-{node}"),
        }
        variables = {f"_CONDOR_{name}": value for name, value in own.items()}
        return replace(daemon, environment={**daemon.environment, **variables})

    def node_down(self, node: str) -> None:
        """Kill all processes of a machine, its jobs too. Nobody is told: the schedd finds out after the jobs' lease."""
        self.startd(node).kill()
        for process in processes_of([f"_CONDOR_NETWORK_HOSTNAME={node}"]):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                wait_gone(process)

    def node_up(self, node: str) -> None:
        """Start a machine again, and wait until it is in the pool."""
        self.startd(node).start()
        self._await(lambda: node in self._machines(), f"machine {node} does not come back", READY)

    def wait_until_answering(self) -> None:
        """Wait until machines and queue answer, after a daemon was started again. Raises :class:`LabFailed`."""
        daemons = self._daemons()
        self._await(
            lambda: all(daemon.pid for daemon in daemons) and set(self.nodes) <= self._machines() and self._answers(),
            "the pool does not answer",
            READY,
        )

    # How it is done

    def _program(self, name: str) -> str:
        if (path := _which(name)) is None:
            raise BatchSystemUnavailable(
                f"the program {name!r} is not on this machine",
                advice=missing_advice(htcondor_missing() or ["htcondor"]),
            )
        return path

    @classmethod
    def _read_plan(cls, text: str) -> HTCondorPlan:
        return plan_from_json(text)

    def _make_plan(self) -> HTCondorPlan:
        tag = "".join(random.choices(string.ascii_lowercase, k=5))
        return HTCondorPlan(
            directory=self.directory,
            user=user_name(),
            port=free_ports(1)[0],
            nodes=tuple(f"{tag}-n{number + 1}" for number in range(self._nodes)),
            settings=self._settings,
        )

    def _check_machine(self) -> None:
        if missing := htcondor_missing():
            raise BatchSystemUnavailable(
                "programs of HTCondor are missing here; their package: htcondor", advice=missing_advice(missing)
            )
        if os.geteuid() == 0:
            raise BatchSystemUnavailable(
                "HTCondor takes no jobs from root, so that root can have no lab of it",
                advice="bring the lab up as an ordinary user",
            )

    def _start(self) -> None:
        for daemon in self._daemons():
            daemon.start()
        self.wait_until_answering()

    def _write_files(self) -> None:
        for place in (self.directory.parent, self.directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._record.write_text(plan_to_json(self.plan))
        for place in self.plan.places:
            place.mkdir(mode=0o755 if "execute" in place.parts else 0o700, parents=True, exist_ok=True)
        self.plan.config.write_text(condor_config(self.plan))

    def _clear_stale(self) -> None:
        if not self._record.exists():
            if self.directory.exists() and any(self.directory.iterdir()):
                advice = "choose another directory for the lab"
                raise LabFailed(f"{self.directory} holds what is not a lab's", advice=advice)
            return
        there = type(self).attach(self.directory)
        if there.schedd.is_running:
            advice = f"use it ({export_line(there.environment)}), bring it down first, or choose another directory"
            raise LabFailed(f"a lab is up in {self.directory} already", advice=advice)
        there.down()

    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> Daemon:
        name = name or program.removeprefix("condor_")
        return Daemon(
            name=name,
            argv=(self._program(program), *arguments),
            environment={**self.client_environment(), _MARK: str(self.directory)},
            log=self.plan.log / f"{name}.out",
            pid_file=self.plan.pids / name,
        )

    def _daemons(self) -> list[Daemon]:
        return [self.collector, self.schedd, self.negotiator, *map(self.startd, self.plan.nodes)]

    def _machines(self) -> set[str]:
        return set(self.run("condor_status", "-af", "Machine", check=False).stdout.split())

    def _answers(self) -> bool:
        return self.run("condor_q", "-json", "-attributes", "ClusterId", check=False).returncode == 0

    def _ids(self) -> list[str]:
        return self.run("condor_q", "-af", "ClusterId").stdout.split()

    def _tails(self) -> str:
        logs = sorted(self.plan.log.glob("*Log*"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"{log.name}: {last_lines(log, 6)}" for log in logs[-3:])


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")
