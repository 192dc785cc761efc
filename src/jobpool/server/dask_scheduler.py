"""Dask's Scheduler, the only file that knows it: it serves ``pool.client`` and carries none of the pool's calls."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler
from tornado.httputil import HTTPServerRequest
from tornado.web import ErrorHandler

from jobpool.transport import dask_config

__all__ = ["DaskScheduler"]

log = logging.getLogger("jobpool.server.dask_scheduler")


class DaskScheduler:
    """A Dask Scheduler, started when ``pool.client`` is first used, with all agents as its Workers."""

    def __init__(self, pool: Path) -> None:
        self._pool, self._token = pool, secrets.token_urlsafe(24)
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
        )
        _only_below(self._token, scheduler.http_application)
        await scheduler
        dask_config.limit_handshakes(scheduler)
        self.scheduler = scheduler
        return int(scheduler.port)

    async def forget(self, job: str, node: str, pid: int) -> None:
        """Let go of the Worker of an agent that is gone: its own connection may tell it minutes later."""
        name = dask_config.worker_name(job, node, pid)
        if self.scheduler is not None and (address := self.scheduler.aliases.get(name)) is not None:
            try:
                await self.scheduler.remove_worker(address, stimulus_id=f"jobpool-lost-{name}")
            except Exception:  # whatever Dask stumbles over, the pool's own calls go on
                log.exception("worker=%s cannot be removed", name)

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
