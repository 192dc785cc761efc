"""What all practice batch systems have in common: a plan, a directory, an owner with whom they end."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Generic, Self, TypeVar

from jobpool.testing.labs.daemon import Daemon, LabFailed, wait_until

__all__ = ["READY", "PracticeLab"]

Plan = TypeVar("Plan")

READY = 60.0
"""Seconds for all daemons to answer. They take 0.2 (SLURM) to 5 (OAR); a loaded machine may be slow."""


class PracticeLab(ABC, Generic[Plan]):
    """A practice batch system in a directory. Its record, ``lab.json``, says that it is there, and has its plan."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()
        self._plan: Plan | None = None

    @classmethod
    def attach(cls, directory: str | Path) -> Self:
        """Take hold of the lab that another process brought up there. Raises :class:`LabFailed` when there is none."""
        lab = cls(directory)
        try:
            lab._plan = cls._read_plan(lab._record.read_text())
        except FileNotFoundError:
            raise LabFailed(f"there is no lab in {lab.directory}") from None
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.directory} {'up' if self._plan else 'down'}>"

    # What a client needs

    @property
    def plan(self) -> Plan:
        """The lab's ports, names and places. Raises :class:`LabFailed` when it is not up."""
        if self._plan is None:
            raise LabFailed(f"the lab in {self.directory} is not up")
        return self._plan

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables that lead a client's commands to this lab; to be added to its environment."""

    @abstractmethod
    def client_environment(self) -> dict[str, str]:
        """Return a whole environment for a client: ours, without the traces of any other cluster or job."""

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, cwd: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a client of this lab.

        Raises :class:`LabFailed` with its words for a status other than 0, unless ``check`` is false.
        """
        done = subprocess.run(
            [self._program(argv[0]), *argv[1:]],
            env=self.client_environment(),
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
        )
        if check and done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise LabFailed(f"'{' '.join(argv)}' failed", words=words, exit_code=done.returncode)
        return done

    # Up and down

    def up(self, *, detached: bool = False) -> None:
        """Bring the lab up; return when it can run jobs.

        ``detached``: it outlives this process, until ``down()`` of a lab attached to its directory. Raises
        :class:`~jobpool.BatchSystemUnavailable` when this machine or this user cannot have such a lab,
        :class:`LabFailed` when a daemon does not get ready or a lab is up there already; nothing of the lab is left
        then.
        """
        self._check_machine()
        self._clear_stale()
        self._plan = self._make_plan()
        try:
            self._write_files()
            if not detached:
                self._watch.start()
            self._start()
        except BaseException:  # Ctrl-C too: nothing may stay behind
            self.down()
            raise

    @abstractmethod
    def down(self) -> None:
        """End all jobs and daemons, and remove all that the lab made. Does nothing when it is not up.

        Also for a lab that is half started or half gone.
        """

    # How it is done

    @property
    def _record(self) -> Path:
        return self.directory / "lab.json"

    @classmethod
    @abstractmethod
    def _read_plan(cls, text: str) -> Plan:
        """Read the record."""

    @abstractmethod
    def _check_machine(self) -> None:
        """Raise ``BatchSystemUnavailable`` where such a lab cannot be."""

    @abstractmethod
    def _clear_stale(self) -> None:
        """Raise :class:`LabFailed` when a lab is up in the directory; remove what is left of one that is not."""

    @abstractmethod
    def _make_plan(self) -> Plan:
        """Choose names, ports and places."""

    @abstractmethod
    def _write_files(self) -> None:
        """Write the record, then all that the daemons read."""

    @abstractmethod
    def _start(self) -> None:
        """Start the daemons, and wait until jobs can run."""

    @abstractmethod
    def _daemon(self, program: str, *arguments: str, name: str | None = None) -> Daemon:
        """Return a program of this machine as a daemon of the lab."""

    @abstractmethod
    def _tails(self) -> str:
        """Return the last lines of the daemons' logs."""

    def _program(self, name: str) -> str:
        return name

    @property
    def _watch(self) -> Daemon:
        # -P: a file beside the owner's script must not be taken for a module of the standard library.
        argv = ("-P", "-m", "jobpool.testing.labs.owner_watch", str(self.directory), str(os.getpid()))
        # Without the mark by which daemons are found and ended.
        return replace(self._daemon(sys.executable, *argv, name="watch"), environment=dict(os.environ))

    def _end_watch(self) -> None:
        """End the process that waits for the owner's end, unless this is it."""
        if self._watch.is_running and self._watch.pid != os.getpid():
            self._watch.kill()

    def _await(self, condition: Callable[[], object], otherwise: str, timeout: float = READY) -> None:
        # A condition that asks for a daemon's pid fails at once, with its log, when the daemon has died.
        if not wait_until(condition, timeout):
            raise LabFailed(f"{otherwise} after {timeout:.0f} s", tail=self._tails())
