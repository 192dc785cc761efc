"""What the Dask side of the server and of the agents has in common: keys and settings."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dask

__all__ = ["extend_path", "quiet_logging", "security", "settings"]


def quiet_logging() -> None:
    """Keep Dask to warnings. Before ``distributed`` is imported: it sets up its logging then, from this."""
    dask.config.set({"logging": {"distributed": "warning", "bokeh": "error", "tornado": "error"}})


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
        # Losing a job is not a task's fault; how often a call may be lost is ours to say (core.recovery).
        "distributed.scheduler.allowed-failures": 10,
    }
