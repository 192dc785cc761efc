"""A practice OAR: its real server, a database, and nodes, on one machine that has no other OAR.

::

    directory/lab.json              the plan; its existence says that a lab is here
    /tmp/jobpool-oar-.../           where the users that OAR and PostgreSQL run as can get
        log/  pids/  database/  run/
        keeper                      the socket at which an ordinary user asks for a fault
    /etc/oar/oar.conf               the lab's, while it is up: OAR's commands read no other

    owner (root) ──starts──► postgres, Almighty, sshd for each node, the keeper
          └──────starts──► owner_watch: brings the lab down when the owner was killed

OAR's programs have fixed places and change to fixed users, so that a lab needs root and OAR's packages of Debian 13,
and is the only one on its machine: a chroot serves well. Jobs are an ordinary user's: OAR takes none of root's. Its
server listens on all addresses; in a network namespace of its own it is alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from jobpool.batch.oar.environment import for_commands
from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing.labs.daemon import Daemon, LabFailed, last_lines
from jobpool.testing.labs.frame import READY, PracticeLab
from jobpool.testing.labs.machine import end_processes, missing_advice
from jobpool.testing.labs.oar_config import (
    MARK,
    OarNode,
    OarPlan,
    hba_conf,
    make_plan,
    oar_conf,
    plan_from_json,
    plan_to_json,
    resources_sql,
    ssh_config,
    sshd_config,
)
from jobpool.testing.labs.oar_parts import OarPart, ask_keeper, environment_of_root

__all__ = ["OarLab", "missing"]

_CONF = Path("/etc/oar/oar.conf")
_SITE_CONF = Path("/etc/oar/oar.conf.before-lab")
_SQL = Path("/usr/lib/oar/database")

_PACKAGES = {
    "oar-server": ("/usr/sbin/Almighty", "/usr/lib/oar/bipbip"),
    "oar-server-pgsql": ("/usr/lib/oar/database/pg_structure.sql",),
    "oar-user": ("/usr/bin/oarsub", "/usr/bin/oarstat"),
    "oar-node": ("/etc/oar/oar_ssh_host_rsa_key",),
    "postgresql": ("/usr/bin/psql",),
    "openssh-server": ("/usr/sbin/sshd",),
    "openssh-client": ("/usr/bin/ssh",),
}


def missing() -> list[str]:
    """List the Debian packages that a lab needs and this machine lacks, by looking for their files."""
    return [package for package, files in _PACKAGES.items() if not all(Path(file).exists() for file in files)]


class OarLab(PracticeLab[OarPlan]):
    """A real OAR of several nodes on this machine, for tests and for practice; for root.

    ``nodes`` ordinary nodes of ``cores`` cores, which this machine need not have, and one node with ``gpus`` GPUs that
    are none. Properties: ``host``, ``cpu``, ``core``, ``mem`` (MiB of the node), ``gpu``. It schedules every second.

    As a context manager, or after ``up()``, the lab ends with the process that brought it up, even by ``kill -9``.
    """

    def __init__(self, directory: str | Path, *, nodes: int = 2, cores: int = 8, gpus: int = 2) -> None:
        if nodes < 1 or cores < 1 or gpus < 0:
            raise ValueError(f"a lab has at least one node of one core: nodes={nodes}, cores={cores}, gpus={gpus}")
        super().__init__(directory)
        self._nodes, self._cores, self._gpus = nodes, cores, gpus

    # What a client needs

    @property
    def environment(self) -> dict[str, str]:
        """Where the lab is, for whoever attaches to it. OAR's commands need no variable."""
        return {"JOBPOOL_OAR_LAB": str(self.directory)}

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the ordinary nodes."""
        return tuple(node.name for node in self.plan.nodes if not node.gpus)

    def client_environment(self) -> dict[str, str]:
        """Return a whole environment for a client: ours, without the traces of any other cluster or job."""
        return {**for_commands(os.environ), **self.environment}

    # Up and down

    def down(self) -> None:
        """End all jobs and daemons, and remove all that the lab made. Does nothing when it is not up.

        Also for a lab that is half started or half gone.
        """
        if self._plan is None:
            return
        self._keeper.kill()
        for part in (self.server, *map(self.node, [node.name for node in self.plan.nodes]), self.database):
            part.stop()
        end_processes([f"{MARK}={self.directory}"])
        _give_back_configuration(self.directory)
        # Last of all the watching process and the record by which it, or anybody, finds what is left.
        self._end_watch()
        shutil.rmtree(self.plan.place, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        with suppress(OSError):  # it holds files that are not the lab's
            self.directory.rmdir()
        self._plan = None

    def cancel_jobs(self, timeout: float = 30) -> None:
        """Delete all jobs of this user and wait until none is left. Raises :class:`LabFailed` after the timeout."""
        for part in self.parts.values():
            if not part.is_running:
                part.start()
            part.thaw()
        for node in self.plan.nodes:
            self.restore(node.name)
        if self.run("oarstat", "-J", "-u").stdout.strip():
            self.run("oardel", "--sql", "state NOT IN ('Terminated', 'Error')", check=False, timeout=timeout)
            self._await(
                lambda: not self.run("oarstat", "-J", "-u").stdout.strip(), "jobs are left in the queue", timeout
            )

    # Faults

    @property
    def server(self) -> OarPart:
        """OAR's server, Almighty, with the processes by which it listens, schedules and starts jobs."""
        return self.parts["server"]

    @property
    def database(self) -> OarPart:
        """The PostgreSQL that all commands ask."""
        return self.parts["database"]

    def node(self, name: str) -> OarPart:
        """Return the sshd by which OAR reaches one node. Stopped, it cannot be reached; jobs on it go on."""
        return self.parts[name]

    @property
    def parts(self) -> Mapping[str, OarPart]:
        """All of them by name, in the order in which they start."""
        keeper = self.plan.keeper
        found = {"database": OarPart("database", self._postgres, self._database_answers, keeper)}
        for node in self.plan.nodes:
            found[node.name] = OarPart(node.name, self._sshd(node), _listens(node.port, self._await), keeper)
        found["server"] = OarPart("server", self._almighty, _listens(self.plan.server_port, self._await), keeper)
        return found

    def restore(self, node: str) -> None:
        """Take a node back that OAR has suspected since it could not be reached."""
        if os.geteuid() != 0:
            ask_keeper(self.plan.keeper, f"restore {node}")
            return
        self._sql(
            "UPDATE resources SET state = 'Alive', state_num = 1, next_state = 'UnChanged' "
            f"WHERE network_address = '{node}' AND state <> 'Alive'",
            database="oar",
        )

    # How it is done. A condition that asks for a daemon's pid fails at once, with its log, when the daemon has died.

    @classmethod
    def _read_plan(cls, text: str) -> OarPlan:
        return plan_from_json(text)

    def _make_plan(self) -> OarPlan:
        return make_plan(self.directory, nodes=self._nodes, cores=self._cores, gpus=self._gpus)

    def _check_machine(self) -> None:
        if lacking := missing():
            raise BatchSystemUnavailable(
                f"programs of OAR are missing here; their packages: {', '.join(lacking)}",
                advice=f"{missing_advice(lacking)} (Debian 13 has them)",
            )
        if os.geteuid() != 0:
            raise BatchSystemUnavailable(
                "a lab of OAR must be brought up by root: its programs change users, and have their files in /etc/oar",
                advice="bring it up as root, best in a chroot; an ordinary user submits the jobs",
            )

    def _start(self) -> None:
        self._make_database()
        for part in self.parts.values():
            part.start()
        self._keeper.start()
        self._await(lambda: self._keeper.pid and self.plan.keeper.exists(), "the keeper does not answer", READY)

    def _clear_stale(self) -> None:
        if self._record.exists():
            there = type(self).attach(self.directory)
            if there.server.is_running:
                raise LabFailed(f"a lab is up in {self.directory} already", advice="bring it down first")
            there.down()
        with suppress(FileNotFoundError):
            if (head := _CONF.read_text().partition("\n")[0]).startswith("# A practice OAR"):
                other = Path(head.partition(": ")[2])
                if (other / "lab.json").exists():
                    raise LabFailed(
                        f"a lab is up in {other}, and a machine has one OAR",
                        advice=f"bring it down first: jobpool lab down --directory {other}",
                    )

    def _write_files(self) -> None:
        plan, oar, postgres = self.plan, pwd.getpwnam("oar"), pwd.getpwnam("postgres")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._record.write_text(plan_to_json(plan))
        for place, owner in ((plan.pids, None), (plan.log, oar), (plan.run, oar), (plan.database, postgres)):
            place.mkdir(mode=0o755)
            if owner is not None:
                os.chown(place, owner.pw_uid, owner.pw_gid)
        (plan.place / "ssh_config").write_text(ssh_config(plan))
        for node in plan.nodes:
            (plan.place / f"sshd-{node.name}").write_text(sshd_config(plan, node))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts its unprivileged part in
        if not _SITE_CONF.exists() and _CONF.exists():
            _CONF.replace(_SITE_CONF)
        _CONF.touch(mode=0o600)
        os.chown(_CONF, oar.pw_uid, oar.pw_gid)
        _CONF.write_text(oar_conf(plan))

    def _make_database(self) -> None:
        plan = self.plan
        self._as_postgres(
            "initdb",
            f"--pgdata={plan.database}/data",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=peer",
        )
        (plan.database / "data" / "pg_hba.conf").write_text(hba_conf())
        self.database.start()
        self._sql(
            f"CREATE ROLE oar LOGIN PASSWORD '{plan.password}'; CREATE ROLE oar_ro LOGIN PASSWORD '{plan.password}'"
        )
        self._sql("CREATE DATABASE oar OWNER oar")
        texts = [
            (_SQL / f"{name}.sql").read_text()
            for name in ("pg_structure", "pg_default_admission_rules", "default_data")
        ]
        texts += [resources_sql(plan), "GRANT SELECT ON ALL TABLES IN SCHEMA public TO oar_ro;"]
        self._sql("\n".join(["SET ROLE oar;", *texts]), database="oar")

    def _as_postgres(self, program: str, *arguments: str, input: str | None = None) -> None:
        done = subprocess.run(
            _postgres_argv(program, *arguments),
            env=environment_of_root({}),
            cwd="/",
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LabFailed(f"{program} failed", words=done.stderr.strip(), exit_code=done.returncode)

    def _sql(self, text: str, *, database: str = "postgres") -> None:
        place, port = self.plan.database, self.plan.database_port
        where = (f"--host={place}", f"--port={port}", f"--dbname={database}")
        self._as_postgres("psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where, input=f"{text};\n")

    def _database_answers(self) -> None:
        def answers() -> bool:
            with suppress(LabFailed):
                self._sql("SELECT 1")
                return True
            return False

        self._await(lambda: self._postgres.pid and answers(), "the database does not answer", READY)

    @property
    def _postgres(self) -> Daemon:
        place, port = self.plan.database, self.plan.database_port
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(place),
            "fsync": "off",  # it lives briefly
            "shared_buffers": "32MB",
            "max_connections": "200",
        }
        options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        argv = _postgres_argv("postgres", "-D", f"{place}/data", "-p", str(port), *options)
        return self._daemon(*argv, name="postgres")

    @property
    def _almighty(self) -> Daemon:
        return self._daemon("/usr/sbin/Almighty", name="almighty")

    def _sshd(self, node: OarNode) -> Daemon:
        name = f"sshd-{node.name}"
        return self._daemon("/usr/sbin/sshd", "-D", "-e", "-f", f"{self.plan.place}/{name}", name=name)

    @property
    def _keeper(self) -> Daemon:
        # -P: as for the watching process.
        argv = ("-P", "-m", "jobpool.testing.labs.oar_keeper", str(self.directory))
        keeper = self._daemon(sys.executable, *argv, name="keeper")
        return replace(keeper, environment={**os.environ, **keeper.environment})

    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> Daemon:
        name = name or Path(program).name
        return Daemon(
            name=name,
            argv=(program, *arguments),
            environment=environment_of_root({MARK: str(self.directory)}),
            log=self.plan.log / f"{name}.out",
            pid_file=self.plan.pids / name,
        )

    def _tails(self) -> str:
        logs = sorted(self.plan.log.glob("*"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"{log.name}: {last_lines(log, 6)}" for log in logs[-3:])


def _give_back_configuration(directory: Path) -> None:
    with suppress(FileNotFoundError):
        if _CONF.read_text().startswith(f"# A practice OAR of jobpool's: {directory}\n"):
            _CONF.unlink()
    if _SITE_CONF.exists() and not _CONF.exists():
        _SITE_CONF.replace(_CONF)


def _postgres_argv(program: str, *arguments: str) -> Sequence[str]:
    """Make the command line of one of PostgreSQL's programs, which refuse to run as root."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")) or [Path(program)]
    become = ("--reuid=postgres", "--regid=postgres", "--clear-groups")
    return ("/usr/bin/setpriv", *become, str(found[-1]), *arguments)


def _listens(port: int, wait: Callable[[Callable[[], object], str], None]) -> Callable[[], None]:
    def listens() -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", port)) == 0

    return lambda: wait(listens, f"nobody listens on port {port}")
