"""What the Dask side of the server and of the agents has in common: keys and settings."""

from __future__ import annotations

import asyncio
import functools
import resource
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import dask

__all__ = ["extend_path", "limit_handshakes", "patience", "quiet_logging", "security", "settings", "worker_name"]

_PATIENCE = {"distributed.comm.timeouts.tcp": "10 minutes"}
"""For how long the other side of a connection may take nothing. Dask gives it to the kernel as ``TCP_USER_TIMEOUT``, so
it holds for a process that stands still and for a dead host alike; that a job's host is dead, the connection of its
agent tells after a minute (``jobpool.transport.peer_silence``)."""


def quiet_logging() -> None:
    """Keep Dask to warnings. Before ``distributed`` is imported: it sets up its logging then, from this."""
    levels = {"distributed": "warning", "bokeh": "error", "tornado": "error"}
    # Anybody could fill the log with handshakes that fail, a line for each.
    dask.config.set({"logging": {**levels, "distributed.comm.tcp": "error"}})


def security(pool: Path) -> Any:
    """Return Dask's view of this pool's keys, a ``distributed.Security``: nothing connects without them."""
    from distributed.security import Security

    key, certificate = str(pool / "key.pem"), str(pool / "cert.pem")
    return Security(
        require_encryption=True,
        tls_ca_file=str(pool / "ca.pem"),
        **{f"tls_{role}_{what}": path for role in ("scheduler", "worker", "client")
           for what, path in (("cert", certificate), ("key", key))},
    )  # fmt: skip


def extend_path(paths: Iterable[str]) -> None:
    """Append the client's entries of ``sys.path`` that exist here: Dask unpickles graphs and tasks in this process."""
    sys.path += [path for path in paths if path not in sys.path and Path(path).exists()]


def worker_name(job: str, node: str, pid: int) -> str:
    """Return the name under which an agent joins the Scheduler: its alone, also after its job was requeued."""
    return f"{job}@{node}:{pid}"


def patience() -> Any:
    """Return a context in which a client connects that has the patience of server and agents."""
    return dask.config.set(_PATIENCE)


MOST_UNPROVEN = 256
"""Connections at a Dask listener that have proved nothing yet, at most; a quarter of the descriptors where these are
few, as in the pool's own listener (``jobpool.server.listener``)."""

DEADLINE = 30.0
"""Seconds for the handshake at a Dask listener, which sets none itself."""


def limit_handshakes(server: Any) -> None:
    """Let a Dask server's listeners drop connections that do not prove to hold the key: anybody can open them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_UNPROVEN if soft == resource.RLIM_INFINITY else min(MOST_UNPROVEN, soft // 4)
    unproven: list[Any] = []

    def drop(stream: Any) -> None:
        if stream._ssl_accepting:  # tornado's own word for it, and the only one
            stream.close()

    async def guarded(handle: Callable[[Any, Any], Awaitable[None]], stream: Any, address: Any) -> None:
        unproven.append(stream)
        if len(unproven) > most:
            unproven[:] = [one for one in unproven if one._ssl_accepting and not one.closed()]
            for oldest in unproven[:-most]:
                oldest.close()
        timer = asyncio.get_running_loop().call_later(DEADLINE, drop, stream)
        try:
            await handle(stream, address)
        finally:
            timer.cancel()

    for listener in server.listeners:
        listener.tcp_server.handle_stream = functools.partial(guarded, listener.tcp_server.handle_stream)


def settings() -> dict[str, Any]:
    """Return the settings of Dask under which a pool works, for the server and for the agents alike."""
    return {
        # A log of the last thousand messages would keep a thousand payloads alive.
        "distributed.admin.low-level-log-length": 0,
        # Routes that answer without a token, and a profiler that samples a thread 100 times a second.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
        # The agent's memory is watched by our own meter; Dask would pause or restart it.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": False,
        # A graph's task that forks is as welcome as a call that does.
        "distributed.worker.daemon": False,
        "distributed.comm.require-encryption": True,
        **_PATIENCE,
        # Which Workers are gone is known from their agents; one that stands still does its tasks later.
        "distributed.scheduler.worker-ttl": None,
        # Losing a job is not a task's fault; how often a call may be lost is ours to say (core.recovery).
        "distributed.scheduler.allowed-failures": 10,
    }
