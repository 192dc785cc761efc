"""The process that stands behind one submission of local jobs, as a node's daemon does in a cluster.

::

    submit ──fork──► supervisor (its own session, adopts orphans, no output)
                       ├─ job 0: bash script ──exec──► agent     (own session, dies with the supervisor)
                       ├─ job 1: ...
                       └─ what a job left behind: killed when that job's main process ends

It waits for three things, in one place: the end of a child, an order to cancel (SIGUSR1, and a file that says what),
and the next deadline. It exits when its last job has ended.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from jobpool.local_jobs import processes
from jobpool.local_jobs.records import LocalJob, LocalSubmission, save

__all__ = ["Plan", "Supervisor"]

_LAUNCH_FAILED = 127


class Plan(NamedTuple):
    """What the jobs of a submission are to be."""

    name: str
    jobs: int
    directory: Path
    """The submission's own."""
    log_directory: Path
    working_directory: Path
    walltime: float | None = None
    """Seconds."""
    notice: float = 0.0
    """Seconds from SIGTERM to SIGKILL, at the walltime and in a cancel."""

    def log(self, index: int) -> Path:
        """Say where a job's output goes."""
        return self.log_directory / f"{self.name}-{index}.log"


class _Job:
    """A job that has not ended. ``asked``: the ending that a signal of ours will have been."""

    def __init__(self, record: LocalJob, deadline: float | None) -> None:
        self.record, self.deadline = record, deadline
        self.asked = ""
        self.kill_at: float | None = None

    def next_time(self) -> float | None:
        """When something is to be done with it, unless it ends before."""
        return self.kill_at if self.asked else self.deadline


class Supervisor:
    """Starts the jobs of one submission, and sees each to its end."""

    def __init__(self, plan: Plan, environment: Mapping[str, str]) -> None:
        self._plan = plan
        self._environment = environment
        self._record = LocalSubmission(plan.name, os.getpid(), processes.start_time(os.getpid()))
        self._living: dict[int, _Job] = {}
        self._wakeups, wake = os.pipe()
        for end in (self._wakeups, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._note)
        self._stop = False

    def run(self, ready: Callable[[], None]) -> None:
        """Start the jobs, say so, and return when all have ended."""
        processes.adopt_orphans()
        for index in range(self._plan.jobs):
            self._start(index)
        self._save()
        ready()
        while self._living:
            self._wait()
            if self._obey() + self._keep_time() + self._reap():
                self._save()
        self._sweep({})

    # Starting

    def _start(self, index: int) -> None:
        reader, writer = os.pipe()
        record = LocalJob(index)
        self._record.jobs.append(record)
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_job(index, supervisor, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            # Ends with the exec, which closes the other side; what comes before is why there was none.
            record.words = pipe.read()
        record.pid = pid
        walltime = self._plan.walltime
        self._living[pid] = _Job(record, None if walltime is None else time.monotonic() + walltime)

    def _become_job(self, index: int, supervisor: int, failure: int) -> NoReturn:
        try:
            processes.die_with_parent(supervisor)
            os.setsid()
            self._reset_signals()
            id = f"{self._plan.name}.{index}"
            output = os.open(self._plan.log(index), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
                os.dup2(source, descriptor)
            os.chdir(self._plan.working_directory)
            environment = {
                **self._environment,
                processes.JOB_VARIABLE: id,
                "JOBPOOL_LOCAL_INDEX": str(index),
            }
            os.execvpe("bash", ["bash", str(self._plan.directory / "script")], environment)
        except OSError as error:
            os.write(failure, str(error).encode(errors="replace"))
        finally:
            # Never back into the supervisor's code, whatever happened.
            os._exit(_LAUNCH_FAILED)

    @staticmethod
    def _reset_signals() -> None:
        signal.set_wakeup_fd(-1)
        # Python ignores SIGPIPE, and a background process may ignore SIGINT: exec would hand that on.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    # Watching

    def _note(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._stop = True

    def _wait(self) -> None:
        times = [when for job in self._living.values() if (when := job.next_time()) is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        select.select([self._wakeups], [], [], timeout)
        with suppress(BlockingIOError):
            while os.read(self._wakeups, 4096):
                pass

    def _obey(self) -> int:
        """Carry out the orders to cancel; return how many there were."""
        try:
            orders = [file for file in self._plan.directory.iterdir() if file.name.startswith("cancel-")]
        except OSError as error:  # somebody deleted the pool's directory: the jobs end with their calls
            print(f"cannot look for orders: {error}", file=sys.stderr, flush=True)
            orders = []
        named = {file.name.removeprefix("cancel-") for file in orders}
        everything = self._stop or "all" in named
        for job in self._living.values():
            if everything or str(job.record.index) in named:
                self._end(job, "cancelled", "CANCELLED")
        for file in orders:
            file.unlink(missing_ok=True)
        return len(orders) + self._stop

    def _keep_time(self) -> int:
        """End the jobs whose time is up; return how many there were."""
        now = time.monotonic()
        due = [job for job in self._living.values() if (when := job.next_time()) is not None and when <= now]
        for job in due:
            if job.asked:
                job.kill_at = None
                self._signal(job, signal.SIGKILL)
            else:
                job.record.limit = f"{self._plan.walltime:g} s"
                self._end(job, "timed out", "DUE TO TIME LIMIT")
        return len(due)

    def _end(self, job: _Job, kind: str, words: str) -> None:
        if job.asked:
            return
        job.asked, job.kill_at, job.record.state = kind, time.monotonic() + self._plan.notice, "completing"
        self._tell(job, words)
        self._signal(job, signal.SIGCONT)
        self._signal(job, signal.SIGTERM)

    def _tell(self, job: _Job, words: str) -> None:
        """Say in the job's own log why it is ended."""
        with suppress(OSError), self._plan.log(job.record.index).open("a") as file:
            file.write(f"jobpool: *** JOB {self._plan.name}.{job.record.index} {words} ***\n")

    @staticmethod
    def _signal(job: _Job, number: signal.Signals) -> None:
        # The group is the session's first: the agent and all that did not leave it. It cannot be a stranger's, since
        # its leader is our child, whom nobody but us reaps.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(job.record.pid, number)

    # Ending

    def _reap(self) -> int:
        """Take note of the children that ended; return how many were jobs."""
        ended: dict[int, _Job] = {}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if (job := self._living.pop(pid, None)) is not None:
                ended[pid] = job
                self._judge(job, status)
        if ended:
            self._sweep(ended)
        for job in ended.values():
            job.record.state = "ended"
        return len(ended)

    @staticmethod
    def _judge(job: _Job, status: int) -> None:
        record, code = job.record, os.waitstatus_to_exitcode(status)
        record.exit_code, record.signal = (None, -code) if code < 0 else (code, None)
        if job.asked:
            record.kind = job.asked
        elif record.words and code == _LAUNCH_FAILED:
            record.kind = "launch failed"
        else:
            record.kind = "completed" if code == 0 else "failed"

    def _sweep(self, ended: Mapping[int, _Job]) -> None:
        """Kill what the ended jobs left behind, to the last process; with no job alive, all that is left."""
        while left := self._left_behind(ended):
            for pid in left:
                processes.kill(pid, signal.SIGKILL)
            # Killed ones are our zombies, or become so when their parents die: then the table has none of them.
            with suppress(ChildProcessError):
                os.waitpid(left[0], 0)

    def _left_behind(self, ended: Mapping[int, _Job]) -> list[int]:
        """Return our own children that are no living job and belong to an ended one; their children come to us next.

        A daemon of a living job is our child too, and stays: it is known by its session or its environment.
        """
        ids = [f"{self._plan.name}.{job.record.index}\0" for job in ended.values()]
        return [
            process.pid
            for process in processes.table().values()
            if process.parent == os.getpid() and process.pid not in self._living
            if not self._living or process.session in ended or any(processes.marked(process.pid, id) for id in ids)
        ]

    def _save(self) -> None:
        try:
            save(self._plan.directory, self._record)
        except OSError as error:
            # A full disk must not cost the jobs; the next change is another try.
            print(f"cannot write {self._plan.directory}/record.json: {error}", file=sys.stderr, flush=True)
