"""Restores the state of a worker's process after each call: signal handlers, streams, directory, limits, CPUs.

The state after the initializer is the one to restore. If something cannot be restored, such as a niceness that only
root may lower, the worker says what it is and runs no other call.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import resource
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

from jobpool.worker.shared_page import CHECKPOINT_SIGNAL

__all__ = ["ProcessState", "ResourceLimits", "flush", "open_streams"]

_KEPT_SIGNALS = (
    *map(int, (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)),
    *map(int, (signal.SIGTERM, signal.SIGCHLD, signal.SIGPROF, signal.SIGVTALRM)),
    CHECKPOINT_SIGNAL,
)
_CLOCKS = {int(signal.SIGPROF): int(signal.ITIMER_PROF), int(signal.SIGVTALRM): int(signal.ITIMER_VIRTUAL)}
_signal: Any = vars(signal)["_signal"]
"""The C module: the functions of ``signal`` convert numbers to enums, which takes 5 us for each call."""

_MASK = 1024
"""Bytes of a mask of CPUs: 8192 bits, the maximum number of CPUs in Linux."""

_sched_getaffinity = ctypes.PyDLL(None).sched_getaffinity
"""Returns a mask and not a set of numbers, which takes 3 us for a hundred CPUs."""

_FEW = 16
"""Number of CPUs up to which Python's own function costs less."""


class ProcessState:
    """Restores what a call has changed in this process, compared with the time when the object was made (6 us a call).

    It makes no request to a file system unless the call has changed something: a shared file system may hang, and
    closing a descriptor sends what was printed to the file server.
    """

    def __init__(self, limits: ResourceLimits) -> None:
        self._limits = limits
        self._path = _where()
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._mask = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._handlers = [_signal.getsignal(number) for number in _KEPT_SIGNALS]
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._stdin = os.dup(0)
        # Where position and flags are the same, it is the same opened file: each has these of its own.
        self._logs = [(os.dup(number), number, fcntl.fcntl(number, fcntl.F_GETFL)) for number in (1, 2)]
        self._log, _, self._flags = self._logs[0]
        self._keep_cpus()
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        limits.keep()

    def restore(self) -> str:
        """Restore everything. Return what could not be restored; empty in most cases."""
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        if list(map(_signal.getsignal, _KEPT_SIGNALS)) != self._handlers:
            self._restore_handlers()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        os.umask(self._umask)
        os.dup2(self._stdin, 0)
        if not self._both_are_the_log():
            for copy, number, flags in self._logs:
                if not _is_copy(number, copy, flags):
                    os.dup2(copy, number)
        sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr = self._streams
        try:
            closed = stdout.closed or stderr.closed or stdin.closed
        except ValueError:  # a buffer was detached, to make another stream of it
            closed = True
        if closed:
            self._streams = open_streams()
        if self._path is None or _where() != self._path:
            with contextlib.suppress(OSError):  # the directory was removed; there is nothing to go back to
                os.fchdir(self._home)
        left = self._limits.restore() if self._limits.touched else ""
        if (os.sched_getaffinity(0) if self._few else self._mask_of_cpus()) != self._cpus:
            self._restore_cpus()
        if os.getpriority(os.PRIO_PROCESS, 0) != self._nice:
            left = self._restore_nice() or left
        return left

    def _both_are_the_log(self) -> bool:
        """Return whether stdout and stderr are still the same open file, the log: true in nearly all cases."""
        try:
            same = os.lseek(1, 0, os.SEEK_CUR) == os.lseek(self._log, 0, os.SEEK_CUR) == os.lseek(2, 0, os.SEEK_CUR)
            return same and fcntl.fcntl(1, fcntl.F_GETFL) == self._flags == fcntl.fcntl(2, fcntl.F_GETFL)
        except OSError:  # closed, or a pipe
            return False

    def _restore_handlers(self) -> None:
        for number, handler in zip(_KEPT_SIGNALS, self._handlers, strict=True):
            if _signal.getsignal(number) is not handler and handler is not None:
                # Stop the timer first: with the old handler, its signal may end the process.
                if number in _CLOCKS:
                    _signal.setitimer(_CLOCKS[number], 0)
                _signal.signal(number, handler)

    def _keep_cpus(self) -> None:
        self._numbers = os.sched_getaffinity(0)
        self._few = len(self._numbers) <= _FEW
        self._buffer = ctypes.create_string_buffer(_MASK)
        self._cpus: set[int] | bytes = self._numbers if self._few else self._mask_of_cpus()

    def _mask_of_cpus(self) -> bytes:
        _sched_getaffinity(0, _MASK, self._buffer)
        return self._buffer.raw

    def _restore_cpus(self) -> None:
        """Let all threads that have the changed set of CPUs, also threads of libraries, use the old set again."""
        changed, before = os.sched_getaffinity(0), self._numbers
        for thread in _threads():
            with contextlib.suppress(OSError):  # the thread has ended; or the system does not allow these CPUs any more
                if os.sched_getaffinity(thread) == changed:
                    os.sched_setaffinity(thread, before)
        self._keep_cpus()  # if the system has changed them, there is nothing to restore any more

    def _restore_nice(self) -> str:
        changed = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            for thread in _threads():
                with contextlib.suppress(ProcessLookupError):
                    if os.getpriority(os.PRIO_PROCESS, thread) == changed:
                        os.setpriority(os.PRIO_PROCESS, thread, self._nice)
        except OSError:  # only root may lower it
            return f"a niceness of {changed}"
        return ""


class ResourceLimits:
    """Restores the resource limits (``ulimit``) and the scheduling policy, if a function of Python has set them.

    To read all 16 limits after each call would take as long as everything else together.
    """

    def __init__(self) -> None:
        self.touched = False
        for module, name in ((resource, "setrlimit"), (resource, "prlimit"), (os, "sched_setscheduler")):
            setattr(module, name, self._noting(getattr(module, name)))

    def keep(self) -> None:
        """Keep the current values as those to restore."""
        self.touched = False
        self._policy = os.sched_getscheduler(0)
        self._kept = {number: resource.getrlimit(number) for number in _limit_names()}

    def restore(self) -> str:
        """Restore them. Return what could not be restored."""
        left, policy = "", os.sched_getscheduler(0)
        try:
            for thread in _threads() if policy != self._policy else ():
                with contextlib.suppress(ProcessLookupError):
                    if os.sched_getscheduler(thread) == policy:
                        os.sched_setscheduler(thread, self._policy, os.sched_param(0))
        except OSError:
            left = "another scheduling policy"
        for number, kept in self._kept.items():
            if resource.getrlimit(number) != kept:
                try:
                    resource.setrlimit(number, kept)
                except (OSError, ValueError):  # the call has lowered the hard limit
                    left = f"a lower {_limit_names()[number]}"
        self.touched = bool(left)
        return left

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any) -> Any:
            self.touched = True
            return function(*args)

        return noting


def flush() -> None:
    """Flush ``sys.stdout`` and ``sys.stderr``, whatever objects the call has put there."""
    # A full disk, a closed stream, or an object of the call that raises: the call's result is sent in any case.
    for name, own in (("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        try:
            stream = getattr(sys, name)
            stream.flush()
            if stream is not own and own is not None:
                own.flush()
        except BaseException:  # noqa: BLE001 - code of the user's runs here
            pass


def open_streams() -> tuple[TextIOWrapper, TextIOWrapper, TextIOWrapper]:
    """Create new ``sys.stdin``, ``sys.stdout`` and ``sys.stderr``."""
    stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    stdout = sys.__stdout__ = _line_buffered(1)  # type: ignore[misc]
    stderr = sys.__stderr__ = _line_buffered(2)  # type: ignore[misc]
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
    return stdin, stdout, stderr


def _line_buffered(fd: int) -> TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _is_copy(descriptor: int, copy: int, flags: int) -> bool:
    try:
        same = os.lseek(descriptor, 0, os.SEEK_CUR) == os.lseek(copy, 0, os.SEEK_CUR)
        return same and fcntl.fcntl(descriptor, fcntl.F_GETFL) == flags
    except OSError:  # closed, or a pipe
        return False


def _where() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - once for each call
    except OSError:  # removed, or not reachable
        return None


def _threads() -> list[int]:
    return [int(thread) for thread in os.listdir("/proc/self/task")]  # noqa: PTH208 - numbers


@functools.cache
def _limit_names() -> dict[int, str]:
    """Return the names of the kernel's limits by number; some limits have two names."""
    names = {getattr(resource, name): name for name in reversed(dir(resource)) if name.startswith("RLIMIT_")}
    return {number: names[number] for number in sorted(names)}
