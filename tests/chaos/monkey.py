"""Who kills and disturbs at random on a real SLURM: a pool's processes, its jobs, the nodes, the daemons."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from jobpool.testing import LabFailed, SlurmLab, wait_until

__all__ = ["Monkey"]

COMMAND = 30.0
"""Seconds that a command of SLURM's may take while other things are being disturbed."""


LONG = (60.0, 90.0, 120.0)
"""Seconds that something stands still for long."""


class Monkey:
    """Disturbs one pool on one lab. What was done is printed, with the time since the beginning."""

    def __init__(self, lab: SlurmLab, pool: Path, seed: int) -> None:
        self._lab, self._pool = lab, pool
        self._random = random.Random(seed)
        self._began = time.monotonic()
        self._to_undo: list[tuple[float, str, Callable[[], None]]] = []
        self.count = 0

    def disturb(self, seconds: float) -> None:
        """Do something at random again and again for so long, and leave things as they should be."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self._act()
                pause = time.monotonic() + self._random.choice([0.1, 0.5, 1.0, 2.0, 4.0])
                while time.monotonic() < pause:
                    self._undo(time.monotonic())
                    time.sleep(0.05)
        finally:
            self._undo(float("inf"))

    def _act(self) -> None:
        kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
        with suppress(
            psutil.NoSuchProcess, OSError, IndexError, LabFailed, subprocess.TimeoutExpired
        ):  # it was gone already
            self._random.choice(kinds)(self)

    def _note(self, what: str) -> None:
        self.count += 1
        print(f"{time.monotonic() - self._began:7.2f} {what}", flush=True)

    def _later(self, what: str, undo: Callable[[], None], among: tuple[float, ...] = (0.5, 2.0, 5.0)) -> None:
        self._to_undo.append((time.monotonic() + self._random.choice(among), what, undo))

    def _undo(self, now: float) -> None:
        for entry in [entry for entry in self._to_undo if entry[0] <= now]:
            self._to_undo.remove(entry)
            _, what, undo = entry
            with suppress(psutil.NoSuchProcess):
                undo()
            self._note(what)

    # ------------------------------------------------------------------------------------------- the pool's processes

    def _agents(self) -> Iterator[psutil.Process]:
        """Yield the agents that have workers: a job that is killed before it served is another thing."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "jobpool.agent" in words and str(self._pool) in words and self._workers(process):
                yield process

    def _fork_servers(self, agent: psutil.Process) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [child for child in agent.children() if any("forkserver" in word for word in child.cmdline())]
        return []

    def _workers(self, agent: psutil.Process) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [worker for server in self._fork_servers(agent) for worker in server.children()]
        return []

    def _agent(self) -> psutil.Process:
        return self._random.choice(sorted(self._agents(), key=lambda process: process.pid))

    def _kill_a_worker(self) -> None:
        worker = self._random.choice(self._workers(self._agent()))
        self._note(f"kill -9 of worker {worker.pid}")
        worker.kill()

    def _kill_a_fork_server(self) -> None:
        server = self._random.choice(self._fork_servers(self._agent()))
        self._note(f"kill -9 of fork-server {server.pid}")
        server.kill()

    def _kill_an_agent(self) -> None:
        agent = self._agent()
        self._note(f"kill -9 of agent {agent.pid}, which is its job's script")
        agent.kill()

    def _end_an_agent(self) -> None:
        agent = self._agent()
        self._note(f"SIGTERM to agent {agent.pid}")
        agent.terminate()

    def _freeze_an_agent(self) -> None:
        self._freeze("agent", self._agent())

    def _freeze_a_worker(self) -> None:
        self._freeze("worker", self._random.choice(self._workers(self._agent())))

    def _freeze_an_agent_for_long(self) -> None:
        self._freeze("agent", self._agent(), LONG)

    def _freeze_the_server(self) -> None:
        self._freeze("server", self._server(), (2.0, 5.0, *LONG))

    def _freeze(self, name: str, process: psutil.Process, among: tuple[float, ...] = (0.5, 2.0, 5.0)) -> None:
        self._note(f"SIGSTOP to {name} {process.pid}")
        process.send_signal(signal.SIGSTOP)
        self._later(f"SIGCONT to {name} {process.pid}", lambda: process.send_signal(signal.SIGCONT), among)

    def _server(self) -> psutil.Process:
        return psutil.Process(int(json.loads((self._pool / "connection.json").read_text())["pid"]))

    def _leave_the_server_no_descriptors(self) -> None:
        self._leave_no_descriptors("server", self._server())

    def _leave_an_agent_no_descriptors(self) -> None:
        self._leave_no_descriptors("agent", self._agent())

    def _leave_no_descriptors(self, name: str, process: psutil.Process) -> None:
        """Let it open no other file for a while. (Processes cannot be bounded here: root may start any number.)"""
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        if process.num_fds() < soft:
            self._note(f"no descriptors for {name} {process.pid}")
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), hard))
            again = f"descriptors for {name} {process.pid}"

            def give_back() -> None:
                process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))

            self._later(again, give_back)

    # ----------------------------------------------------------------------------------------------- jobs and nodes

    def _job_of(self, agent: psutil.Process) -> str:
        words = agent.cmdline()
        return words[words.index("--job-id") + 1]

    def _cancel_a_job(self) -> None:
        job = self._job_of(self._agent())
        if self._note_command(f"scancel {job}"):
            self._lab.run("scancel", job, timeout=COMMAND)

    def _requeue_a_job(self) -> None:
        job = self._job_of(self._agent())
        if self._note_command(f"scontrol requeue {job}"):
            self._lab.run("scontrol", "requeue", job, check=False, timeout=COMMAND)

    def _suspend_a_job(self) -> None:
        job = self._job_of(self._agent())
        if self._note_command(f"scontrol suspend {job}"):
            self._lab.run("scontrol", "suspend", job, check=False, timeout=COMMAND)
            self._later(f"scontrol resume {job}", lambda: self._let_go_on("resume", job), (2.0, 12.0, *LONG))

    def _hold_a_job(self) -> None:
        """Hold one that waits; where none does, put one back into the queue and hold it there."""
        pending = self._lab.run("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i", timeout=COMMAND)
        how = "hold" if pending.stdout.split() else "requeuehold"
        job = self._random.choice(pending.stdout.split() or [self._job_of(self._agent())])
        if self._note_command(f"scontrol {how} {job}"):
            self._lab.run("scontrol", how, job, check=False, timeout=COMMAND)
            self._later(f"scontrol release {job}", lambda: self._let_go_on("release", job), (2.0, 12.0, *LONG))

    def _let_go_on(self, how: str, job: str) -> None:
        with suppress(LabFailed, subprocess.TimeoutExpired):  # the controller is down: at the end it will hear of it
            self._lab.run("scontrol", how, job, check=False, timeout=COMMAND)

    def _let_all_go_on(self) -> None:
        shown = self._lab.run("squeue", "--noheader", "--array", "--format=%i|%T|%r").stdout
        for job, state, reason in (line.split("|", 2) for line in shown.splitlines()):
            if state == "SUSPENDED":
                self._let_go_on("resume", job)
            elif "held" in reason.lower():
                self._let_go_on("release", job)

    def _lose_a_node(self) -> None:
        node = self._random.choice(self._lab.nodes)
        if self._note_command(f"node {node} down"):
            self._lab.node_down(node)
            self._later(f"node {node} up", lambda: self._resume(node))

    def _lose_a_node_and_its_daemon(self) -> None:
        """Its jobs count as failed and are requeued, while their processes live on."""
        node = self._random.choice(self._lab.nodes)
        if self._lab.slurmd(node).is_running and self._note_command(f"slurmd of {node} frozen, node down"):
            self._lab.slurmd(node).freeze()
            self._later(f"slurmd of {node} thawed, node up", lambda: self._resume(node), (5.0, 12.0))
            self._lab.node_down(node)

    def _resume(self, node: str) -> None:
        with suppress(LabFailed):
            self._lab.slurmd(node).thaw()
        with suppress(LabFailed, subprocess.TimeoutExpired):
            self._lab.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False, timeout=COMMAND)

    def _note_command(self, what: str) -> bool:
        """Note a command for the controller. False: it would not hear it."""
        process = self._lab.slurmctld.process
        if process is None or process.status() == psutil.STATUS_STOPPED:
            return False
        self._note(what)
        return True

    # ------------------------------------------------------------------------------------------------- the daemons

    def _freeze_the_controller(self) -> None:
        if self._note_command("SIGSTOP to slurmctld"):
            self._lab.slurmctld.freeze()
            self._later("SIGCONT to slurmctld", self._lab.slurmctld.thaw, (1.0, 3.0, 12.0))

    def _restart_the_controller(self) -> None:
        if self._note_command("slurmctld ends"):
            self._random.choice([self._lab.slurmctld.stop, self._lab.slurmctld.kill])()
            self._later("slurmctld starts", self._start_the_controller, (0.0, 3.0))

    def _start_the_controller(self) -> None:
        if not self._lab.slurmctld.is_running:
            self._lab.slurmctld.start()
        with suppress(LabFailed):
            self._lab.wait_until_answering()

    def _freeze_a_slurmd(self) -> None:
        node = self._random.choice(self._lab.nodes)
        daemon = self._lab.slurmd(node)
        self._note(f"SIGSTOP to slurmd of {node}")
        daemon.freeze()
        self._later(f"SIGCONT to slurmd of {node}", daemon.thaw)

    def _restart_a_slurmd(self) -> None:
        node = self._random.choice(self._lab.nodes)
        self._note(f"slurmd of {node} is killed and started")
        self._lab.slurmd(node).kill()
        self._lab.slurmd(node).start()

    # ----------------------------------------------------------------------------------------------------- the end

    @contextmanager
    def well_afterwards(self) -> Iterator[None]:
        """See to it that the lab is as it should be, whatever happened."""
        try:
            yield
        finally:
            self._start_the_controller()
            self._let_all_go_on()
            for node in self._lab.nodes:
                if not self._lab.slurmd(node).is_running:
                    self._lab.slurmd(node).start()
                self._resume(node)
            usable = ("idle", "mixed", "allocated", "completing")
            wait_until(lambda: all(state in usable for state in self._lab.node_states().values()), COMMAND)


WEIGHTS: dict[Callable[[Monkey], None], int] = {
    Monkey._kill_a_worker: 6,
    Monkey._kill_a_fork_server: 2,
    Monkey._kill_an_agent: 3,
    Monkey._end_an_agent: 2,
    Monkey._freeze_an_agent: 2,
    Monkey._freeze_a_worker: 2,
    Monkey._cancel_a_job: 3,
    Monkey._requeue_a_job: 3,
    Monkey._lose_a_node: 2,
    Monkey._lose_a_node_and_its_daemon: 1,
    Monkey._freeze_the_controller: 1,
    Monkey._restart_the_controller: 1,
    Monkey._freeze_a_slurmd: 1,
    Monkey._restart_a_slurmd: 1,
    Monkey._freeze_an_agent_for_long: 1,
    Monkey._freeze_the_server: 1,
    Monkey._suspend_a_job: 2,
    Monkey._hold_a_job: 2,
    Monkey._leave_the_server_no_descriptors: 1,
    Monkey._leave_an_agent_no_descriptors: 1,
}
"""How often each is done, beside the others."""
