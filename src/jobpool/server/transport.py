"""The only file that knows Dask's Scheduler: it carries our messages to the agents and serves ``pool.client``.

An agent is a Dask Worker. Our bundles are not tasks of a Dask graph: they travel as messages on the stream that each
Worker holds to its Scheduler, under an operation of our own, with its TLS, its heartbeats and its end (``AgentLeft``).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.httputil import HTTPServerRequest
from tornado.web import ErrorHandler

from jobpool import dask_config, wire
from jobpool.core.events import JobKey
from jobpool.dask_config import OPERATION

__all__ = ["Transport"]

log = logging.getLogger("jobpool.transport")


class Transport(SchedulerPlugin):  # type: ignore[misc]  # Dask is seen as Any
    """A Dask Scheduler with one more operation.

    ``on_message(job, message)`` gets what an agent sends, ``on_left(job, pid)`` tells that its connection ended.
    """

    def __init__(
        self,
        pool: Path,
        *,
        token: str,
        on_message: Callable[[JobKey, Any], None],
        on_left: Callable[[JobKey, int], None],
    ) -> None:
        self._pool, self._token = pool, token
        self._on_message, self._on_left = on_message, on_left
        self._addresses: dict[JobKey, str] = {}
        self._agents: dict[str, tuple[JobKey, int]] = {}
        self._dashboard = False
        self.scheduler: Scheduler | None = None

    async def listen(self, host: str | None) -> int:
        """Listen with TLS on ``host`` (None: all interfaces) and return the port."""
        dask.config.set(dask_config.settings())
        scheduler = Scheduler(
            host=host or "",
            protocol="tls",
            port=0,
            security=dask_config.security(self._pool),
            dashboard=False,
            # Loopback is not private: every page is below a path that only the key's holder knows.
            dashboard_address="127.0.0.1:0",
            http_prefix=f"/{self._token}",
            plugins=[self],
        )
        scheduler.stream_handlers[OPERATION] = self._receive
        _only_below(self._token, scheduler.http_application)
        await scheduler
        self.scheduler = scheduler
        return int(scheduler.port)

    def send(self, job: JobKey, *message: Any) -> bool:
        """Send a message to a job's agent. False: it is not connected (any more)."""
        assert self.scheduler is not None
        stream = self.scheduler.stream_comms.get(self._addresses.get(job, ""))
        if stream is None or stream.closed():
            return False
        stream.send({"op": OPERATION, "frames": [bytes(frame) for frame in wire.pack(message)]})
        return True

    def _receive(self, worker: str, frames: list[bytes]) -> None:
        assert self.scheduler is not None
        state = self.scheduler.workers.get(worker)
        if state is None:  # removed while its last messages were on their way
            return
        job, pid = dask_config.agent_of(state.name)
        self._addresses[job], self._agents[worker] = worker, (job, pid)
        unpacker = wire.Unpacker()
        for frame in frames:
            for message in unpacker.feed(frame):
                self._on_message(job, message)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Notice that an agent's connection ended (Dask calls this)."""
        if worker in self._agents:
            job, pid = self._agents.pop(worker)
            if self._addresses.get(job) == worker:  # not so when the requeued job's new agent is here already
                del self._addresses[job]
            self._on_left(job, pid)

    def graph_tasks(self) -> int:
        """Count the tasks of Dask graphs that wait for a worker or run now."""
        if self.scheduler is None:
            return 0
        waiting = len(self.scheduler.queued) + len(self.scheduler.unrunnable)
        return waiting + sum(len(worker.processing) for worker in self.scheduler.workers.values())

    def dashboard(self) -> tuple[int, str] | None:
        """Start the dashboard if it is not there, and return its port on loopback and its path. None: no bokeh.

        It is started on demand, because bokeh takes a second to import.
        """
        assert self.scheduler is not None
        if not self._dashboard:
            try:
                from distributed.dashboard.scheduler import connect
            except ImportError:
                return None
            connect(
                self.scheduler.http_application, self.scheduler.http_server, self.scheduler, prefix=f"/{self._token}"
            )
            self._dashboard = True
        return int(self.scheduler.http_server.port), f"/{self._token}/status"


def _only_below(token: str, application: Any) -> None:
    """Answer 404 to every request whose path does not begin with the token: Dask's "/" would redirect to it."""
    find_handler = application.find_handler

    def find_handler_below(request: HTTPServerRequest, **kwargs: Any) -> Any:
        if secrets.compare_digest(request.path.split("/")[1].encode() if "/" in request.path else b"", token.encode()):
            return find_handler(request, **kwargs)
        return application.get_handler_delegate(request, ErrorHandler, {"status_code": 404})

    application.find_handler = find_handler_below
