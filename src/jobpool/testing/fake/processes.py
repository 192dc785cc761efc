"""The scripts of a fake cluster's jobs as real processes, each job in a session of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from jobpool.testing.fake.jobs import LAUNCH_FAILED, FakeJob
from jobpool.testing.fake.systems import commands_of
from jobpool.testing.labs.machine import end_processes, processes_of

__all__ = ["Processes"]

_MARK, _JOB_MARK = "JOBPOOL_FAKE", "JOBPOOL_FAKE_JOB"
"""Variables by which processes are found: they stay with a process that leaves its session and its parent."""


class Processes:
    """Runs the scripts. ``spool`` holds them, and its path stands for this cluster in the processes' environment."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, job: FakeJob, node: str) -> int | None:
        """Start a job's script, or return the status of one whose output cannot be opened."""
        order = job.order
        script = self.spool / f"job{job.raw}"
        script.write_text(order.script)
        script.chmod(0o700)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if order.append else os.O_TRUNC)
        try:
            log = os.open(self._log(job), flags, 0o666 & ~order.umask)
        except OSError:
            return LAUNCH_FAILED
        try:
            self._started[job.raw] = subprocess.Popen(
                [script],
                env={**order.environment, **self._variables(job, node)},
                # SLURM runs a script whose directory is missing in /tmp, with one line in the log.
                cwd=order.directory if order.directory.is_dir() else "/tmp",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=order.umask,
            )
        except OSError:
            return LAUNCH_FAILED
        finally:
            os.close(log)
        return None

    def exited(self, job: FakeJob) -> int | None:
        """Return the script's status when it has ended; what it left behind is killed, as SLURM does."""
        process = self._started.get(job.raw)
        if process is None or (code := process.poll()) is None:
            return None
        end_processes([self._mark(job)])
        return code << 8 if code >= 0 else -code

    def signal(self, job: FakeJob, number: int) -> None:
        """Send a signal to all processes of a job."""
        for process in processes_of([self._mark(job)]):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)

    def gone(self, job: FakeJob) -> bool:
        """Say whether a job has no process any more."""
        process = self._started.get(job.raw)
        if process is not None and process.poll() is None:
            return False
        return all(left.status() == psutil.STATUS_ZOMBIE for left in processes_of([self._mark(job)]))

    def write(self, job: FakeJob, line: str) -> None:
        """Add a line to a job's log."""
        with suppress(OSError), self._log(job).open("a") as log:
            log.write(f"{line}\n")

    def of(self, job: FakeJob) -> list[psutil.Process]:
        """Return the living processes of a job."""
        return processes_of([self._mark(job)])

    def end_all(self) -> None:
        """Kill all processes of all jobs, and remove the scripts; return when none is left."""
        end_processes([f"{_MARK}={self.spool}"])
        for process in self._started.values():
            process.wait()
        shutil.rmtree(self.spool, ignore_errors=True)

    def _mark(self, job: FakeJob) -> str:
        return f"{_JOB_MARK}={self.spool}:{job.raw}"

    def _log(self, job: FakeJob) -> Path:
        names = commands_of(job.order.dialect).log_names(job)
        found = "|".join(map(re.escape, names))
        return job.order.directory / re.sub(found, lambda match: names[match[0]], job.order.output)

    def _variables(self, job: FakeJob, node: str) -> dict[str, str]:
        system = commands_of(job.order.dialect)
        own = system.variables(job, node, time.time())
        for name, text in system.files(job, node).items():
            file = self.spool / f"job{job.raw}.{name}"
            file.write_text(text)
            own[name] = str(file)
        return {**own, _MARK: str(self.spool), _JOB_MARK: f"{self.spool}:{job.raw}"}
