"""A practice Grid Engine: real daemons on one machine, for one user.

::

    directory/                      0700
        lab.json                    the plan; its existence says that a lab is here
        root/                       SGE_ROOT: links to Debian's programs, and the cell ``default``
        etc/                        the templates that the spool was filled from
        spool/   log/   tmp/        the daemons' state, what they print, and the jobs' TMPDIR
        pids/                       one file per daemon: pid and start time

    owner (pytest, a shell) ──starts──► sge_qmaster, sge_execd ──► sge_shepherd, one per job
          └─────────────────starts──► owner_watch: brings the lab down when the owner was killed

Nothing of the machine's own Grid Engine is used but its programs. The daemons listen on all addresses, as Grid Engine
does; only the lab's own host may submit. See :mod:`jobpool.testing.labs.sge_config` for what is in it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from jobpool.batch.sge.environment import for_commands
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing.labs.daemon import Daemon, LabFailed, last_lines
from jobpool.testing.labs.frame import READY, PracticeLab
from jobpool.testing.labs.machine import end_processes, free_ports, missing_advice, user_name
from jobpool.testing.labs.registry import export_line
from jobpool.testing.labs.sge_config import HOST, QUEUES, SgePlan, files

__all__ = ["GridEngineLab", "sge_missing"]

_PROGRAMS = Path("/usr/lib/gridengine")
"""Where Debian has them. What is in /usr/bin is a script that runs these."""

_PACKAGES = {
    "gridengine-master": ("sge_qmaster",),
    "gridengine-exec": ("sge_execd", "sge_shepherd"),
    "gridengine-client": ("qsub", "qstat", "qdel", "qconf", "qacct", "spoolinit", "spooldefaults"),
}

_MARK = "JOBPOOL_LAB"
"""The variable by which processes of a lab are found; sge_execd hands it down to shepherds and jobs."""

_OWN = ("root", "etc", "spool", "log", "tmp", "pids")

_PASSED_ON = ("PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TESTS_OF")
"""What the daemons see of our environment: jobs inherit theirs, as they inherit a boot's on a real cluster."""


def sge_missing() -> list[str]:
    """List the Debian packages that a lab needs and this machine lacks, by looking for their programs."""
    return [name for name, programs in _PACKAGES.items() if not all((_PROGRAMS / each).exists() for each in programs)]


class GridEngineLab(PracticeLab[SgePlan]):
    """A real Grid Engine with one node on this machine, for tests and for practice. For root only.

    The node has 32 slots and 256 GB of ``h_vmem``, which this machine need not have, 4 ``gpu`` that are none and 4
    ``matlab``. Queues: ``all.q``, ``short`` (10 minutes, 8 slots), ``closed`` (for a user you are not). Parallel
    environments: ``smp`` (all slots on one node) and ``mpi``. Projects: ``bio``, and ``secret``, which is not yours. A
    job that asks for no memory has 4 GB of address space for each slot. It schedules every second; ``notify`` is 5
    seconds.

    ::

        with GridEngineLab(directory) as lab:
            lab.run("qsub", "-terse", "job.sh")

    As a context manager, or after ``up()``, the lab ends with the process that brought it up, even by ``kill -9``.
    """

    # What a client needs

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands to this lab; to be added to its environment."""
        return self.plan.environment

    def client_environment(self) -> dict[str, str]:
        """Return a whole environment for a client: ours, without the traces of any other cluster or job."""
        kept = {name: value for name, value in for_commands(os.environ).items() if not name.startswith("SGE_")}
        return {**kept, **self.environment}

    # Up and down

    def down(self) -> None:
        """Cancel all jobs, end all daemons, remove all that the lab made. Does nothing when it is not up.

        Also for a lab that is half started or half gone.
        """
        if self._plan is None:
            return
        for daemon in (self.qmaster, self.execd):  # an orderly end takes sge_qmaster many seconds
            daemon.kill()
        end_processes([f"{_MARK}={self.directory}"])
        for name in _OWN:
            if name != "pids":
                shutil.rmtree(self.directory / name, ignore_errors=True)
        # Last of all the watching process and the record by which it, or anybody, finds what is left.
        self._end_watch()
        shutil.rmtree(self.plan.pids, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        with suppress(OSError):  # it holds files that are not the lab's
            self.directory.rmdir()
        self._plan = None

    def cancel_jobs(self, timeout: float = 10) -> None:
        """Delete all jobs of all users and wait until the queue is empty.

        Raises :class:`LabFailed` when the master does not answer or jobs are left after the timeout (seconds).
        """
        if not self.qmaster.is_running:
            raise LabFailed("sge_qmaster is not running, so no job can be deleted")
        self.qmaster.thaw()
        if self._jobs():
            self.run("qdel", "-u", "*", check=False, timeout=timeout)
            self._await(lambda: not self._jobs(), "the queue is not empty", timeout + 5)  # notify, for those that run

    # Faults

    @property
    def qmaster(self) -> Daemon:
        """The master, with the scheduler in it."""
        return self._daemon("sge_qmaster")

    @property
    def execd(self) -> Daemon:
        """The daemon of the node."""
        return self._daemon("sge_execd")

    def wait_until_answering(self) -> None:
        """Wait until the master answers, after it was started again. Raises :class:`LabFailed`."""
        self._await(lambda: self.qmaster.pid and self._answers(), "sge_qmaster does not answer", READY)

    # How it is done. A condition that asks for a daemon's pid fails at once, with its log, when the daemon has died.

    def _program(self, name: str) -> str:
        program = _PROGRAMS / name
        return str(program) if program.exists() else name

    @classmethod
    def _read_plan(cls, text: str) -> SgePlan:
        record = json.loads(text)
        del record["system"]
        return SgePlan(**{**record, "directory": Path(record["directory"])})

    def _make_plan(self) -> SgePlan:
        qmaster_port, execd_port = free_ports(2)
        return SgePlan(
            directory=self.directory,
            user=user_name(),
            hostname=socket.gethostname(),
            qmaster_port=qmaster_port,
            execd_port=execd_port,
        )

    def _check_machine(self) -> None:
        if missing := sge_missing():
            raise BatchSystemUnavailable(
                f"programs of Grid Engine are missing here; their packages: {', '.join(missing)}",
                advice=missing_advice(missing),
            )
        if os.geteuid() != 0:
            raise BatchSystemUnavailable(
                "a practice Grid Engine must be brought up by root: its daemon on the node starts jobs as other users",
                advice="use sudo, or a practice SLURM, which needs no root: jobpool lab up --system slurm",
            )

    def _clear_stale(self) -> None:
        if self._record.exists():
            there = type(self).attach(self.directory)
            if there.qmaster.is_running:
                advice = f"use it ({export_line(there.environment)}), bring it down first, or choose another directory"
                raise LabFailed(f"a lab is up in {self.directory} already", advice=advice)
            there.down()
            return
        if any(character.isspace() or character in ";,:" for character in str(self.directory)):
            raise LabFailed(
                f"{str(self.directory)!r} has a character in its name that Grid Engine's configuration cannot hold",
                advice="choose another directory for the lab: jobpool lab up --directory DIRECTORY",
            )
        if taken := [name for name in _OWN if os.path.lexists(self.directory / name)]:
            raise LabFailed(
                f"{self.directory} holds what is not a lab's: {', '.join(taken)}",
                advice="choose another directory for the lab",
            )

    def _write_files(self) -> None:
        plan = self.plan
        for place in (plan.directory.parent, plan.directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {"system": "sge", **asdict(plan), "directory": str(plan.directory)}
        with tempfile.NamedTemporaryFile("w", dir=plan.directory, delete=False) as file:
            file.write(json.dumps(record, indent=1))
        Path(file.name).replace(self._record)  # in one step: whoever finds the file finds all of it
        for place in (plan.root, plan.spool, plan.log, plan.temporary, plan.pids):
            place.mkdir(mode=0o755)
        for below in ("qmaster/job_scripts", "execd"):
            (plan.spool / below).mkdir(parents=True)
        architecture = {"x86_64": "lx-amd64", "aarch64": "lx-arm64"}.get(platform.machine(), platform.machine())
        for name in ("bin", "utilbin", "lib"):
            (plan.root / name).mkdir()
            (plan.root / name / architecture).symlink_to(_PROGRAMS)
        (plan.root / "util").symlink_to("/usr/share/gridengine/util")
        for path, text in files(plan):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def _fill_the_spool(self) -> None:
        plan = self.plan
        self.run("spoolinit", "classic", "libspoolc", f"{plan.common};{plan.spool}/qmaster", "init")
        defaults = {
            "configuration": plan.templates / "configuration",
            "complexes": plan.templates / "centry",
            "usersets": plan.templates / "usersets",
            "adminhosts": plan.templates / "hosts",
            "submithosts": plan.templates / "hosts",
            "exechosts": plan.templates / "exechosts",
            "pes": plan.templates / "pes",
            "projects": plan.templates / "projects",
        }
        for what, place in defaults.items():
            self.run("spooldefaults", what, str(place))
        self.run("spooldefaults", "managers", plan.user)

    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> Daemon:
        name = name or program
        passed_on = {variable: os.environ[variable] for variable in _PASSED_ON if variable in os.environ}
        return Daemon(
            name=name,
            argv=(str(_PROGRAMS / program), *arguments),
            # SGE_ND: it stays in the foreground, so that its pid is the one that was started.
            environment={**passed_on, **self.environment, _MARK: str(self.directory), "SGE_ND": "1"},
            log=self.plan.log / f"{name}.out",
            pid_file=self.plan.pids / name,
        )

    def _start(self) -> None:
        self._fill_the_spool()
        self.qmaster.start()
        self.wait_until_answering()
        self.execd.start()
        # Not with the other objects: a queue that the master finds in its spool gets no instance on the node.
        for name in QUEUES:
            self.run("qconf", "-Aq", str(self.plan.templates / "cqueues" / name))
        self._await(lambda: self.execd.pid and self._can_run_jobs(), "the node does not come up", READY)

    def _answers(self) -> bool:
        return self.run("qconf", "-sss", check=False).returncode == 0

    def _can_run_jobs(self) -> bool:
        rows = self.run("qstat", "-f", "-q", f"{QUEUES[0]}@{HOST}").stdout.splitlines()
        return any(line.startswith(QUEUES[0]) and len(line.split()) == 5 and "-NA-" not in line for line in rows)

    def _jobs(self) -> str:
        return self.run("qstat", "-u", "*").stdout.strip()

    def _tails(self) -> str:
        logs: Mapping[str, Path] = {
            "sge_qmaster": self.plan.spool / "qmaster" / "messages",
            "sge_execd": self.plan.spool / "execd" / HOST / "messages",
        }
        return "\n".join(f"{name}: {last_lines(log, 6)}" for name, log in logs.items())
