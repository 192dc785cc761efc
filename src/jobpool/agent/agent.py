"""The agent: the one process of a job that speaks with the server. It owns the job's crew of workers.

::

    server ◄── link (TLS) ──► Agent ─► Crew ─► children         bundles, retract, stop; started, done, died
                                        ▲
    Scheduler ◄─ Dask Worker ─► SlotThreads                     tasks of pool.client, each in a worker's place

Calls run before Dask is imported, and without it: the Worker joins when the pool's client is first used. The agent ends
when the server says so, when the link is gone, when its walltime is nearly over, or when the batch system sends
SIGTERM. Its own shutdown has a deadline: closing a Dask Worker may hang (seen in 2 of 20), and a job that hangs costs
until its walltime.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, assert_never

from jobpool.agent import binding
from jobpool.agent.cgroup import memory_limit
from jobpool.agent.checkpoints import Checkpointed, NoCheckpoint
from jobpool.agent.job_facts import JobFacts, parse_arguments
from jobpool.agent.reports import (
    CannotStart,
    Cut,
    Died,
    Done,
    Full,
    InitializerError,
    Remark,
    Report,
    Returned,
    Started,
)
from jobpool.agent.settings import WorkerSettings
from jobpool.agent.time_left import clock_note, process_age, seconds_left
from jobpool.agent.workers import Workers
from jobpool.core.scaling.walltime import notice
from jobpool.host.lifetime import end_within, run_process
from jobpool.host.private_directory import make_directory, open_directory
from jobpool.host.standstill import BEAT, Standstill
from jobpool.host.versions import versions
from jobpool.model.call import PLAIN, Call, CallOptions, Outcome
from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import InitializerFailed
from jobpool.model.job import JobKey
from jobpool.model.units import Duration
from jobpool.transport import tls
from jobpool.transport.link import KEPT, Link, Unreachable, in_parts, introduce
from jobpool.transport.malloc import reuse_memory

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["main"]

log = logging.getLogger("jobpool.agent")

CONNECT_FOR = 45.0
"""Seconds to try the server's addresses: a network that is late after a node's boot, a server under load. Below the
minute after which nothing of a pool that was killed may be left in the queue."""

END_WITHIN = 5.0
"""Seconds for a clean end; after them the process ends itself, and the batch system ends what is left."""

SILENT = 600.0
"""Seconds without a word of the server after which it counts as lost, though the connection stands: it was stopped, or
its host hangs. It asks every 30 s whether we live. A host that is dead is found after one minute (``farhost``)."""

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
        self._scratch: Path | None = None
        self._settings: dict[str, Any] = {}
        self._host = ""
        self._ahead = 0.0
        """Seconds of this node's clock before that of the server's host."""
        self._link: Link | None = None
        self._crew: Workers | None = None
        self._dask: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
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
        told = self._facts
        facts = {"job": tuple(self._job), "id": told.id, "node": told.node, "pid": os.getpid()}
        self._host, self._link, self._settings = await introduce(
            told.addresses,
            told.port,
            tls.client_context(told.pool),
            lambda: Link(self._hear, self._lost, kept=KEPT),
            ("agent", {**facts, "versions": versions()}),
            patience=CONNECT_FOR,
            # A pool that has ended in good order has taken its connection file away.
            wanted=(told.pool / "connection.json").exists,
        )
        log.info("server=%s port=%d answers", self._host, told.port)
        if stop := self._settings.get("stop"):
            log.error("job=%s is not wanted: %s", self._job, stop)
            self._stop(UNWANTED)
        else:
            self._ahead = time.time() - self._settings["time"]
        return not stop

    async def _serve(self) -> None:
        """Start the workers and tell the server that calls may come."""
        try:
            settings, notes = self._worker_settings()
            crew = Workers(settings, self._report)
            await crew.start()
            self._crew = crew  # from now on there is something to close
        except OSError as error:
            self._report(CannotStart(str(error)))
            self._stop(CANNOT_START)
            return
        clocks = (now := time.time()), now - self._ahead
        age = process_age() + self._facts.script_age
        walltime, began, ends = self._settings["walltime"], self._facts.began, self._facts.ends
        left = seconds_left(walltime, began=began, ends=ends, clocks=clocks, age=age)
        self._say("hello", {"workers": settings.size, "left": left})
        if left is not None:
            log.info("job=%s has %s left", self._job, Duration(round(left)))
            self._notice = notice(left)
            self._closing_time = asyncio.get_running_loop().call_later(left - self._notice, self._take_leave)
        for note in notes:
            self._say(*note)
        if late := clock_note(self._ahead):
            self._say("warning", late)
        if self._settings["dask_port"] is not None:
            self._join_dask(self._settings["dask_port"])
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
        self._say("suspended")

    def _go_on_soon(self) -> None:
        """Say that it goes on after a suspension that was too short to be noticed otherwise."""
        if self._suspended:
            self._go_on(0.0)

    def _go_on(self, seconds: float) -> None:
        """Put off what is due by the time in which this process stood still, and say that it goes on."""
        log.warning("job=%s goes on after %.0f s", self._job, seconds)
        self._heard += seconds
        if self._crew is not None:
            self._crew.put_off(seconds)
        if self._suspended and (closing_time := self._closing_time) is not None:
            # Only a suspension by the batch system extends the walltime; a person's SIGSTOP does not.
            closing_time.cancel()
            loop = asyncio.get_running_loop()
            self._closing_time = loop.call_at(closing_time.when() + seconds, self._take_leave)
        self._suspended = False
        self._say("went on", self._seconds_left())

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

    def _worker_settings(self) -> tuple[WorkerSettings, list[tuple[str, ...]]]:
        """Return what the workers are like, and a message with a sentence for each thing that could not be had."""
        asked, size = self._settings, self._settings["workers"]
        shares = binding.share_out(
            size=size,
            cores=asked["cores"],
            threads_per_core=asked["threads_per_core"],
            bind=asked["bind"],
            counted=self._facts.cpus,
        )
        place = open_directory(asked["log_directory"])
        logs = make_directory(f"{self._job.submission}-{self._job.element}", within=place)
        os.close(place)
        environment = binding.thread_environment(asked["cores"] * asked["threads_per_core"], asked["environment"])
        os.environ.update(environment)  # for tasks of pool.client, which run in this process
        settings = WorkerSettings(
            size=size,
            logs=logs,
            environment=environment,
            working_directory=asked["working_directory"],
            sys_path=tuple(asked["sys_path"]),
            initializer=asked["initializer"],
            max_tasks_per_child=asked["max_tasks_per_child"],
            cpus=shares.cpus,
            devices=binding.share_devices(os.environ, size=size, gpus=asked["gpus"]),
            memory=asked["memory"],
            max_memory_growth=asked["max_memory_growth"],
            log_level=asked["log_level"],
            umask=asked["umask"],
            notice=tuple(map(int, self._facts.notice)),
            step_variables=self._facts.step_variables,
        )
        memory = None if asked["memory"] is None else asked["memory"] * size
        site = f"workers are not bound to cores on {self._facts.cluster}"
        unbound = ("daily", site, shares.note) if shares.of_site else ("warning", shares.note)
        notes = [unbound, ("warning", binding.too_little_memory(memory, memory_limit()))]
        return settings, [note for note in notes if note[-1]]

    async def _close(self) -> None:
        if self._dask is not None:
            self._dask.cancel()
        if self._crew is not None:
            await self._crew.close(drain=False)
        if self._worker is not None:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._worker.close(timeout=1), timeout=2)
        if self._link is not None:
            self._link.close()
            await asyncio.wait([self._link.closed], timeout=1)  # the last words are sent
        self.delete_scratch()

    def delete_scratch(self) -> None:
        """Delete what Dask's Worker had on the disk."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        log.warning("job=%s got %s", self._job, name)
        if self._farewell is None:  # it may come twice, before and after the grace time of a preemption
            self._farewell = asyncio.create_task(self._say_farewell(name, 128 + number))

    async def _say_farewell(self, name: str, code: int) -> None:
        """End for a signal; before, calls may leave their checkpoints."""
        try:
            if self._crew is not None and not self._end.is_set():
                self._say("leaving", name, False)
                await self._crew.last_checkpoints(self._settings["grace"])
        finally:
            if self._crew is not None:
                self._crew.flush()  # nothing is heard after the last word
            self._say("bye", name)
            self._stop(code)

    def _take_leave(self) -> None:
        """End, now that the walltime is nearly over, after the calls that run; or after their checkpoints."""
        if self._crew is None or self._end.is_set():
            return
        self._crew.ask_for_checkpoints()
        self._leave_after_calls("walltime", "its walltime is nearly over")

    def _leave_after_calls(self, short: str, why: str) -> None:
        """End after the calls that run."""
        log.info("job=%s takes leave: %s", self._job, why)
        if self._leaving is None:
            self._say("leaving", short, True)
            self._leaving = asyncio.create_task(self._leave(why, drain=True))

    def _lost(self, link: Link, error: BaseException | None) -> None:
        # Also called for attempts at addresses that did not become the link.
        if link is self._link and not self._said_bye and not self._end.is_set():
            log.error("job=%s lost its server: %s", self._job, error or "the connection was closed")
            self._stop(LOST_SERVER)

    def _stop(self, code: int) -> None:
        if not self._end.is_set():
            self._code = code
            self._end.set()

    # ----------------------------------------------------------------------------------------------------------- Dask

    def _join_dask(self, port: int) -> None:
        if self._dask is None:
            self._dask = asyncio.create_task(self._be_dask_worker(port))
            self._dask.add_done_callback(self._joined_dask)

    def _joined_dask(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job=%s is no Dask Worker", self._job, exc_info=error)
            self._say("warning", f"pool.client has no Worker in this job: {error!r}")

    async def _be_dask_worker(self, port: int) -> None:
        assert self._crew is not None
        # A module that is not found would end the Worker.
        dask_side = await asyncio.to_thread(_import_dask, self._settings["sys_path"])
        self._scratch = Path(tempfile.mkdtemp(prefix="jobpool-"))
        while not self._end.is_set():
            self._worker = await dask_side.start_worker(
                f"tls://{self._host}:{port}",
                pool=self._facts.pool,
                job=self._facts.id,
                node=self._facts.node,
                workers=self._settings["workers"],
                scratch=self._scratch,
                crew=self._crew,
                slots_taken=lambda count: self._say("slots", count),
            )
            # client.restart() closes it, but the job is still there: it joins again.
            await self._worker.finished()

    # ---------------------------------------------------------------------------------------------------------- words

    def _say(self, *message: Any) -> None:
        if self._link is not None:
            self._link.send(*message)

    def _hear(self, link: Link, message: Any) -> None:
        crew = self._crew
        self._heard = time.monotonic()
        match message:
            case ("functions", functions) if crew is not None:
                crew.define(functions)
            case ("bundle", calls) if crew is not None:
                crew.submit([_call(*fields) for fields in calls])
            case ("retract", ids) if crew is not None:
                crew.retract(ids)
            case ("ping",):
                self._say("pong")
            case ("take back",) if crew is not None:
                crew.take_back()
            case ("dask", port) if crew is not None:
                self._join_dask(port)
            case ("stop", why, drain):
                log.info("job=%s stops why=%r drain=%s", self._job, why, drain)
                if self._leaving is None or not drain:
                    self._leaving = asyncio.create_task(self._leave(why, drain=drain))
            case _:
                log.error("job=%s heard something unknown: %r", self._job, message[:1])

    async def _leave(self, why: str, *, drain: bool) -> None:
        try:
            if drain and self._crew is not None:
                await self._crew.close(drain=True)
            self._said_bye = True
            self._say("bye", why)
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
            case Started(ids):
                self._say("started", list(ids))
            case Done(outcomes):
                for part in in_parts(outcomes, lambda outcome: len(outcome.payload) + len(outcome.log)):
                    self._say("done", [_plain(outcome) for outcome in part])
            case Returned(ids):
                self._say("returned", list(ids))
            case Cut(call, at):
                self._say("cut", call, at)
            case Died(call, death):
                self._say("died", call, {**asdict(death), "peak_memory": int(death.peak_memory)})
            case Full(text):
                self._say("remark", "full of files", f"a job ends early: {text}")
                self._leave_after_calls("its memory is full", text)
            case Remark(topic, text):
                self._say("remark", topic, text)
            case Checkpointed(call, payload):
                self._say("checkpoint", call, payload)
            case NoCheckpoint(words):
                self._say("warning", f"a call was asked for its checkpoint and left none: {words}")
            case CannotStart(text):
                self._say("trouble", f"no worker can be started on {self._facts.node}: {text}", None)
            case InitializerError(text):
                error = InitializerFailed(
                    "the initializer failed in a worker", job=self._facts.id, node=self._facts.node, tail=text
                )
                self._say("trouble", "the initializer failed", error.as_data())
            case _:
                assert_never(report)


def _import_dask(paths: Sequence[str]) -> ModuleType:
    from jobpool.transport import dask_config

    dask_config.extend_path(paths)
    dask_config.quiet_logging()
    return importlib.import_module("jobpool.agent.dask_worker")


def _call(id: int, function: str, payload: bytes, skip: int = 0, rows: int = 0, timeout: float | None = None) -> Call:
    terms = PLAIN if timeout is None else CallOptions(timeout=Duration(timeout))
    return Call(id, function, payload, "", skip, rows, terms)


def _plain(outcome: Outcome) -> tuple[Any, ...]:
    usage = outcome.usage
    plain = None if usage is None else (usage.wall, usage.cpu, int(usage.peak_memory), usage.threads)
    fields = outcome.call, outcome.ok, outcome.payload, plain, outcome.log, outcome.rows
    return (*fields, outcome.failures, outcome.words) if outcome.failures else fields
