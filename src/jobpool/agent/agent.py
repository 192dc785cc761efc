"""The agent: the one process of a job that speaks with the server. It has the job's workers.

::

    server ◄── link (TLS) ──► Agent ─► Workers ─► child processes   ServerToAgent, AgentToServer
                                        ▲
    Scheduler ◄─ Dask Worker ─► SlotThreads                         tasks of pool.client, each in a worker's slot

Calls run before Dask is imported, and without it: the Worker joins when the pool's client is first used. The agent ends
when the server says so, when the link is gone, when its walltime is nearly over, or when the batch system sends
SIGTERM. Its own shutdown has a deadline: closing a Dask Worker may hang (seen in 2 of 20), and a job that hangs costs
until its walltime.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Sequence
from typing import NoReturn, assert_never

from jobpool.agent.dask_membership import DaskMembership
from jobpool.agent.job_facts import JobFacts, parse_arguments
from jobpool.agent.reports import CannotStart, Full, InitializerError, Report
from jobpool.agent.settings import worker_settings
from jobpool.agent.time_left import clock_note, process_age, seconds_left
from jobpool.agent.workers import Workers
from jobpool.core.scaling.walltime import notice
from jobpool.host.lifetime import end_within, run_process
from jobpool.host.standstill import BEAT, Standstill
from jobpool.host.versions import versions
from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import InitializerFailed
from jobpool.model.job import JobKey
from jobpool.model.units import Duration
from jobpool.transport import tls
from jobpool.transport.link import KEPT, Link, Unreachable, in_parts, introduce
from jobpool.transport.malloc import reuse_memory
from jobpool.transport.messages.agent import (
    AgentAnswer,
    AgentBye,
    AgentHello,
    AgentSettings,
    Bundle,
    Cut,
    Died,
    Done,
    JoinDask,
    Leaving,
    NodeWarning,
    NotWanted,
    Ping,
    Pong,
    Ready,
    Retract,
    Returned,
    ServerToAgent,
    Started,
    StopAgent,
    Suspended,
    TakeBack,
    Trouble,
    WentOn,
)
from jobpool.transport.messages.base import Checkpointed, Functions, Message, Remark
from jobpool.transport.messages.worker import NoCheckpoint
from jobpool.transport.packing import Reader

__all__ = ["main"]

log = logging.getLogger("jobpool.agent")

HEARD: Reader[ServerToAgent] = Reader(ServerToAgent | AgentAnswer)

CONNECT_FOR = 45.0
"""Seconds to try the server's addresses: a network that is late after a node's boot, a server under load. Below the
minute after which nothing of a pool that was killed may be left in the queue."""

END_WITHIN = 5.0
"""Seconds for a clean end; after them the process ends itself, and the batch system ends what is left."""

SILENT = 600.0
"""Seconds without a word of the server after which it counts as lost, though the connection stands: it was stopped, or
its host hangs. It asks every 30 s whether we live. A host that is dead is found after one minute (``peer_silence``)."""

FAREWELL = SILENT
"""Seconds that the last results may take to the server: it may stand still just now."""

BROKEN, UNWANTED, LOST_SERVER, CANNOT_START = 70, 76, 77, 78
"""Exit codes, beside ``UNREACHABLE`` (70 is sysexits.h's EX_SOFTWARE); the words are in the job's log."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a job's agent to its end."""
    facts = parse_arguments(argv)
    os.umask(0o077)
    reuse_memory()
    # Threads of Dask tasks may run on for ever; nothing of value is left in this process then.
    agent = Agent(facts)
    run_process(agent.run, agent.delete_scratch)


class Agent:
    """The agent of one job."""

    def __init__(self, facts: JobFacts) -> None:
        self._facts = facts
        self._job = JobKey(facts.submission, facts.index)
        self._dask: DaskMembership | None = None
        self._settings: AgentSettings
        self._host = ""
        self._ahead = 0.0
        """Seconds of this node's clock before that of the server's host."""
        self._link: Link | None = None
        self._workers: Workers | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._farewell: asyncio.Task[None] | None = None
        self._said_bye = False
        self._end = asyncio.Event()
        self._code = 0
        self._heard = 0.0
        self._suspended = False
        """The batch system has said that it stops this job."""
        self._closing_time: asyncio.TimerHandle | None = None
        """When the walltime is nearly over."""
        self._notice = 0.0
        """Seconds before its end that this is."""

    # ----------------------------------------------------------------------------------------------------------- life

    async def run(self) -> int:
        """Serve until the end, and return the exit code."""
        for number in {signal.SIGTERM, signal.SIGINT, *self._facts.notice}:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        log.info("job=%s id=%s node=%s pid=%d begins", self._job, self._facts.id, self._facts.node, os.getpid())
        try:
            # A signal ends the waiting for a server, too.
            introduced, ended = asyncio.create_task(self._introduce()), asyncio.create_task(self._end.wait())
            await asyncio.wait([introduced, ended], return_when=asyncio.FIRST_COMPLETED)
            if introduced.done() and introduced.result():
                await self._serve()
                await ended
        except (Unreachable, OSError) as error:  # LinkClosed too, and no keys: the pool has ended
            log.error("job=%s cannot reach the server: %s", self._job, error)
            self._stop(UNREACHABLE)
        end_within(END_WITHIN, self._code)
        await self._close()
        return self._code

    async def _introduce(self) -> bool:
        """Find the server and hear what to do; keep trying for a while. False: this job is not wanted."""
        facts = self._facts
        job = self._job.submission, self._job.element
        self._host, self._link, answer = await introduce(
            facts.addresses,
            facts.port,
            tls.client_context(facts.pool),
            lambda: Link(HEARD, self._hear, self._lost, kept=KEPT),
            AgentHello(job=job, id=facts.id, node=facts.node, pid=os.getpid(), versions=versions()),
            patience=CONNECT_FOR,
            # A pool that has ended in good order has taken its connection file away.
            wanted=(facts.pool / "connection.json").exists,
        )
        log.info("server=%s port=%d answers", self._host, facts.port)
        match answer:
            case NotWanted(why=why):
                log.error("job=%s is not wanted: %s", self._job, why)
                self._stop(UNWANTED)
                return False
            case AgentSettings():
                self._settings, self._ahead = answer, time.time() - answer.time
                return True
            case _:
                assert_never(answer)

    async def _serve(self) -> None:
        """Start the workers and tell the server that calls may come."""
        try:
            settings, notes = worker_settings(
                self._settings, self._facts, f"{self._job.submission}-{self._job.element}"
            )
            workers = Workers(settings, self._report)
            await workers.start()
            self._workers = workers  # from now on there is something to close
        except OSError as error:
            self._report(CannotStart(str(error)))
            self._stop(CANNOT_START)
            return
        clocks = (now := time.time()), now - self._ahead
        age, facts = process_age() + self._facts.script_age, self._facts
        left = seconds_left(self._settings.walltime, began=facts.began, ends=facts.ends, clocks=clocks, age=age)
        self._say(Ready(settings.size, left))
        if left is not None:
            log.info("job=%s has %s left", self._job, Duration(round(left)))
            self._notice = notice(left)
            self._closing_time = asyncio.get_running_loop().call_later(left - self._notice, self._take_leave)
        for note in notes:
            self._say(note)
        if late := clock_note(self._ahead):
            self._say(NodeWarning(late))
        if self._settings.dask_port is not None:
            self._join_dask(workers, self._settings.dask_port)
        self._heard = time.monotonic()
        self._expect_words()
        loop = asyncio.get_running_loop()
        if self._facts.suspension is not None:
            loop.add_signal_handler(self._facts.suspension, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, lambda: loop.call_later(2 * BEAT, self._go_on_soon))
        Standstill(loop, self._go_on)

    def _suspend(self) -> None:
        log.warning("job=%s is being suspended", self._job)
        self._suspended = True
        self._say(Suspended())

    def _go_on_soon(self) -> None:
        """Say that it goes on after a suspension that was too short to be noticed otherwise."""
        if self._suspended:
            self._go_on(0.0)

    def _go_on(self, seconds: float) -> None:
        """Put off what is due by the time in which this process stood still, and say that it goes on."""
        log.warning("job=%s goes on after %.0f s", self._job, seconds)
        self._heard += seconds
        if self._workers is not None:
            self._workers.put_off(seconds)
        if self._suspended and (closing_time := self._closing_time) is not None:
            # Only a suspension by the batch system extends the walltime; a person's SIGSTOP does not.
            closing_time.cancel()
            loop = asyncio.get_running_loop()
            self._closing_time = loop.call_at(closing_time.when() + seconds, self._take_leave)
        self._suspended = False
        self._say(WentOn(self._seconds_left()))

    def _seconds_left(self) -> float | None:
        if self._closing_time is None:
            return None
        return max(0.0, self._closing_time.when() + self._notice - asyncio.get_running_loop().time())

    def _expect_words(self) -> None:
        """End when the server, which asks now and then whether we live, is silent for too long."""
        if time.monotonic() - self._heard > SILENT:
            log.error("job=%s lost its server: it said nothing for %.0f s", self._job, SILENT)
            self._stop(LOST_SERVER)
        asyncio.get_running_loop().call_later(SILENT / 10, self._expect_words)

    async def _close(self) -> None:
        if self._dask is not None:
            self._dask.cancel()
        if self._workers is not None:
            await self._workers.close(drain=False)
        if self._dask is not None:
            await self._dask.close()
        if self._link is not None:
            self._link.close()
            await asyncio.wait([self._link.closed], timeout=1)  # the last words are sent
        self.delete_scratch()

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        log.warning("job=%s got %s", self._job, name)
        if self._farewell is None:  # it may come twice, before and after the grace time of a preemption
            self._farewell = asyncio.create_task(self._say_farewell(name, 128 + number))

    async def _say_farewell(self, name: str, code: int) -> None:
        """End for a signal; before, calls may leave their checkpoints."""
        try:
            if self._workers is not None and not self._end.is_set():
                self._say(Leaving(name, planned=False))
                await self._workers.last_checkpoints(self._settings.grace)
        finally:
            if self._workers is not None:
                self._workers.flush()  # nothing is heard after the last word
            self._say(AgentBye(name))
            self._stop(code)

    def _take_leave(self) -> None:
        """End, now that the walltime is nearly over, after the calls that run; or after their checkpoints."""
        if self._workers is None or self._end.is_set():
            return
        self._workers.ask_for_checkpoints()
        self._leave_after_calls("walltime", "its walltime is nearly over")

    def _leave_after_calls(self, short: str, why: str) -> None:
        """End after the calls that run."""
        log.info("job=%s takes leave: %s", self._job, why)
        if self._leaving is None:
            self._say(Leaving(short, planned=True))
            self._leaving = asyncio.create_task(self._leave(why, drain=True))

    def _join_dask(self, workers: Workers, port: int) -> None:
        asked, facts = self._settings, self._facts
        if self._dask is None:
            self._dask = DaskMembership(facts.pool, facts.id, facts.node, self._say)
        self._dask.join(f"tls://{self._host}:{port}", workers, size=asked.workers, sys_path=asked.sys_path)

    def delete_scratch(self) -> None:
        """Delete what Dask's Worker had on the disk."""
        if self._dask is not None:
            self._dask.delete_scratch()

    def _lost(self, link: Link, error: BaseException | None) -> None:
        # Also called for attempts at addresses that did not become the link.
        if link is self._link and not self._said_bye and not self._end.is_set():
            log.error("job=%s lost its server: %s", self._job, error or "the connection was closed")
            self._stop(LOST_SERVER)

    def _stop(self, code: int) -> None:
        if not self._end.is_set():
            self._code = code
            self._end.set()

    # ---------------------------------------------------------------------------------------------------------- words

    def _say(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _hear(self, link: Link, message: ServerToAgent) -> None:
        self._heard = time.monotonic()
        match message:
            case Ping():
                self._say(Pong())
            case StopAgent(why, drain):
                log.info("job=%s stops why=%r drain=%s", self._job, why, drain)
                if self._leaving is None or not drain:
                    self._leaving = asyncio.create_task(self._leave(why, drain=drain))
            case Functions() | Bundle() | Retract() | TakeBack() | JoinDask():
                if self._workers is not None:
                    self._order(self._workers, message)
            case _:
                assert_never(message)

    def _order(self, workers: Workers, message: Functions | Bundle | Retract | TakeBack | JoinDask) -> None:
        match message:
            case Functions(functions):
                workers.define(functions)
            case Bundle(calls):
                workers.submit(calls)
            case Retract(ids):
                workers.retract(ids)
            case TakeBack():
                workers.take_back()
            case JoinDask(port):
                self._join_dask(workers, port)
            case _:
                assert_never(message)

    async def _leave(self, why: str, *, drain: bool) -> None:
        try:
            if drain and self._workers is not None:
                await self._workers.close(drain=True)
            self._said_bye = True
            self._say(AgentBye(why))
            if self._link is not None:  # hangs up when it has the last results, which may be large
                await asyncio.wait([self._link.closed], timeout=FAREWELL)
        finally:
            self._stop(0)

    def _report(self, report: Report) -> None:
        try:
            self._tell(report)
        except Exception:
            # A call of which the server does not hear would never end; when the job does, it runs elsewhere.
            log.exception("job=%s cannot tell %s and ends", self._job, type(report).__name__)
            self._stop(BROKEN)

    def _tell(self, report: Report) -> None:
        match report:
            case Done(outcomes):
                for part in in_parts(outcomes):
                    self._say(Done(part))
            case Started() | Returned() | Cut() | Died() | Remark() | Checkpointed():
                self._say(report)
            case Full(text):
                self._say(Remark("full of files", f"a job ends early: {text}"))
                self._leave_after_calls("its memory is full", text)
            case NoCheckpoint(_, words):
                self._say(NodeWarning(f"a call was asked for its checkpoint and left none: {words}"))
            case CannotStart(text):
                self._say(Trouble(f"no worker can be started on {self._facts.node}: {text}", None))
            case InitializerError(text):
                error = InitializerFailed(
                    "the initializer failed in a worker", job=self._facts.id, node=self._facts.node, tail=text
                )
                self._say(Trouble("the initializer failed", error.as_data()))
            case _:
                assert_never(report)
