"""The life of a process of jobpool's own: with threads that it has from the start, and an end that nothing holds up.

::

    run_process ─► ready threads ─► the loop, watched by one ─► end_within ─► os._exit, at last the kernel's SIGALRM

For server and agents. What a process needs to end must be there before: at a limit of processes no thread can be
started, on a file system that hangs no file closed, and ``asyncio.run`` waits for both.
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
"""What the start of a process or a thread raises for want of processes, threads, descriptors or memory. The
``RuntimeError`` is "can't start new thread"; asyncio may raise it when the process that it is to watch runs already."""

THREADS = 8
"""For files, names of hosts, and imports, beside the loop: more than may hang at once on a file system that does."""

START_FOR = 30.0
"""Seconds to try to start them: a limit of processes is mostly reached for a moment."""

STUCK = 600.0
"""Seconds that the loop may stand still: so long the other sides wait for a word."""

LOOK = 10.0
"""Seconds between two looks at it. They are counted, so that time in which the whole process is stopped does not."""

LAST = 5.0
"""Seconds from a deadline of ours to the kernel's, and for the commands under way to be ended."""

FAILED = 1


def run_process(work: Callable[[], Coroutine[Any, Any, int]], last: Callable[[], None]) -> NoReturn:
    """Run this process's work to its end, and exit with the code that it returns; 1 when it raised.

    ``last`` is called, in another thread, before an end that the work did not come to by itself.
    """
    from jobpool.host.nonblocking_log import log_aside  # not for the client, which has a part of this only

    global _watch
    code = FAILED
    threads = _ready_threads()
    with log_aside():
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
            log.exception("this process ends")
    os._exit(code)


def end_within(seconds: float, code: int = FAILED) -> None:
    """Let this process end in so many seconds from now, whatever it does then; the last word holds.

    In a process without :func:`run_process` nothing happens.
    """
    if _watch is not None:
        _watch.end_within(seconds, code)


def is_shortage(error: OSError) -> bool:
    """Say whether the system was short of something that it may have again in a moment."""
    return error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS)


class _Watch:
    """A thread that ends this process when its time is over, or when its loop stands still."""

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
        # Should this thread not come to it (a signal's default needs neither memory nor an interpreter).
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
        _say(
            f"this process ends itself: {f'its loop stands still for {STUCK:g} s' if still >= STUCK else 'it is time'}"
        )
        try:
            self._last()
        finally:
            os._exit(self._code)


_watch: _Watch | None = None


def _say(text: str) -> None:
    """Say why, and where every thread is. Past the log, whose thread may be what hangs."""
    with contextlib.suppress(OSError, ValueError):
        os.write(2, f"{text}\n".encode())
        faulthandler.dump_traceback(sys.stderr)


def _ready_threads() -> ThreadPoolExecutor:
    """Return threads that exist: one that has to be started when it is needed may be refused then."""
    end = time.monotonic() + START_FOR
    while True:
        threads, started = ThreadPoolExecutor(THREADS, "jobpool-aside"), threading.Event()
        try:
            for _ in range(THREADS):
                threads.submit(started.wait)  # none is idle, so that each brings a thread
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
    """Let Python 3.11 wait for a command as later ones do, by a descriptor: its default needs a thread for each."""
    if sys.version_info < (3, 12):
        with contextlib.suppress(OSError, AttributeError):  # an older kernel, a sandbox
            os.close(os.pidfd_open(os.getpid()))
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(loop)
            asyncio.get_event_loop_policy().set_child_watcher(watcher)


async def end_tasks() -> None:
    """End what is under way in this loop, so that no command outlives it; not for longer than it may take."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=LAST)
