"""The fork-server: a small process that makes an agent's workers, and tells how each of them died.

Why not the standard library's (read in CPython, ``multiprocessing/forkserver.py`` and ``popen_forkserver.py``):

- A worker made there has the agent's own fork-server and resource tracker as its own (``_serve_one``), so what a call
  starts through ``multiprocessing`` is no descendant of the worker: it outlives it and is not counted as its memory.
- There is one per process, made with the agent's environment, and it imports the agent's main module in each child
  (``get_preparation_data``). Errors of preloaded modules pass in silence.
- ``Process.start`` blocks on pipes in the caller's thread, and the exit status comes without the peak memory.
- Nobody ends the workers when the agent is killed.

Here a worker is as a fresh script would be: the main process of its own ``multiprocessing``, leader of its own session.
The fork-server is a child subreaper (prctl(2)), so whatever outlives its worker becomes the fork-server's child, which
ends it. When the agent is gone, the control socket says so, and everything is killed.

The agent's orders (``AgentToForkServer``) and the answers (``ForkServerToAgent``) are one message each on a
SOCK_SEQPACKET socket.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from typing import assert_never

from jobpool.host.linux import descendants, set_child_subreaper, thread_count
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
from jobpool.transport.packing import Reader, pack
from jobpool.worker.call_log import log_at
from jobpool.worker.shared_objects import here
from jobpool.worker.worker_start import WorkerStart

_SETUP: Reader[ForkServerSetup] = Reader(ForkServerSetup)
_ORDERS: Reader[AgentToForkServer] = Reader(AgentToForkServer)

ORDER_SIZE = 64 * 1024
"""Bytes of one order at most; they hold CPU numbers and a few variables."""

END_WITHIN = 30.0
"""Seconds to wait for what was killed: in a system call on a hanging file system it dies when that answers."""

DESCRIPTORS = 4
"""With an order to fork."""


def main(control: int, *, preload: bool = True) -> None:
    """Run the fork-server on the control socket, and, in each child that it makes, a worker. Does not return."""
    # stdin is a file, not a pipe: it is read again should the process have to start over without preloading.
    setup = _SETUP.one(_read_all(0))
    os.umask(setup.umask)
    log_at(setup.log_level)  # before any module of the user's is imported, which may configure logging
    for path in setup.sys_path:
        if path not in sys.path and os.path.exists(path):  # noqa: PTH110 - entries of sys.path are text
            sys.path.append(path)
    if setup.working_directory is not None:
        with contextlib.suppress(OSError):
            os.chdir(setup.working_directory)
    if preload and setup.initializer is not None and not _preload(setup.initializer):
        os.set_inheritable(control, True)
        command = f"from {__name__} import main; main({control}, preload=False)"
        os.execv(sys.executable, [sys.executable, *setup.flags, "-c", command])
    start = _Server(socket.socket(fileno=control), setup).run()
    from jobpool.worker import worker  # imported before the first fork, by _Server; here only its name is bound

    worker.main(start)


class _Server:
    def __init__(self, control: socket.socket, setup: ForkServerSetup) -> None:
        self._control = control
        self._setup = setup
        self._pids: dict[int, int] = {}  # token: pid
        self._tokens: dict[int, int] = {}  # pid: token
        self._wakers: tuple[int, int] = (-1, -1)

    def run(self) -> WorkerStart:
        """Serve until the agent is gone, and then exit. Returns in the children only."""
        # Here, so that no child has to: what workers import, and to look at all modules that are there.
        import jobpool.worker.worker  # noqa: F401
        from jobpool.serialize.pickling import register_own_modules

        register_own_modules()

        os.set_inheritable(self._control.fileno(), False)
        set_child_subreaper()
        self._wakers = _wake_on_sigchld(self._setup.notice)
        wake = self._wakers[0]
        gc.collect()
        gc.freeze()  # the collector would write to, and so copy, pages that all workers share
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(wake, select.POLLIN)
        self._tell(ForkServerUp())
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._control.fileno() in ready and (start := self._obey()) is not None:
                return start

    def _obey(self) -> WorkerStart | None:
        """Carry out one order. Returns in the child when it was a fork."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, ORDER_SIZE, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            self._end()
        match order := _ORDERS.one(data):
            case Fork():
                return self._fork(order, fds)
            case Kill(token):
                if token in self._pids:
                    self._kill(self._pids[token])
            case _:
                assert_never(order)
        return None

    def _fork(self, order: Fork, fds: list[int]) -> WorkerStart | None:
        token = order.token
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as reason:  # too many processes, or no memory
            self._tell(NotForked(token, reason.errno or 0, str(reason)))
            pid = -1
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._control.close()
            for fd in self._wakers:
                os.close(fd)
            channel, log, page, wakeup = fds
            return WorkerStart(
                server, socket.socket(fileno=channel), log, page, socket.socket(fileno=wakeup), order, self._setup
            )
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self._pids[token], self._tokens[pid] = pid, token
            self._tell(Forked(token, pid))
        return None

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            token = self._tokens.pop(pid, None)
            if token is None:
                continue  # it outlived its worker, and was ours since
            del self._pids[token]
            _kill_session(pid)
            self._tell(Exited(token, status, usage.ru_maxrss * 1024))

    def _kill(self, pid: int) -> None:
        # Descendants that have left the session first: once the worker is dead nobody knows whose they were.
        for descendant in descendants(pid):
            _signal(descendant)
        _signal(pid)
        _kill_session(pid)

    def _tell(self, message: ForkServerToAgent) -> None:
        with contextlib.suppress(ConnectionError):  # the agent is gone; the next read says so
            self._control.sendall(b"".join(pack(message)))

    def _end(self) -> None:
        """Kill all workers and all that descends from them, and exit."""
        signal.setitimer(signal.ITIMER_REAL, END_WITHIN)  # one of them may be where no signal reaches it
        # As a subreaper we inherit the children of what dies: when no child is left, nothing is.
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in descendants(os.getpid()):
                    _signal(pid)
                os.wait4(-1, 0)
        os._exit(0)


def _preload(initializer: bytes) -> bool:
    """Import what the initializer needs, once for all workers. False: it left threads that would not survive a fork."""
    try:
        here().load(initializer)
    except Exception:  # noqa: BLE001 - the user's imports run here; each worker meets and reports the same
        traceback.print_exc()
    if thread_count() == 1:
        return True
    # Libraries that know of fork (OpenBLAS does, by pthread_atfork) end their threads before it: try.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return thread_count() == 1


def _wake_on_sigchld(notice: Iterable[int]) -> tuple[int, int]:
    """Make a pipe whose first end is readable after a child died, and return both.

    SIGINT, SIGTERM and those of ``notice`` do nothing here: batch systems send them to all processes of a job, and the
    agent decides.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, *notice}:
        signal.signal(number, _do_nothing)
    return read, write


def _do_nothing(*_: object) -> None:
    pass


def _kill_session(leader: int) -> None:
    """Kill what is left of a dead worker's session: its process group, and orphans in other groups of the session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def _signal(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
