"""Runs the event loop of a server or agent, with threads that exist from the start, and an end that nothing can delay.

::

    run_process ─► start the threads ─► the loop, watched by one ─► end_within ─► os._exit, or else the kernel's SIGALRM

A process must have everything that it needs to end before it ends: at a limit of processes no thread can be started, on
a file system that hangs no file can be closed, and ``asyncio.run`` waits for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

__all__ = ["SHORTAGE", "end_tasks", "end_within", "is_shortage", "run_process"]

log = logging.getLogger("jobpool.host.lifetime")

SHORTAGE = (OSError, RuntimeError, MemoryError)
"""Exceptions of the start of a process or thread if there are too few processes, threads, descriptors or bytes. The
``RuntimeError`` is "can't start new thread"; asyncio may raise it after the process that it is to watch has started."""

THREADS = 8
"""Threads for files, host names and imports: more than may hang at one time on a file system."""

START_FOR = 30.0
"""Seconds to try to start them: a limit of processes is usually reached for a moment only."""

STUCK = 600.0
"""Seconds without progress of the loop after which the process ends: the peers wait as long for a message."""

LOOK = 10.0
"""Seconds between two checks of the loop. Checks are counted, so that time in which the process is stopped does not
count."""

LAST = 5.0
"""Seconds from the process's own deadline to the kernel's, and until running commands are ended."""

FAILED = 1


def run_process(work: Callable[[], Coroutine[Any, Any, int]], last: Callable[[], None]) -> NoReturn:
    """Run a coroutine, and exit with the code that it returns; 1 if it raised.

    ``last`` is called, in another thread, before the process ends for another reason.
    """
    # Not at the top: the client uses only other parts of this module.
    from jobpool.host.nonblocking_log import log_in_thread

    global _watch
    code = FAILED
    threads = _ready_threads()
    with log_in_thread():
        try:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            loop.set_default_executor(threads)
            _watch_children_by_descriptors(loop)
            _watch = _Watch(loop, last)
            try:
                code = loop.run_until_complete(work())
            finally:
                end_within(2 * LAST, code)
                loop.run_until_complete(end_tasks())
        except BaseException:
            log.exception("this process ends because of an unexpected exception")
    os._exit(code)


def end_within(seconds: float, code: int = FAILED) -> None:
    """End this process in ``seconds`` from now, whatever it does then. A later call replaces this one.

    Does nothing in a process without :func:`run_process`.
    """
    if _watch is not None:
        _watch.end_within(seconds, code)


def is_shortage(error: OSError) -> bool:
    """Return whether an error means that the system is short of a resource, which may be free again in a moment."""
    return error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS)


class _Watch:
    """A thread that ends this process at its deadline, or if its loop makes no progress."""

    def __init__(self, loop: asyncio.AbstractEventLoop, last: Callable[[], None]) -> None:
        self._loop, self._last = loop, last
        self._changed = threading.Condition()
        self._alive = True
        self._end: float | None = None
        self._code = FAILED
        threading.Thread(target=self._run, name="jobpool-watch", daemon=True).start()
        self._beat()

    def _beat(self) -> None:
        self._alive = True
        self._loop.call_later(LOOK / 2, self._beat)

    def end_within(self, seconds: float, code: int) -> None:
        # In case this thread cannot run: the default action of a signal needs neither memory nor an interpreter.
        signal.setitimer(signal.ITIMER_REAL, seconds + LAST)
        with self._changed:
            self._end, self._code = time.monotonic() + seconds, code
            self._changed.notify()

    def _run(self) -> None:
        still = 0.0
        with self._changed:
            while self._end is None or time.monotonic() < self._end:
                rest = LOOK if self._end is None else min(LOOK, self._end - time.monotonic())
                self._changed.wait(max(0.0, rest))
                still = 0.0 if self._alive else still + rest
                self._alive = False
                if still >= STUCK:
                    break
        why = f"its event loop did nothing for {STUCK:g} s" if still >= STUCK else "its time is over"
        _say(f"this process ends: {why}")
        try:
            self._last()
        finally:
            os._exit(self._code)


_watch: _Watch | None = None


def _say(text: str) -> None:
    """Write the reason and the traceback of every thread to stderr, without the log, whose thread may hang."""
    with contextlib.suppress(OSError, ValueError):
        os.write(2, f"{text}\n".encode())
        faulthandler.dump_traceback(sys.stderr)


def _ready_threads() -> ThreadPoolExecutor:
    """Return a pool of threads that have started: later the system may refuse to start a thread."""
    end = time.monotonic() + START_FOR
    while True:
        threads, started = ThreadPoolExecutor(THREADS, "jobpool-aside"), threading.Event()
        try:
            for _ in range(THREADS):
                threads.submit(started.wait)  # no thread is idle, so that each submit starts one
        except RuntimeError:
            if time.monotonic() > end:
                raise
        else:
            return threads
        finally:
            started.set()
        threads.shutdown()
        time.sleep(1)


def _watch_children_by_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    """Let Python 3.11 wait for commands by descriptors, as later versions do: its default needs a thread for each."""
    if sys.version_info < (3, 12):
        with contextlib.suppress(OSError, AttributeError):  # an older kernel, a sandbox
            os.close(os.pidfd_open(os.getpid()))
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(loop)
            asyncio.get_event_loop_policy().set_child_watcher(watcher)


async def end_tasks() -> None:
    """Cancel the tasks of this loop, and wait ``LAST`` seconds for their end, so that no command outlives the loop."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=LAST)
