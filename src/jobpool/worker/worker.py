"""A worker: the process that runs calls, one at a time, and sends each result as soon as it is there.

It hears ``AgentToWorker`` and says ``WorkerToAgent`` (``transport.messages``). End of file means: no more calls, exit.
Before it begins a call it says so on the page that it shares with the agent, and looks for mail there; ``wakeup`` tells
when it wakes the agent.

A call may do what a script may. What it changes in the process and would harm the next call is put back: working
directory, umask, signal handlers and mask, alarms, ``sys.stdout`` and ``sys.stderr``, CPUs, niceness, limits of
resources (``process_state``); where that cannot be, it says so and runs no other call. Environment
variables, imported modules and memory stay, as in a process pool. Between rows that take less than ``BRIEF`` nothing is
put back.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, NoReturn, assert_never

from jobpool.host.linux import die_with_parent
from jobpool.model.call import Call, Outcome, Usage
from jobpool.model.units import Memory
from jobpool.serialize import pickling
from jobpool.serialize.checkpoint_resume import resume
from jobpool.serialize.chunks import NUMBERS, SHORT, TEXTS, Results, loads_rows
from jobpool.transport.messages.base import Functions, Remark
from jobpool.transport.messages.worker import (
    AgentToWorker,
    CallDone,
    Forget,
    Fork,
    Grown,
    InitializerRaised,
    Run,
    Skip,
    Skipped,
    Spoilt,
    WorkerReady,
    WorkerToAgent,
)
from jobpool.transport.packing import Reader, pack
from jobpool.worker.checkpoint_signal import CheckpointSignal, offers
from jobpool.worker.functions import FunctionTable
from jobpool.worker.initializer_globals import run_initializer
from jobpool.worker.meter import CallMeter
from jobpool.worker.multiprocessing_by_value import send_by_value
from jobpool.worker.process_state import ProcessState, ResourceLimits, flush, open_streams
from jobpool.worker.shared_objects import here
from jobpool.worker.shared_page import BEGUN, MAIL, NOTHING, SharedPage
from jobpool.worker.trim_memory import MemoryTrimmer
from jobpool.worker.user_imports import share_imports
from jobpool.worker.wakeup import Wakeup
from jobpool.worker.worker_start import WorkerStart

HEARD: Reader[AgentToWorker] = Reader(AgentToWorker)

LOG_KEPT = 64 * 1024
"""Bytes of a call's output that travel with its result; the log file has all of it."""

KILL_FIRST = 200
"""Added to oom_score_adj: 20 % of the limit. A job has many small workers and one agent, which holds all results on
their way; when memory runs out the kernel shall take a worker, even where the agent is larger."""

SEND_AFTER = 0.002
"""Seconds of rows after which their results are sent. Later ones wait for the call that runs, so it must be short; a
message costs 20 us at both ends."""

SEND_SIZE = 256 * 1024
"""Bytes of results after which they are sent."""

BRIEF = 0.0001
"""Seconds. Putting the process's state back costs 3 us."""

_LOGGER = logging.getLogger("concurrent.futures")
"""Where the standard library's workers say that their initializer failed; by default it writes to the worker's log."""


def main(start: WorkerStart) -> NoReturn:
    """Become a worker, run calls until there will be no more, and exit."""
    die_with_parent(start.server)
    os.setsid()
    _redirect(start.log)
    _obtain(start.order)
    _shield_signals(start)
    _reseed()
    send_by_value()
    share_imports()
    page = SharedPage(start.page)
    os.close(start.page)
    worker = _Worker(start, page)
    try:
        worker.run(start.setup.initializer)
    except BaseException:
        if worker.is_copy:  # it came back from a call, and found page and channel closed
            _end_copy(None)
        raise
    _exit(0)


class _Worker:
    def __init__(self, start: WorkerStart, page: SharedPage) -> None:
        self._channel = start.channel
        self._log = start.log
        self._page = page.words
        self._wakeup = Wakeup(start.wakeup, page.words)
        self._trimmer = MemoryTrimmer(page.words, start.setup.max_memory_growth)
        self._peak = self._served = 0
        self._announced = 0
        self._living = here()  # with what the fork-server has loaded for the initializer
        self._living.tell = self._remark
        self._functions = FunctionTable(self._living)
        self._queue: deque[Call] = deque()
        self._unpacker = HEARD.unpacker()
        self._limits = ResourceLimits()
        self._spoilt = ""
        """What the last call has changed in the process, and cannot be put back."""
        self.is_copy = False
        """Whether this is a process that a call has forked."""
        os.register_at_fork(after_in_child=self._become_copy)

    def _become_copy(self) -> None:
        """Keep away from what belongs to the worker that this process was forked from."""
        self.is_copy = True
        self._page.release()

    def run(self, initializer: bytes | None) -> None:
        """Run the initializer and then calls, until the agent closes the channel."""
        if initializer is not None:
            self._initialize(initializer)
        self._meter = CallMeter()
        self._checkpoints = CheckpointSignal(self._page, self._send, flush)
        self._state = ProcessState(self._limits)
        self._send(WorkerReady())
        while True:
            while self._queue:
                key = self._step()
                if self._spoilt:
                    self._retire(Spoilt(self._name(key), self._spoilt))
                if self._peak > self._trimmer.above:
                    self._trim_memory(key)
            self._receive()

    def _step(self) -> str:
        """Run the next call, or rows, or read the mail; return the function's key."""
        call = self._queue[0]
        if not self._may_begin(call.id):
            self._receive()  # which may take it away
        elif call.rows:
            self._run_rows(call)
        else:
            self._queue.popleft()
            self._call(call.id, call.function, call.payload)
        return call.function

    def _trim_memory(self, key: str) -> None:
        """Give back what the last call has freed. When it, and those before, have kept too much, run no other one."""
        grown = self._trimmer.look(self._peak, fresh=self._meter.fresh)
        self._peak = 0
        if grown:
            self._retire(Grown(self._name(key), grown, self._served))

    def _name(self, key: str) -> str:
        name: str = getattr(self._functions.get(key), "__qualname__", "a call")
        return name.rpartition(">.")[2]

    def _retire(self, why: Grown | Spoilt) -> NoReturn:
        """Tell of what a call has left in this process, and run no other one."""
        self._send(why)
        while self._channel.recv(65536):
            pass  # the agent knows already which calls have not begun
        _exit(0)

    def _may_begin(self, id: int) -> bool:
        """Say that a call begins now. False: there is mail, which has to be read before."""
        self._page[BEGUN] = id
        if self._page[MAIL] == self._announced:
            return True
        self._page[BEGUN] = NOTHING
        return False

    def _initialize(self, initializer: bytes) -> None:
        try:
            run_initializer(initializer, self._living)
        except BaseException as error:
            if self.is_copy:
                _end_copy(error)
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            flush()
            words = f"{type(error).__name__}: {error}"[: pickling.TEXT_KEPT]
            self._send(InitializerRaised(words, pickling.dumps_exception(error)))
            _exit(1)
        flush()

    def _call(self, id: int, key: str, payload: bytes) -> None:
        log_start = self._log_end()
        self._meter.start()
        try:
            function = self._functions.get(key)
            args, kwargs = pickling.loads_arguments(payload, load=self._living.load)
            answer = True, pickling.dumps_result(self._checkpoints.run(id, function, args, kwargs, row=False))
            blame = 0, ""
        except BaseException as error:  # noqa: BLE001 - as in ProcessPoolExecutor, SystemExit is a call's exception too
            if self.is_copy:
                _end_copy(error)
            # The first entry of the traceback is this function; it says nothing to the user.
            answer = False, pickling.dumps_exception(error.with_traceback(_without_first(error)))
            blame = 1, pickling.describe(error)
        if self.is_copy:
            _end_copy(None)
        usage = _usage(*self._meter.stop())
        self._peak, self._served = usage.peak_memory, self._served + 1
        flush()
        log, log_end = self._output(log_start)
        self._spoilt = self._state.restore()
        self._send(CallDone(Outcome(id, *answer, usage, log, 0, *blame), log_end, monotonic()))

    def _run_rows(self, call: Call) -> None:
        """Run rows one by one, at half a microsecond for each, until they are done or there is mail."""
        results = Results()
        self._meter.start()
        try:
            function, rows = self._functions.get(call.function), loads_rows(call.payload, load=self._living.load)
        except BaseException as error:  # noqa: BLE001 - as in _call
            for _ in range(call.rows):
                results.add_exception(error)
            self._send_rows(call, call.rows, results)
        else:
            if function is resume or offers(function):
                self._run_row(call, function, rows)
                return
        page, mail, add_value, clock = self._page, self._announced, results.values.append, time.perf_counter
        id, first = call.id, call.id - call.skip
        last = sent = clock()
        while id < call.id + call.rows:
            page[BEGUN] = id
            if page[MAIL] != mail:
                break
            try:
                value = function(*rows[id - first])
                kind = type(value)
                if kind in NUMBERS or (kind in TEXTS and len(value) <= SHORT):
                    add_value(value)
                else:
                    results.add(value)
                    value = None  # it may be large, and the next call long
            except BaseException as error:  # noqa: BLE001 - as in _call
                if self.is_copy:
                    _end_copy(error)
                results.add_exception(error.with_traceback(_without_first(error)))
            id += 1
            now = clock()
            if now - last > BRIEF:
                self._state.restore()
            last = now
            if now - sent > SEND_AFTER or results.size > SEND_SIZE:
                self._send_rows(call, id - call.id, results)
                if self._spoilt:
                    return
                self._meter.start()
                last = sent = clock()
        if id > call.id:
            self._send_rows(call, id - call.id, results)
        if page[MAIL] != mail:
            page[BEGUN] = NOTHING  # not before they are sent: who reads it takes back all that it has not heard of

    def _run_row(self, call: Call, function: Callable[..., Any], rows: Any) -> None:
        """Run a row that may leave a checkpoint, and send its result, so that no other row is lost with it."""
        results = Results()
        try:
            results.add(self._checkpoints.run(call.id, function, rows[call.skip], {}, row=True))
        except BaseException as error:  # noqa: BLE001 - as in _call
            if self.is_copy:
                _end_copy(error)
            results.add_exception(error.with_traceback(_without_first(error)))
        self._send_rows(call, 1, results)

    def _send_rows(self, call: Call, count: int, results: Results) -> None:
        usage = _usage(*self._meter.stop())
        self._peak, self._served = max(self._peak, usage.peak_memory), self._served + count
        flush()
        self._spoilt = self._state.restore()
        id = call.id
        call.id, call.skip, call.rows = id + count, call.skip + count, call.rows - count
        if not call.rows:
            self._queue.popleft()
        outcome = Outcome(id, True, results.take(), usage, b"", count, *results.blame())
        self._send(CallDone(outcome, self._log_end(), monotonic()))

    def _remark(self, topic: str, text: str) -> None:
        self._send(Remark(topic, text))

    def _output(self, start: int) -> tuple[bytes, int]:
        """Return the last part of what was written since ``start``, and where the log ends now."""
        end = self._log_end()
        if end <= start:
            return b"", end
        start = max(start, end - LOG_KEPT)
        return os.pread(self._log, end - start, start), end

    def _log_end(self) -> int:
        """Return where the log ends: where this process, or what it started, has written last.

        Not its size: for that a shared file system asks its server, and while that hangs no call would end.
        """
        return os.lseek(self._log, 0, os.SEEK_CUR)

    def _receive(self) -> None:
        """Wait for the next frames and act on them. Exits when there will be no more."""
        count = self._channel.recv_into(self._unpacker.room())
        if not count:
            _exit(0)
        messages = self._unpacker.filled(count)
        if self._unpacker.error is not None:
            raise self._unpacker.error
        for message in messages:
            match message:
                case Run(calls):
                    self._queue.extend(calls)
                case Functions(functions):
                    for function in functions:
                        self._functions.define(function.key, function.payload)
                case Forget(keys):
                    self._functions.forget(keys)
                case Skip(spans):
                    self._announced += 1
                    self._send(Skipped(self._drop(spans)))
                case _:
                    assert_never(message)

    def _drop(self, spans: list[tuple[int, int]]) -> tuple[int, ...]:
        """Drop calls, and rows from some place on. Returns the first id of what was dropped each."""
        dropped: list[int] = []
        for first, end in spans:
            for call in self._queue:
                if call.rows >= 0 and call.id < end and first < call.id + (call.rows or 1):
                    start = max(first, call.id)
                    dropped.append(start)
                    call.rows = start - call.id or -1
        self._queue = deque(call for call in self._queue if call.rows >= 0)
        return tuple(dropped)

    def _send(self, message: WorkerToAgent) -> None:
        pieces, waits = pack(message), self._wakeup.waits
        if waits and self._wakeup.is_full(sum(map(len, pieces))):
            self._wakeup.ring()
            waits = False
        try:
            if len(pieces) == 1:
                self._channel.sendall(pieces[0])
            else:
                for piece in pieces:
                    self._channel.sendall(piece)
        except ConnectionError:
            _exit(1)  # the agent is gone
        if waits and not (self._queue and isinstance(message, CallDone)):
            self._wakeup.ring()


def _redirect(log: int) -> None:
    """Send what Python and C write to the log, interleaved, and give the process an empty stdin."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(log, 1)
    os.dup2(log, 2)
    open_streams()
    faulthandler.enable(file=2, all_threads=True)  # a crash in C leaves the Python line in the log


def _obtain(order: Fork) -> None:
    """Take what this worker alone gets: its CPUs, its variables, its place in the kernel's order for killing."""
    os.environ.update(order.environment)
    if order.cpus:
        with contextlib.suppress(OSError):  # the job's cpuset has changed meanwhile: run unbound
            os.sched_setaffinity(0, order.cpus)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="utf-8") as file:  # noqa: PTH123
        score = min(1000, int(file.read()) + KILL_FIRST)
        file.seek(0)
        file.write(str(score))


def _shield_signals(start: WorkerStart) -> None:
    """Let the agent alone decide what SIGINT, SIGTERM and a batch system's own notices mean, for this process only.

    Batch systems send them to every process of a job some time before the end; a call that is nearly done should
    finish. A handler that does nothing is reset by exec, unlike SIG_IGN, so that programs started by a call can be
    interrupted; processes forked by it (``multiprocessing.Process.terminate``) get the usual reaction back, and have no
    business with the channel and the wakeup.
    """
    shielded = {signal.SIGINT, signal.SIGTERM, *start.setup.notice}
    for number in shielded:
        signal.signal(number, _do_nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    masks: list[set[int | signal.Signals]] = []

    def before_fork() -> None:
        # Blocked until the child has its own handlers: a signal that came earlier would be lost on ours.
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, shielded))

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def in_child() -> None:
        start.channel.close()
        start.wakeup.close()
        for number in shielded:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            # Only the main thread may set handlers; the thread that forked is that now.
            if signal.getsignal(number) is _do_nothing:
                signal.signal(number, usual)
        in_parent()

    os.register_at_fork(before=before_fork, after_in_parent=in_parent, after_in_child=in_child)


def _reseed() -> None:
    """Give each worker random numbers of its own. ``random`` does it at a fork, numpy's global generator does not."""
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _usage(wall: float, cpu: float, peak_memory: int, threads: int) -> Usage:
    return Usage(wall=wall, cpu=cpu, peak_memory=Memory(peak_memory), threads=threads)


def _do_nothing(*_: object) -> None:
    pass


def _without_first(error: BaseException) -> Any:
    return error.__traceback__.tb_next if error.__traceback__ and error.__traceback__.tb_next else error.__traceback__


def _end_copy(error: BaseException | None) -> NoReturn:
    """End a process that a call has forked and that came back from the call: as one of ``multiprocessing``'s ends.

    To go on would be to serve the worker's agent twice. What is registered by ``atexit`` belongs to the worker.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    flush()
    os._exit(code & 0xFF)


def _exit(code: int) -> NoReturn:
    """End as a script does, with threads joined and ``atexit`` run, but without freeing all objects one by one."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    flush()
    os._exit(code)
