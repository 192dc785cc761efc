"""The client's end of a pool: one thread that owns the connection to the server.

::

    caller's threads                    the connection's thread
    submit ─► outbox ──(one wake-up)──► flush ─► link ─► server
    cancel ─► outbox                    link ─► what the server says ─► pending calls ─► futures

The executor holds the connection; the connection does not hold the executor, so that a forgotten one can be collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError
from typing import Any, TypeVar, assert_never

from jobpool.executor.future import JobFuture
from jobpool.executor.map import MapChunk
from jobpool.executor.outbox import Outbox
from jobpool.executor.pending import PendingCalls
from jobpool.executor.start_server import ServerProcess
from jobpool.host.home import PoolDirectory
from jobpool.host.lifetime import end_tasks
from jobpool.model.call import Call
from jobpool.model.errors import JobPoolError, NotPicklable, PoolBroken, from_data
from jobpool.model.status import PoolStatus
from jobpool.server.cleanup import reap
from jobpool.show.waiting import QUIET, WaitingLine, ending_text
from jobpool.transport import tls
from jobpool.transport.frames import WireError
from jobpool.transport.link import KEPT, Link, LinkClosed, introduce
from jobpool.transport.messages.base import Function, Question
from jobpool.transport.messages.client import (
    Broken,
    Bye,
    CallsDone,
    CallsFailed,
    CallsStarted,
    CallsWaitAgain,
    ClientHello,
    ClientMessage,
    ClientWelcome,
    Notice,
    ServerAnswer,
    ServerToClient,
    Shutdown,
    Waiting,
)
from jobpool.transport.packing import Reader
from jobpool.transport.size_limit import refusal

__all__ = ["OPEN", "Connection"]

T = TypeVar("T")

log = logging.getLogger("jobpool.executor.connection")

CONNECT_FOR = 30.0
"""Seconds to try the port of a living server, where many others try."""

ABORT_PATIENCE = 90.0
"""Seconds for a server to end everything at once: half as long again as it gives the batch system at most for that."""

END_PATIENCE = 150
"""Seconds for it to end after the last call: also for a submit that is under way, which may take a minute."""

REAPING = 180.0
"""Seconds for what a server left to be removed: two commands that are not answered, and the jobs' own time to go."""

EXIT_TIMEOUT = 5.0
"""Seconds for the server's process to be gone after its last word."""

HEARD: Reader[ServerToClient] = Reader(ServerToClient | ServerAnswer)

OPEN: set[Connection] = set()
"""Connections whose pools have not ended, also those that nobody holds any more: the exit of Python waits for them."""


class Connection:
    """The connection to a pool's server, with the futures of the calls that are there."""

    def __init__(self, directory: PoolDirectory, server: ServerProcess) -> None:
        self._directory, self._server = directory, server
        self._pid = os.getpid()
        # Taken again by a thread that has it when the garbage collector ends a map in the middle of a submit.
        self._lock = threading.RLock()
        self._pending = PendingCalls(self._lock)
        self._outbox = Outbox()
        self._sent_functions: set[str] = set()
        self._flush_due = self._held = False
        # Not asyncio.new_event_loop(): the user may have chosen another kind for his own purposes.
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name=f"jobpool-{directory.name}", daemon=True)
        self._link: Link | None = None
        self._waiting_line = WaitingLine()
        self._waits_for: PoolStatus | None = None
        self.logs = ""
        """The run's log directory."""
        self.host = ""
        """The address under which the server was reached."""
        self.broken: JobPoolError | None = None
        self.left: tuple[str, ...] = ()
        self._said_bye = False
        self._over = False
        self.ended = threading.Event()
        """Set when the server is gone, for whatever reason; every future has ended by then."""

    def open(self) -> None:
        """Connect. Raises ``Unreachable`` or ``PoolBroken``."""
        OPEN.add(self)
        try:
            self._thread.start()
            self.logs = self.run(self._connect()).logs
        except BaseException:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._hang_up)
            else:  # the system gives this user no more threads: nothing would ever end the waiting at Python's exit
                OPEN.discard(self)
                self._loop.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the connection's thread and wait for it."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a future's callback cannot wait for the pool's server: do it in another thread")
        with self._lock:
            if self._over:
                work.close()
                raise LinkClosed("the connection is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    @property
    def foreign(self) -> bool:
        """Whether this is a copy in a fork of the process that made the pool: the thread and the pool stayed there."""
        return os.getpid() != self._pid

    def abandon(self) -> None:
        """In a fork: let go of the copy of the connection, which would outlive the process that made the pool."""
        if self._link is not None:
            self._link.abandon()

    # ------------------------------------------------------------------------------------- from the caller's threads

    def submit(
        self, function: tuple[str, bytes | NotPicklable], payloads: Iterable[bytes | NotPicklable], kind: str = ""
    ) -> list[JobFuture[Any]]:
        """Send calls of one function and kind on their way. What cannot travel is the exception of its future.

        Raises ``PoolBroken`` when nothing can run any more.
        """
        key, pending, tell_cancelled = function[0], self._pending, self.cancelled
        futures: list[JobFuture[Any]] = []
        with self._lock:
            refused = self._admit(function)
            calls = self._outbox.calls[kind]
            for payload in payloads:
                future = pending.new_future(tell_cancelled)
                futures.append(future)
                if error := refused or refusal("the arguments of the call", payload):
                    future.set_exception(error)
                    continue
                pending.add(future)
                calls.append(Call(future._id, key, payload))  # type: ignore[arg-type]
            self._wake()
        return futures

    def submit_rows(
        self,
        function: tuple[str, bytes | NotPicklable],
        payload: bytes | NotPicklable,
        count: int,
        changed: threading.Condition,
        kind: str = "",
    ) -> MapChunk:
        """Send the calls of a map on their way that ``payload`` holds the arguments of.

        Raises ``PoolBroken`` when nothing can run any more.
        """
        with self._lock:
            refused = self._admit(function) or refusal("the arguments of the call", payload)
            chunk = self._pending.new_chunk(count, changed, self._chunk_cancelled)
            if refused is not None:
                chunk.fail(refused)
            else:
                self._pending.add(chunk)
                self._outbox.calls[kind].append(Call(chunk.id, function[0], payload, rows=count))  # type: ignore[arg-type]
                self._wake()
        return chunk

    def _admit(self, function: tuple[str, bytes | NotPicklable]) -> NotPicklable | None:
        """Note a function for the server, and return why it cannot be sent, if so. Raises when nothing can be."""
        if self.foreign:
            raise RuntimeError("this pool belongs to the process that this one was forked from: make another one here")
        if self.broken is not None:
            raise self.broken
        if self.ended.is_set():
            raise PoolBroken("the pool's server has ended")
        key, pickled = function
        refused = refusal("the function of the call", pickled)
        if refused is None and key not in self._sent_functions:
            self._sent_functions.add(key)
            self._outbox.functions.append(Function(key, pickled))  # type: ignore[arg-type]  # no refusal: it is bytes
        return refused

    def _wake(self) -> None:
        # First the call, then the note of it, and both under the lock: a Ctrl-C between them costs one flush too many,
        # the other way round it would be the last one ever.
        if not self._flush_due:
            self._loop.call_soon_threadsafe(self._flush)
            self._flush_due = True

    def cancelled(self, id: int) -> None:
        """Tell the server that a call is not wanted any more."""
        if self.foreign:
            return
        with self._lock:
            if not self._pending.forget(id):
                return
            self._outbox.cancelled.append(id)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._wake()

    def _chunk_cancelled(self, chunk: MapChunk) -> None:
        if self.foreign:
            return
        with self._lock:
            self._pending.forget_if_ended(chunk)
            self._outbox.cancelled_rows.append((chunk.id, chunk.count))
            with contextlib.suppress(RuntimeError):
                self._wake()

    def pending(self) -> list[JobFuture[Any] | MapChunk]:
        """Return the futures that have not ended, and the chunks of maps."""
        return self._pending.all()

    def send(self, message: ClientMessage) -> None:
        """Send a message after all calls that were submitted before."""

        def flush_and_send() -> None:
            self._flush()
            if self._link is not None:
                self._link.send(message)

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(flush_and_send)

    def ask(self, question: Question[T]) -> T:
        """Ask the server and wait for its answer. Raises ``PoolBroken`` when it is gone, and what it refuses with."""

        async def asking() -> T:
            if self._link is None:
                raise LinkClosed("the connection is closed")
            return await self._link.ask(question)

        if self.foreign:
            raise RuntimeError("this pool belongs to the process that this one was forked from")
        try:
            return self.run(asking())
        except (LinkClosed, CancelledError) as error:
            raise self.broken or PoolBroken("the pool's server has ended") from error

    # ---------------------------------------------------------------------------------------------------------- ending

    def finish(self) -> None:
        """Let the calls that are there end, and then the pool. Returns at once."""
        self.send(Shutdown(cancel_waiting=False, kill=False))
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._expect_the_end, END_PATIENCE)

    def cancel_pending(self) -> None:
        """Cancel all that has no end. The server hears of it with the next message, and of all of it together.

        One by one, a worker would begin the second call when the first is taken from it.
        """
        self._held = True
        try:
            for future in self.pending():
                future.cancel()
        finally:
            self._held = False

    def abort(self) -> None:
        """End everything at once, the running calls too, and wait for it."""
        try:
            self.cancel_pending()
        finally:  # also when a callback's SystemExit or a second Ctrl-C comes in between
            self.send(Shutdown(cancel_waiting=True, kill=True))
        self.wait(ABORT_PATIENCE)

    def wait(self, patience: float | None = None) -> None:
        """Wait until the server has ended and, if it died, what it left is removed.

        Called in a future's callback it returns at once: the callback runs in the thread that would be waited for.
        """
        if threading.current_thread() is self._thread:
            return
        if not self.ended.wait(patience):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._kill_server)
            self.ended.wait()
        self._thread.join(REAPING)
        self._server.join(EXIT_TIMEOUT)

    def tell_what_runs(self) -> None:
        """Wait a little for the end, and if it does not come, tell of the calls that are let end."""
        at_once = threading.current_thread() is self._thread or self.ended.wait(QUIET)
        if not at_once and (count := sum(one.left if isinstance(one, MapChunk) else 1 for one in self.pending())):
            self._waiting_line.say(ending_text(count), warning=False)

    # ----------------------------------------------------------------------------------- in the connection's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(end_tasks())
        finally:
            self._loop.close()
            OPEN.discard(self)
        if self.left:
            self._waiting_line.say(
                f"these jobs could not be removed from the queue: {', '.join(self.left)}", warning=True
            )

    def _hang_up(self) -> None:
        """Give up a connection that was not or not wholly made."""
        self._said_bye = True
        if self._link is not None:
            self._link.abort()
        else:
            self._stop()

    def _stop(self) -> None:
        with self._lock:  # what other threads have given to the loop before still gets an answer
            self._over = True
        self._loop.stop()

    def _expect_the_end(self, seconds: int) -> None:
        """Kill a server that does not end after the last call. In ticks: a callback of 80 s is no time of its own."""
        if self._link is None:
            return
        if seconds <= 0:
            self._kill_server()
            return
        left = END_PATIENCE if self._pending else seconds - 1
        self._loop.call_later(1, self._expect_the_end, left)

    def _kill_server(self) -> None:
        """Kill a server that is stopped or stuck; what it left is removed from here."""
        self._server.kill()
        if self._link is not None:
            self._link.abort()  # the kernel may not be able to end it just now

    async def _connect(self) -> ClientWelcome:
        found = self._directory.connection()
        if found is None:
            raise PoolBroken("the pool's server is not running", log=str(self._directory.server_log))
        self._directory.remember()
        # On its own host the server is reached without any network.
        self.host, self._link, welcome = await introduce(
            ["127.0.0.1", *found["addresses"]],
            found["port"],
            tls.client_context(self._directory.path),
            lambda: Link(HEARD, self._hear, self._closed, kept=KEPT),
            ClientHello(),
            patience=CONNECT_FOR,
            wanted=self._directory.alive,
        )
        return welcome

    def _flush(self) -> None:
        with self._lock:
            self._flush_due = False
            if self._held:
                return
            outbox, self._outbox = self._outbox, Outbox()
        if self._link is not None:
            for message in outbox.messages():
                self._link.send(message)

    def _hear(self, link: Link, message: ServerToClient) -> None:
        match message:
            case CallsStarted(facts, ids):
                self._waiting_line.clear()
                self._pending.started(facts, ids)
            case CallsDone(facts, outcomes):
                self._waiting_line.clear()
                self._pending.done(facts, outcomes)
            case CallsWaitAgain(ids):
                self._pending.wait_again(ids)
            case CallsFailed(error, ids):
                self._pending.failed(ids, lambda: from_data(error))
            case Broken(error):
                self._break(from_data(error))
            case Waiting(snapshot):
                self._waits_for = self._waits_for if snapshot is None else PoolStatus.from_data(snapshot)
                if self._waits_for is not None:
                    self._waiting_line.show(self._waits_for)
            case Notice(text, warning):
                self._waiting_line.say(text, warning=warning)
            case Bye(left, lessons):
                self.left, self._said_bye = tuple(left), True
                for sentence in lessons:
                    self._waiting_line.say(sentence, warning=False)
                link.close()
            case _:
                assert_never(message)

    def _break(self, error: JobPoolError) -> None:
        with self._lock:
            self.broken = self.broken or error
        self._pending.end_all(error)

    def _closed(self, link: Link, error: BaseException | None) -> None:
        if link is not self._link:
            return  # an attempt that was turned away
        self._waiting_line.clear()
        self._link = None
        words = str(error) if isinstance(error, WireError) else "the pool's server ended"
        self._break(
            PoolBroken(
                words,
                log=str(self._directory.server_log),
                tail=self._directory.last_words(),
                advice="its jobs are being cancelled; make a new pool and submit again",
            )
        )
        self.ended.set()
        if self._said_bye:
            self._stop()
        else:
            self._reaping = self._loop.create_task(self._reap())

    async def _reap(self) -> None:
        # The server died without a word. Its running jobs notice by themselves; pending ones are known by name only.
        try:
            self.left = tuple(map(str, await reap(self._directory)))
        finally:
            self._stop()
