"""The one loop of a pool: what happens is told to the core, what the core decides is carried out.

::

    clients ──channel──►┐                          ┌──► clients       (Resolve, Fail, TellStarted, Notice)
    agents ───channel──►├─ event ─► Core ─ actions ┼──► agents        (SendBundle, Retract, StopAgent)
    batch system ─shell►│                          └──► batch system  (SubmitJobs, Poll, Account, CancelJobs)
    clock ─────────────►┘

Nothing here decides. Everything runs in one event loop, so events never overlap; commands and slow files run beside it
and come back as events.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from jobpool.batch.base import BatchSystem
from jobpool.core import actions as act
from jobpool.core import events as e
from jobpool.core.record.advice import advise
from jobpool.core.steps.engine import Core
from jobpool.host.home import PoolDirectory, process_started
from jobpool.host.lifetime import end_within
from jobpool.host.log_tail import tail
from jobpool.model.errors import JobPoolError, PoolBroken, from_data
from jobpool.model.job import JobId
from jobpool.model.site import Limits
from jobpool.server import client_links
from jobpool.server.agent_links import GRACE_SHARE, AgentLinks
from jobpool.server.batch_client import BatchClient
from jobpool.server.call_kinds import CallKinds
from jobpool.server.core_settings import core_settings, with_partition
from jobpool.server.facts import PoolFacts
from jobpool.server.journal import Journal
from jobpool.server.listener import Listener
from jobpool.server.peers import HEARD, Peers
from jobpool.server.spec import Spec
from jobpool.transport.link import Link
from jobpool.transport.messages.agent import Retract, StopAgent, TakeBack
from jobpool.transport.messages.client import Broken, Bye, DaskAddress, JobOfCalls, Notice

if TYPE_CHECKING:
    from jobpool.server.dask_scheduler import DaskScheduler

__all__ = ["EventLoop"]

log = logging.getLogger("jobpool.server.event_loop")

STOPPING = 240.0
"""Seconds for a server that is told to end everything at once: a submit under way (60 s), cancelled jobs on their way
(60 s), and what is cleared up (100 s). After that it is stuck, and there may be nobody else to end it."""

LONELY = 30.0
"""Seconds that a new server waits for its first client, which connects at once or has died."""

WORTH_A_WORD = 60.0
"""Seconds that a pool must have lived for advice at its end: what is over in a moment needs none."""

GRAPH_CHECK = 0.25
"""Seconds between two looks at Dask's own queue; a look counts, it does not walk the tasks."""


class EventLoop:
    """One pool's server. ``finished`` is set when all is done; ``left`` are the jobs that could not be removed."""

    def __init__(self, directory: PoolDirectory, spec: Spec, system: BatchSystem, limits: Limits) -> None:
        asked, spec = spec, with_partition(spec, limits)
        self._directory, self._spec, self._system = directory, spec, system
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        settings = core_settings(directory, spec, system, limits)
        self._core = Core(settings=settings, now=self._loop.time())
        self._batch = BatchClient(directory, spec, system, self.tell, self._warn, limits)
        self._agents = AgentLinks(
            spec,
            self._batch.log_directory,
            self.tell,
            self._warn,
            self._core.suspended,
            grace=GRACE_SHARE * system.notices(limits).longest,
            confines_cores=system.capabilities.confines_cores,
        )
        self._clients = client_links.ClientLinks(self._agents.hold)
        self._facts = PoolFacts(directory, system.name, self._core, self._batch, self._loop.time)
        self._peers = Peers(
            self,
            self._clients,
            self._agents,
            self._batch,
            CallKinds(spec.settings, limits, self._batch.check, self._agents.functions),
            self._facts,
            has_job=lambda id: any(job.id == id for job in self._core.snapshot().jobs),
        )
        self._host: str | None = None
        self._listener: Listener | None = None
        self._scheduler: DaskScheduler | None = None
        self._dask: asyncio.Future[int] | None = None
        self.broken: JobPoolError | None = None
        """Why no call can run any more, if so."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._graph_tasks = 0
        self._next_waiting = 0.0
        self.journal = Journal(directory, self._facts.whole_record, self._loop.time())
        self.finished = asyncio.Event()
        self.left: tuple[JobId, ...] = ()
        self.crash: BaseException | None = None
        if spec is not asked and (chosen := spec.settings.request.partition) is not None:
            self._notice(f"partition='auto' took {chosen!r}, where the request fits and starts first", warning=False)
        if settings.trial is not None:
            sizes = ", ".join(f"{name}={getattr(settings.trial, name)}" for name in settings.auto)
            self._notice(f"the first calls run with {sizes}, and say what to ask for", warning=False)

    # ----------------------------------------------------------------------------------------------------------- life

    async def open(self) -> None:
        """Listen: from now on clients may connect. Raises ``OSError`` when there can be none."""
        addresses = self._addresses()
        # Jobs of this host alone need nothing that listens on the network.
        self._host = "127.0.0.1" if all(map(client_links.is_loopback, addresses)) else None
        self._listener, port = await client_links.listen(
            self._directory, self._host, lambda: Link(HEARD, self._peers.hear, self._closed)
        )
        self._batch.address = addresses, port
        self._directory.remember()
        self._write_connection(addresses, port)

    async def run(self) -> None:
        """Serve until all is done."""
        self.spawn(self._leave_if_lonely())
        self._set_timer()
        await self.finished.wait()
        if self._listener is not None:
            self._listener.close()

    async def say_bye(self) -> None:
        """Tell the clients that this is the end, which jobs are left, and what the run taught."""
        record = self._facts.record()
        lessons = advise(record) if record.seconds >= WORTH_A_WORD else []
        await self._clients.say_bye(Bye([str(id) for id in self.left], lessons[:3]))

    def _addresses(self) -> list[str]:
        if self._system.capabilities.loopback:
            return ["127.0.0.1"]
        return list(self._spec.settings.addresses) or client_links.addresses_of_this_host()

    def _write_connection(self, addresses: list[str], port: int) -> None:
        connection = {
            "addresses": addresses,
            "port": port,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "started": process_started(os.getpid()),
            "system": self._system.name,
        }
        self._directory.write("connection.json", json.dumps(connection).encode())

    async def _leave_if_lonely(self) -> None:
        await asyncio.sleep(LONELY)
        if not self._clients:
            self.stop("no client came")

    def stop(self, why: str) -> None:
        """End everything now: the running calls too."""
        log.info("stopping why=%r", why)
        end_within(STOPPING)
        self.tell(e.ShutdownAsked(self._loop.time(), cancel_waiting=True, kill=True))

    # -------------------------------------------------------------------------------------------------- event -> action

    def tell(self, event: e.Event) -> None:
        """Tell the core what happened, and carry out what it decides."""
        if not isinstance(event, e.Tick | e.Polled):
            self.journal.news = True
        try:
            for action in self._core.handle(event):
                self._carry_out(action)
        except Exception as error:
            log.exception("event=%s failed", type(event).__name__)
            self._give_up(error)
            return
        self._set_timer()

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.SendBundle(job, calls):
                self._agents.send_bundle(job, calls)
            case act.TellStarted(job, ids):
                self._clients.started(self._job_facts(job), ids)
            case act.Resolve(job, outcomes):
                self._clients.done(self._job_facts(job), outcomes)
            case act.TellAgain(ids):
                self._clients.again(ids)
            case act.Fail(ids, error, job):
                self.spawn(self._fail(ids, error, job), name="fail")
            case act.SubmitJobs(submission, request, count):
                self.spawn(self._batch.submit(submission, request, count))
            case act.Poll(names):
                self.spawn(self._batch.poll(names))
            case act.AskAccounting(names):
                self.spawn(self._batch.account(names))
            case act.CancelJobs(names, ids):
                self.spawn(self._batch.cancel(names, ids), name="cancel")
            case act.Retract(job, ids):
                self._agents.send(job, Retract(list(ids)))
            case act.TakeBack(job):
                self._agents.send(job, TakeBack())
            case act.StopAgent(job, why, drain):
                self._agents.send(job, StopAgent(why, drain))
            case act.BreakPool(error):
                self.broken = error
                self.spawn(self._break(error), name="fail")
            case act.Notice(text, warning):
                self._notice(text, warning=warning)
            case act.Finished(left):
                self.left = left
                self.spawn(self._finish())
            case _:
                assert_never(action)

    async def _finish(self) -> None:
        await self._failures_told()
        await self._ended("cancel")  # of jobs that may have come back, which nobody waits for
        self.finished.set()

    async def _break(self, error: JobPoolError) -> None:
        await self._failures_told()
        self._clients.tell_all(Broken(error.as_data()))

    async def _failures_told(self) -> None:
        """Wait for failures that still read a log's tail: what comes next would end their futures without it."""
        await self._ended("fail")

    async def _ended(self, name: str) -> None:
        this = asyncio.current_task()
        if pending := [task for task in self._tasks if task.get_name() == name and task is not this]:
            await asyncio.wait(pending, timeout=10)

    async def _fail(self, ids: tuple[int, ...], error: JobPoolError, job: e.JobKey | None) -> None:
        path = None if job is None else self._batch.log_path(job)
        if path is not None:
            text = await asyncio.to_thread(tail, path)
            error = from_data(error.as_data())  # the core may have given the same one to calls of other jobs
            error.details.setdefault("log", str(path))
            if text:
                error.details.setdefault("tail", text)
        self._clients.failed(ids, error)

    def _give_up(self, error: BaseException) -> None:
        self.crash = error
        end_within(STOPPING)
        broken = PoolBroken(f"the pool's server failed: {error!r}", log=str(self._directory.server_log))
        self._clients.tell_all(Broken(broken.as_data()))
        self.finished.set()

    def _warn(self, text: str) -> None:
        self._notice(text, warning=True)

    def _notice(self, text: str, *, warning: bool) -> None:
        self._facts.note(text, warning=warning)
        self._clients.tell_all(Notice(text, warning))

    def _job_facts(self, job: e.JobKey) -> JobOfCalls:
        hello, path = self._agents.hello(job), self._batch.log_path(job)
        id = self._batch.id_of(job) or (hello.id if hello else "")
        return JobOfCalls(str(id), hello.node if hello else "", None if path is None else str(path))

    # ------------------------------------------------------------------------------------------------------------ clock

    def _set_timer(self) -> None:
        wanted = self._core.next_tick()
        latest = self._loop.time() + (GRAPH_CHECK if self._scheduler is not None else 1.0)
        when = latest if wanted is None else min(wanted, latest)
        if self._timer is not None:
            if self._timer.when() <= when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        try:
            self._agents.look()
            self._tell_what_we_wait_for(now)
            self.journal.look(now)
            tasks = 0 if self._scheduler is None else self._scheduler.graph_tasks()
        except Exception as error:
            log.exception("the clock failed")  # and without a clock a pool would wait for ever
            self._give_up(error)
            return
        if tasks != self._graph_tasks:
            self._graph_tasks = tasks
            self.tell(e.DaskDemand(now, tasks))
        self.tell(e.Tick(now))

    def _tell_what_we_wait_for(self, now: float) -> None:
        if now < self._next_waiting:
            return
        self._next_waiting = now + 1.0
        status = self._facts.status()
        states = {job.state for job in status.jobs}
        waits = status.calls.waiting or ("suspended" in states and status.calls.running)
        if waits and "serving" not in states:
            self._clients.wait_for(status)

    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> None:
        """Run this beside the loop. Its failure is the pool's."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task=%s failed", task.get_name(), exc_info=error)
            self._give_up(error)

    def _closed(self, link: Link, error: BaseException | None) -> None:
        if self._scheduler is not None and link in self._agents:
            hello = self._agents.first_words(link)
            self.spawn(self._scheduler.forget(hello.id, hello.node, hello.pid))
        if self._peers.left(link, error) and not self.finished.is_set():
            self.stop("the client is gone")

    # ------------------------------------------------------------------------------------------------------------- Dask

    async def start_dask(self, *, dashboard: bool) -> DaskAddress:
        """Start Dask's Scheduler, if it does not run, and return where it is. Raises ``PoolBroken``."""
        if self._dask is None:
            self._dask = asyncio.ensure_future(self._listen_dask())
        try:
            port = await asyncio.shield(self._dask)
            assert self._scheduler is not None
            return DaskAddress(port=port, dashboard=self._scheduler.dashboard() if dashboard else None)
        except Exception as error:  # no threads, no keys any more: calls can do without
            log.exception("Dask cannot be used")
            if self._scheduler is None:
                self._dask = None  # the next one may try again
            raise PoolBroken(f"Dask's scheduler could not be started: {error}") from error

    async def _listen_dask(self) -> int:
        """Start the Scheduler and let the agents join it; return its port."""
        scheduler_class = await asyncio.to_thread(_import_dask, self._spec.sys_path)
        scheduler = scheduler_class(self._directory.path)
        port = await scheduler.listen(self._host)
        self._scheduler = scheduler
        self._agents.join_dask(port)
        return port


def _import_dask(paths: Sequence[str]) -> type[DaskScheduler]:
    # Importing Dask takes 0.3 s and 40 MB: only for those who use it.
    from jobpool.transport import dask_config

    dask_config.extend_path(paths)
    dask_config.quiet_logging()
    from jobpool.server.dask_scheduler import DaskScheduler

    return DaskScheduler
