"""The agent: the one process of a job that speaks with the server. It is a Dask Worker that owns a crew of workers.

::

    door (TLS, light) ── first words, settings ──┐
    Scheduler ── stream ── bundle, retract, stop ┼─► Agent ─► Crew ─► children
              ◄─ stream ── started, done, died ──┘       ▲
    pool.client's graph tasks ─► SlotThreads ─ a worker's place while they run ─┘

It ends when the server says so, when the connection is gone, or when the batch system sends SIGTERM. Its own shutdown
has a deadline: closing a Dask Worker may hang (seen in 2 of 20), and a job that hangs costs until its walltime.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from jobpool import tls, wire
from jobpool.core.events import JobKey, Outcome
from jobpool.errors import InitializerFailed
from jobpool.link import Link, LinkClosed, Unreachable, dial
from jobpool.model import Call
from jobpool.versions import versions
from jobpool.worker import binding
from jobpool.worker.crew import (
    CannotStart,
    Crew,
    Died,
    Done,
    InitializerError,
    Report,
    Returned,
    Started,
    WorkerSettings,
)

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["main"]

log = logging.getLogger("jobpool.agent")

CONNECT_FOR = 45.0
"""Seconds to try the server's addresses: a network that is late after a node's boot, a server under load. Below the
minute after which nothing of a pool that was killed may be left in the queue."""

END_WITHIN = 5.0
"""Seconds for a clean end; after them the process ends itself, and the batch system ends what is left."""

UNREACHABLE, UNWANTED, LOST_SERVER = 75, 76, 77
"""Exit codes (75 is sysexits.h's EX_TEMPFAIL); the words are in the job's log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job's agent to its end and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobpool.worker")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--submission", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--job-id", required=True)
    parser.add_argument("--address", action="append", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("distributed").setLevel(logging.WARNING)
    # Importing Dask takes 0.3 s, on a cold shared file system much longer: it begins before the server is asked.
    importing = threading.Thread(target=_import_dask, daemon=True)
    importing.start()
    code = asyncio.run(_serve(arguments, importing))
    logging.shutdown()
    # Threads of Dask tasks may run on for ever; nothing of value is left in this process.
    os._exit(code)


def _import_dask() -> None:
    from jobpool import dask_config

    dask_config.quiet_logging()
    importlib.import_module("jobpool.worker.dask_side")


async def _serve(arguments: argparse.Namespace, importing: threading.Thread) -> int:
    job = JobKey(arguments.submission, arguments.index)
    node = os.uname().nodename
    facts = {"job": tuple(job), "id": arguments.job_id, "node": node, "pid": os.getpid(), "versions": versions()}
    log.info("job=%s id=%s node=%s pid=%d begins", job, arguments.job_id, node, os.getpid())
    try:
        address, settings = await _introduce(arguments, facts)
    except (Unreachable, LinkClosed) as error:
        log.error("job=%s cannot reach the server: %s", job, error)
        return UNREACHABLE
    if "stop" in settings:
        log.error("job=%s is not wanted: %s", job, settings["stop"])
        return UNWANTED
    agent = Agent(job, arguments, settings)
    return await agent.run(f"tls://{address}:{settings['port']}", importing)


async def _introduce(arguments: argparse.Namespace, facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Find the server and hear what to do; keep trying for a while."""
    context = tls.client_context(arguments.pool)
    end = time.monotonic() + CONNECT_FOR
    while True:
        try:
            address, link = await dial(
                arguments.address, arguments.port, context, lambda: Link(lambda link, message: None)
            )
            break
        except Unreachable as error:
            # A pool that has ended in good order has taken its connection file away.
            if time.monotonic() > end or not (arguments.pool / "connection.json").exists():
                raise
            log.warning("%s", error)
            await asyncio.sleep(2)
    log.info("server=%s port=%d answers", address, arguments.port)
    settings: dict[str, Any] = await link.ask("agent", facts)
    link.close()
    return address, settings


class Agent:
    """The agent of one job."""

    def __init__(self, job: JobKey, arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
        self._job, self._id, self._pool = job, arguments.job_id, arguments.pool
        self._settings = settings
        self._scratch = Path(tempfile.mkdtemp(prefix="jobpool-"))
        self._crew = Crew(self._worker_settings(), self._report)
        self._worker: Worker | None = None
        self._unsaid: list[tuple[Any, ...]] = []
        """What there was to say before the connection was there: an initializer may fail before Dask is imported."""
        self._end = asyncio.Event()
        self._code = 0
        self._drain = False

    def _worker_settings(self) -> WorkerSettings:
        asked, size = self._settings, self._settings["workers"]
        threads = asked["cores"] * asked["threads_per_core"]
        shares = binding.share_out(
            size=size, cores=asked["cores"], threads_per_core=asked["threads_per_core"], bind=asked["bind"]
        )
        self._binding_note = shares.note
        logs = Path(asked["log_directory"]) / f"{self._job.submission}-{self._job.element}"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = binding.thread_environment(threads)
        os.environ.update(environment)
        return WorkerSettings(
            size=size,
            log_directory=logs,
            environment=environment,
            working_directory=asked["working_directory"],
            sys_path=tuple(asked["sys_path"]),
            initializer=asked["initializer"],
            max_tasks_per_child=asked["max_tasks_per_child"],
            cpus=shares.cpus,
            devices=binding.share_devices(os.environ, size=size, gpus=asked["gpus"]),
            umask=asked["umask"],
        )

    # ----------------------------------------------------------------------------------------------------------- life

    async def run(self, scheduler: str, importing: threading.Thread) -> int:
        """Serve until the end, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        # The children start while Dask is being imported.
        await self._crew.start()
        await asyncio.to_thread(importing.join)
        from jobpool.worker import dask_side

        self._worker = await dask_side.start_worker(
            scheduler,
            pool=self._pool,
            job=self._job,
            node=os.uname().nodename,
            pid=os.getpid(),
            workers=self._settings["workers"],
            scratch=self._scratch,
            crew=self._crew,
            slots_taken=lambda count: self._say("slots", count),
            on_message=self._hear,
            on_lost=self._lost,
        )
        self._say(
            "hello",
            {
                "id": self._id,
                "node": os.uname().nodename,
                "workers": self._settings["workers"],
                "pid": os.getpid(),
                "left": _seconds_left(),
            },
        )
        if self._binding_note:
            self._say("warning", self._binding_note)
        for message in self._unsaid:
            self._say(*message)
        await self._end.wait()
        _end_hard_after(END_WITHIN + (0.0 if not self._drain else 1.0), self._code, self._scratch)
        await self._close()
        return self._code

    async def _close(self) -> None:
        await self._crew.close(drain=False)
        if self._worker is not None:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._worker.close(timeout=1), timeout=2)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        log.warning("job=%s got %s", self._job, name)
        self._say("bye", name)
        self._stop(128 + number)

    def _lost(self) -> None:
        if not self._end.is_set():
            log.error("job=%s lost its server", self._job)
            self._stop(LOST_SERVER)

    def _stop(self, code: int) -> None:
        if not self._end.is_set():
            self._code = code
            self._end.set()

    # ------------------------------------------------------------------------------------------------------------ words

    def _say(self, *message: Any) -> None:
        if self._worker is None:
            self._unsaid.append(message)
            return
        from jobpool.worker import dask_side

        dask_side.send(self._worker, [bytes(frame) for frame in wire.pack(message)])

    def _hear(self, message: Any) -> None:
        match message:
            case ("functions", functions):
                self._crew.define(functions)
            case ("bundle", calls):
                self._crew.submit([Call(*fields) for fields in calls])
            case ("retract", ids):
                self._crew.retract(ids)
            case ("stop", why, drain):
                log.info("job=%s stops why=%r drain=%s", self._job, why, drain)
                asyncio.get_running_loop().create_task(self._leave(why, drain=drain))
            case _:
                log.error("job=%s heard something unknown: %r", self._job, message[:1])

    async def _leave(self, why: str, *, drain: bool) -> None:
        if drain:
            self._drain = True
            await self._crew.close(drain=True)
        self._say("bye", why)
        await asyncio.sleep(0)  # the last reports are in the stream's buffer before it closes
        self._stop(0)

    def _report(self, report: Report) -> None:
        match report:
            case Started(ids):
                self._say("started", list(ids))
            case Done(outcomes):
                self._say("done", [_plain(outcome) for outcome in outcomes])
            case Returned(ids):
                self._say("returned", list(ids))
            case Died(call, death):
                self._say(
                    "died",
                    call,
                    {
                        "exit_code": death.exit_code,
                        "signal": death.signal,
                        "out_of_memory": death.out_of_memory,
                        "peak_memory": int(death.peak_memory),
                        "tail": death.tail,
                    },
                )
            case CannotStart(text):
                self._say("trouble", f"no worker can be started on {os.uname().nodename}: {text}", None)
            case InitializerError(text):
                error = InitializerFailed(
                    "the initializer failed in a worker", job=self._id, node=os.uname().nodename, tail=text
                )
                self._say("trouble", "the initializer failed", error.as_data())
            case _:
                assert_never(report)


def _plain(outcome: Outcome) -> tuple[Any, ...]:
    usage = outcome.usage
    plain = None if usage is None else (usage.wall, usage.cpu, int(usage.peak_memory), usage.threads)
    return outcome.call, outcome.ok, outcome.payload, plain, outcome.log


def _seconds_left() -> float | None:
    """Return the seconds until the batch system ends the job, where it says so (SLURM since 22.05)."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    return None if end is None else max(0.0, float(end) - time.time())


def _end_hard_after(seconds: float, code: int, scratch: Path) -> None:
    def end() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


Hear = Callable[[Any], None]
