"""One daemon of a lab: started in the background, found again by its pid file, frozen, killed, started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from jobpool.model.errors import JobPoolError

__all__ = ["Daemon", "LabFailed", "last_lines", "wait_gone", "wait_until"]

POLL = 0.02
"""Seconds between two looks at a condition: a daemon is ready after about 50 ms."""

PATIENCE = 10.0
"""Seconds that a process may take to end; slurmctld's orderly end takes 3."""


class LabFailed(JobPoolError):
    """A lab could not be brought up, or a command in it failed. Carries the words of the program and its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A program that runs in the background, in a session of its own, so that no Ctrl-C reaches it."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    """Its stdout and stderr are added to this file."""
    pid_file: Path

    def start(self) -> None:
        """Start it and return at once; whether it is ready is for the caller to see."""
        # Not subprocess.Popen: that object complains when it is dropped while the daemon runs, and a daemon may well
        # outlive the process that started it. Python ignores SIGPIPE, and a child would inherit that.
        pid = os.posix_spawn(
            self.argv[0],
            self.argv,
            self.environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT),
        )
        self.pid_file.write_text(f"{pid} {psutil.Process(pid).create_time()}\n")

    @property
    def process(self) -> psutil.Process | None:
        """The running process, or None. A pid that another process has by now is not mistaken for it."""
        try:
            pid, started = self.pid_file.read_text().split()
            process = psutil.Process(int(pid))
            same = process.create_time() == float(started)
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None

    @property
    def is_running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self.process is not None

    @property
    def pid(self) -> int:
        """Its process id. Raises :class:`LabFailed` when it does not run."""
        return self._running().pid

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections to it are taken by the kernel and never answered."""
        self._running().suspend()

    def thaw(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._running().resume()

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM) and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait for the end. Does nothing when it does not run."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it, if it runs, and start it again; whether it is ready is for the caller to see."""
        self.stop()
        self.start()

    def _running(self) -> psutil.Process:
        if (process := self.process) is None:
            raise LabFailed(f"{self.name} is not running", log=str(self.log), tail=last_lines(self.log))
        return process

    def _end(self, signal_number: int) -> None:
        if (process := self.process) is None:
            return
        with suppress(psutil.NoSuchProcess):  # it may end in between, and another parent than us reaps it
            process.send_signal(signal_number)
            process.send_signal(signal.SIGCONT)  # a frozen process takes no other signal than SIGKILL
        if not wait_gone(process):
            raise LabFailed(f"{self.name} (pid {process.pid}) did not end within {PATIENCE:.0f} s")


def wait_gone(process: psutil.Process, timeout: float = PATIENCE) -> bool:
    """Wait for the end of a process, ours or not; say whether it came within the timeout (seconds)."""

    def gone() -> bool:
        try:
            process.wait(0)  # a child of ours is reaped here
        except psutil.TimeoutExpired:
            # Ended, but its parent, another process than this one, has not reaped it.
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        return True

    try:
        return wait_until(gone, timeout)
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], object], timeout: float) -> bool:
    """Look at a condition until it holds; say whether it did within the timeout (seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def last_lines(path: Path, count: int = 12) -> str:
    """Return the last lines of a log; nothing when there is no log."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
