"""The agent's side of the fork-server: asks for workers, and hears how they died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from jobpool.transport import packing
from jobpool.transport.messages.worker import (
    AgentToForkServer,
    Exited,
    Fork,
    Forked,
    ForkServerSetup,
    ForkServerToAgent,
    ForkServerUp,
    Kill,
    NotForked,
)

__all__ = ["FLAGS", "Exit", "ForkClient", "ForkEvents", "describe"]

_HEARD: packing.Reader[ForkServerToAgent] = packing.Reader(ForkServerToAgent)

FLAGS = ("-P",)
"""No directory of the user's comes before the standard library: a ``random.py`` there must not break the start."""

LAST_WAIT = 5.0
"""Seconds for the fork-server to kill all workers and exit. It does nothing else then; more means it is stuck."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    exit_code: int | None = None
    signal: int | None = None
    peak_memory: int = 0
    """Bytes; since the last call began."""


class ForkEvents(Protocol):
    """Who wants workers. All methods are called in the loop's thread."""

    def forked(self, token: int, pid: int) -> None:
        """Take note: the process of this worker runs."""
        ...

    def refused(self, token: int, number: int, words: str) -> None:
        """Take note: the system did not let the process be made."""
        ...

    def died(self, token: int, how: Exit) -> None:
        """Take note: the process is gone, and what it started in its session too."""
        ...

    def lost(self, words: str) -> None:
        """Take note: the fork-server is gone, and all workers with it."""
        ...


class ForkClient:
    """One fork-server process."""

    def __init__(self, events: ForkEvents) -> None:
        self._events = events
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._closing = False

    def start(self, setup: ForkServerSetup, *, environment: Mapping[str, str], log: int) -> None:
        """Start the process. Orders may be given at once; they are carried out when it is up.

        Raises ``OSError`` when the process cannot be started.
        """
        with contextlib.ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            stdin = undo.enter_context(tempfile.TemporaryFile())
            stdin.writelines(packing.pack(setup))
            stdin.seek(0)
            command = f"from jobpool.worker.forkserver import main; main({theirs.fileno()})"
            # In the loop's thread, and no session of its own: a signal to the job's process group reaches it as well.
            self._process = subprocess.Popen(
                [sys.executable, *FLAGS, "-c", command],
                env=environment, stdin=stdin, stdout=log, stderr=log, pass_fds=[theirs.fileno()],
            )  # fmt: skip
            self._control = socket.socket(fileno=ours.detach())
        self._control.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._control, self._readable)

    @property
    def pid(self) -> int:
        """The fork-server's process."""
        return self._process.pid

    def fork(self, order: Fork, channel: socket.socket, log: int, page: int, wakeup: int) -> None:
        """Ask for a worker. It gets copies of all descriptors; what was passed here belongs to the fork client now."""
        self._order(order, (channel.detach(), log, page, wakeup))

    def kill(self, token: int) -> None:
        """Ask for a worker's end, with all that it started. Its death is told like any other."""
        self._order(Kill(token), ())

    async def close(self) -> None:
        """Kill all workers and whatever they started, and wait until nothing of it is left."""
        self._closing = True
        self._hang_up()
        try:
            await asyncio.to_thread(self._process.wait, LAST_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the workers are killed with it, by their parent-death signal
            await asyncio.to_thread(self._process.wait)

    def _order(self, message: AgentToForkServer, fds: tuple[int, ...]) -> None:
        if self._control.fileno() < 0:  # hung up; the deaths of all workers are on their way
            _close(fds)
            return
        self._unsent.append((b"".join(packing.pack(message)), fds))
        if len(self._unsent) == 1:
            self._writable()
            if self._unsent:
                self._loop.add_writer(self._control, self._writable)

    def _writable(self) -> None:
        try:
            while self._unsent:
                data, fds = self._unsent[0]
                socket.send_fds(self._control, [data], fds)
                self._unsent.popleft()
                _close(fds)
        except BlockingIOError:
            return
        except ConnectionError:
            self._drop_orders()  # the fork-server is gone; reading notices
        self._loop.remove_writer(self._control)

    def _readable(self) -> None:
        while self._control.fileno() >= 0:
            try:
                data = self._control.recv(4096)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self._gone()
                return
            self._hear(_HEARD.one(data))

    def _hear(self, message: ForkServerToAgent) -> None:
        match message:
            case ForkServerUp():
                pass
            case Forked(token, pid):
                self._events.forked(token, pid)
            case NotForked(token, number, words):
                self._events.refused(token, number, words)
            case Exited(token, status, peak):
                self._events.died(token, _exit(status, peak))
            case _:
                assert_never(message)

    def _gone(self) -> None:
        self._hang_up()
        if not self._closing:
            code = self._process.wait()  # its end of the socket closes as it exits: this takes no time
            self._events.lost(f"the fork-server ended with {describe(_exit_of_code(code, 0))}")

    def _hang_up(self) -> None:
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._loop.remove_writer(self._control)
            self._control.close()
        self._drop_orders()

    def _drop_orders(self) -> None:
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()


def describe(how: Exit) -> str:
    """Say how a process ended, for a person."""
    if how.signal is not None:
        with contextlib.suppress(ValueError):
            return f"signal {how.signal} ({signal.Signals(how.signal).name})"
        return f"signal {how.signal}"
    return f"exit code {how.exit_code}"


def _exit(status: int, peak: int) -> Exit:
    return _exit_of_code(os.waitstatus_to_exitcode(status), peak)


def _exit_of_code(code: int, peak: int) -> Exit:
    return Exit(signal=-code, peak_memory=peak) if code < 0 else Exit(exit_code=code, peak_memory=peak)


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
