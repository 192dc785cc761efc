"""The parts of a practice OAR that can fail: its server, its database, its nodes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from jobpool.testing.labs.daemon import Daemon, LabFailed, wait_gone

__all__ = ["ACTIONS", "OarPart", "ask_keeper", "environment_of_root"]

ACTIONS = ("start", "stop", "freeze", "thaw")

_PATIENCE = 60.0
"""Seconds for an answer of the keeper."""


class OarPart:
    """One daemon with its helpers. For an ordinary user, who must not touch root's processes, the keeper acts."""

    def __init__(self, name: str, daemon: Daemon, ready: Callable[[], None], keeper: Path) -> None:
        self.name, self.daemon = name, daemon
        self._ready, self._keeper = ready, keeper

    @property
    def is_running(self) -> bool:
        """Whether its process lives (a frozen one does)."""
        return self.daemon.is_running

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._do("start", self._start)

    def stop(self) -> None:
        """Kill it with its helpers, and wait for their end. The jobs go on."""
        self._do("stop", self._stop)

    def freeze(self) -> None:
        """Stop it and its helpers in their tracks (SIGSTOP): who asks it waits."""
        self._do("freeze", lambda: self._signal(signal.SIGSTOP))

    def thaw(self) -> None:
        """Let it go on."""
        self._do("thaw", lambda: self._signal(signal.SIGCONT))

    def _do(self, action: str, act: Callable[[], None]) -> None:
        if os.geteuid() == 0:
            act()
        else:
            ask_keeper(self._keeper, f"{action} {self.name}")

    def _start(self) -> None:
        if not self.daemon.is_running:
            self.daemon.start()
        self._ready()

    def _stop(self) -> None:
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in family:
            wait_gone(process)

    def _signal(self, number: int) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        process = self.daemon.process
        if process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [process, *process.children(recursive=True)]
        return []


def ask_keeper(keeper: Path, request: str) -> None:
    """Have the lab's keeper do something. Raises :class:`LabFailed` with its words."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(str(keeper))
            connection.sendall(f"{request}\n".encode())
            with connection.makefile() as answers:
                answer = answers.readline().strip()
        except OSError as error:
            raise LabFailed(f"the lab's keeper does not answer: {error}") from None
    if answer != "done":
        raise LabFailed(f"the lab could not {request}", words=answer)


def environment_of_root(mark: Mapping[str, str]) -> dict[str, str]:
    """Return what daemons run with: nothing of the user's."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **mark}
