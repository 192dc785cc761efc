"""Workers come and go: brings them up, replaces those that are gone, and gives up when none can be brought up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable
from itertools import count
from typing import Protocol

from jobpool.agent.binding import scrub
from jobpool.agent.channel import Channel
from jobpool.agent.fork_client import FLAGS, Exit, ForkClient, describe
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.slot import Slot, State
from jobpool.host.lifetime import is_shortage
from jobpool.host.private_directory import open_log
from jobpool.transport.messages.worker import Fork, ForkServerSetup, WorkerToAgent
from jobpool.worker.shared_page import BEGUN, NOTHING, SharedPage, make

__all__ = ["EXIT_WITHIN", "Lifecycle", "Owner"]

FAILED_STARTS = 3
"""Workers or fork-servers that may die one after the other before a worker is ready; then another try mends nothing."""

SHORT_FOR = 60.0
"""Seconds to try again when the system is short of processes, memory or descriptors: mostly it is so for a moment."""

SHORT_PAUSE = 0.5
"""Seconds to the next try; doubles each time."""

EXIT_WITHIN = 5.0
"""Seconds for a worker to end by itself (``atexit``, threads that it waits for) before it is killed."""


KILLED = Exit(signal=int(signal.SIGKILL))
"""How workers die with their fork-server. A plain number: an enum's member cannot be sent to the server."""


class Owner(Protocol):
    """Who has the workers. All methods are called in the loop's thread."""

    def hear(self, slot: Slot, messages: list[WorkerToAgent]) -> None:
        """Take what a worker says."""
        ...

    def ended(self, slot: Slot, how: Exit) -> None:
        """Take note that a worker's process is gone; call :meth:`Lifecycle.succeed` if another shall take its place."""
        ...

    def replaced(self, old: Slot, fresh: Slot) -> None:
        """Take note that a fresh worker is on its way for one that is gone or leaves."""
        ...

    def give_up(self, words: str) -> None:
        """Take note that no worker can be brought up."""
        ...


class Lifecycle:
    """The processes of a job's workers, and the fork-server that makes them."""

    def __init__(self, settings: WorkerSettings, owner: Owner, *, wanted: Callable[[], bool]) -> None:
        self._settings, self._owner = settings, owner
        self._wanted = wanted  # False: the job ends, and no worker is started any more
        self._tokens = count()
        self._failed_starts = 0
        self._short_since: float | None = None
        """When the system was short first, on the loop's clock, since a worker has come up."""
        self._open = {"": settings.logs}
        """Descriptors of the logs by their names, and of their directory."""
        self.slots: dict[int, Slot] = {}
        """By token; those too whose process is on its way out."""

    async def start(self, wakeup: socket.socket) -> None:
        """Start the fork-server and ask it for all workers. Raises ``OSError``."""
        self._wakeup = wakeup
        while True:
            try:
                self._start_fork_server()
                break
            except OSError as reason:
                if (pause := self._pause(reason)) is None:
                    raise
                await asyncio.sleep(pause)
        try:
            for number in range(self._settings.size):
                self._fork(number)
        except OSError:
            await self.close()
            raise

    @property
    def server_pid(self) -> int:
        """The fork-server's process."""
        return self._fork_client.pid

    def ready(self) -> None:
        """Take note that a worker has come up."""
        self._failed_starts, self._short_since = 0, None

    def kill(self, slot: Slot) -> None:
        """Have a worker killed, with all that it started. Its death is told like any other."""
        self._fork_client.kill(slot.token)

    def let_go(self, slot: Slot) -> None:
        """Have a worker end by itself, and see that it does."""
        slot.state = State.LEAVING
        slot.close()
        asyncio.get_running_loop().call_later(EXIT_WITHIN, self._kill_if_there, slot)

    def replace(self, slot: Slot) -> None:
        """Bring up a fresh worker for one that is gone or leaves."""
        try:
            fresh = self._fork(slot.number)
        except OSError as reason:  # the disk with the logs is full, no descriptors are left, ...
            self._replace_later(slot, reason, f"a worker could not be replaced: {reason}")
            return
        self._owner.replaced(slot, fresh)

    def succeed(self, slot: Slot, how: Exit) -> None:
        """Bring up a fresh worker for one that died, unless that mends nothing."""
        if slot.state is State.STARTING:
            self._no_start(slot, f"a worker ended with {describe(how)} before it was ready")
        else:
            self.replace(slot)

    async def close(self) -> None:
        """Kill all workers and whatever they started, and wait until nothing of it is left."""
        await self._fork_client.close()
        for slot in self.slots.values():
            slot.close()
        self.slots.clear()
        while self._open:
            os.close(self._open.popitem()[1])

    # ------------------------------------------------------------------------------------------ of the fork-server

    def forked(self, token: int, pid: int) -> None:
        """Take note of a worker's process id."""
        if slot := self.slots.get(token):
            slot.pid = pid

    def refused(self, token: int, number: int, words: str) -> None:
        """Take note that the system made no process for a worker."""
        if slot := self.slots.pop(token, None):
            slot.close()
            self._replace_later(slot, OSError(number, words), f"no process could be started: {words}")

    def died(self, token: int, how: Exit) -> None:
        """Take note of a worker's death."""
        if slot := self.slots.pop(token, None):
            self._owner.ended(slot, how)

    def lost(self, words: str) -> None:
        """Take note that the fork-server died, and all workers with it; start again."""
        # Those without calls first: they must not get what waits again when another is buried.
        slots = sorted(self.slots.values(), key=lambda slot: bool(slot.calls))
        if self._may_try_again(words):
            self._restart_fork_server(words)
        for slot in slots:
            if slot.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # the kernel has killed it; this is for what it started
                    os.killpg(slot.pid, signal.SIGKILL)
            if slot.state is State.STARTING and self._wanted():
                del self.slots[slot.token]
                slot.close()
                self.replace(slot)
            else:
                self.died(slot.token, KILLED)

    # ---------------------------------------------------------------------------------------------------- starting

    def _restart_fork_server(self, words: str, *, late: bool = False) -> None:
        """Start a fork-server in the place of one that died, if need be later: then for those that wait for it."""
        if not self._wanted():
            return
        try:
            self._start_fork_server()
        except OSError as reason:
            if (pause := self._pause(reason)) is None:
                self._owner.give_up(f"{words}, and a new one could not be started: {reason}")
            else:
                again = functools.partial(self._restart_fork_server, words, late=True)
                asyncio.get_running_loop().call_later(pause, again)
            return
        if late:
            for slot in [slot for slot in self.slots.values() if slot.state is State.STARTING]:
                del self.slots[slot.token]
                slot.close()
                self.replace(slot)

    def _start_fork_server(self) -> None:
        settings = self._settings
        fork_client = ForkClient(self)
        setup = ForkServerSetup(
            working_directory=settings.working_directory,
            sys_path=[os.path.abspath(path) for path in settings.sys_path if path],  # noqa: PTH100 - text, as sys.path
            initializer=settings.initializer,
            log_level=settings.log_level,
            umask=settings.umask,
            notice=list(settings.notice),
            max_memory_growth=settings.max_memory_growth,
            flags=list(FLAGS),
        )
        environment = {**scrub(os.environ, settings.step_variables), **settings.environment}
        fork_client.start(setup, environment=environment, log=self._log("fork-server.log"))
        self._fork_client = fork_client

    def _fork(self, number: int) -> Slot:
        """Ask for a fresh worker. Raises ``OSError`` when it can have no log or no channel."""
        settings, token = self._settings, next(self._tokens)
        with contextlib.ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socket.socketpair())
            log = self._log(f"worker-{number}.log")
            start = os.lseek(log, 0, os.SEEK_CUR)  # not its size, for which a file system would have to answer
            undo.callback(os.close, page := make())
            undo.callback(os.close, output := os.dup(log))
            undo.callback(os.close, wakeup := os.dup(self._wakeup.fileno()))
            slot = Slot(token=token, number=number, log=log, log_start=start, shared_page=SharedPage(page))
            undo.pop_all()  # the fork client has them now
        slot.shared_page.words[BEGUN] = NOTHING
        cpus = list(settings.cpus[number]) if settings.cpus else []
        devices = dict(settings.devices[number]) if settings.devices else {}
        self._fork_client.fork(Fork(token, cpus, devices), theirs, output, page, wakeup)
        # Lost: the worker is dying, or a call closed or garbled the channel; either way it can do no more.
        slot.channel = Channel(ours, lambda messages: self._owner.hear(slot, messages), lambda: self.kill(slot))
        self.slots[token] = slot
        return slot

    def _log(self, name: str) -> int:
        """Return a descriptor of a log. It stays open: a fresh worker needs no file system that answers."""
        if name not in self._open:
            self._open[name] = open_log(name, within=self._open[""])
        return self._open[name]

    def _replace_later(self, slot: Slot, reason: OSError, words: str) -> None:
        """Bring up a worker for one that is gone, when the system may have again what it is short of; or give up."""
        if (pause := self._pause(reason)) is None:
            self._owner.give_up(words)
        else:
            asyncio.get_running_loop().call_later(pause, self._replace_if_wanted, slot)

    def _replace_if_wanted(self, slot: Slot) -> None:
        if self._wanted():
            self.replace(slot)

    def _pause(self, reason: OSError) -> float | None:
        """Return the seconds after which to try again; None: that will not help, or has not helped for long."""
        if not is_shortage(reason):
            return None
        now = asyncio.get_running_loop().time()
        if self._short_since is None:
            self._short_since = now
        short_for = now - self._short_since  # by the clock: many workers may be refused at one moment
        return None if short_for >= SHORT_FOR else max(SHORT_PAUSE, short_for)

    def _no_start(self, slot: Slot, words: str) -> None:
        if self._may_try_again(slot.with_tail(words)):
            self.replace(slot)

    def _may_try_again(self, words: str) -> bool:
        """Count a failed start, and give up when there were too many without a success between them."""
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS:
            self._owner.give_up(words)
        return self._wanted()

    def _kill_if_there(self, slot: Slot) -> None:
        if slot.token in self.slots:
            self.kill(slot)
