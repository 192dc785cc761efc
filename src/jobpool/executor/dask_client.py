"""``pool.client``: a client of Dask on the pool's workers."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from jobpool.executor.connection import Connection
from jobpool.host.home import PoolDirectory
from jobpool.serialize.pickling import register_own_modules
from jobpool.transport.messages.client import StartDask

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskClient"]


class DaskClient:
    """The part of a pool for users of Dask. Dask is loaded when they use it."""

    _connection: Connection
    _directory: PoolDirectory
    _lock: threading.Lock
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """A ``dask.distributed.Client`` on the pool's workers. The pool requests jobs as the client's tasks need
        them."""
        register_own_modules()  # then Dask, too, pickles their functions and classes by value
        if self._client is None:
            from distributed import Client

            from jobpool.transport import dask_config

            port = self._connection.ask(StartDask(dashboard=False)).port
            with dask_config.patience():
                self._client = Client(
                    f"tls://{self._connection.host}:{port}",
                    security=dask_config.security(self._directory.path),
                    set_as_default=False,
                )
        return self._client

    @property
    def dashboard_link(self) -> str | None:
        """The address of Dask's dashboard, for this user's browser only: its path is a secret. None: without bokeh.

        On a JupyterHub it goes through ``/proxy/PORT``; elsewhere it is on this host's loopback (``ssh -L PORT:...``).
        """
        dashboard = self._connection.ask(StartDask(dashboard=True)).dashboard
        if dashboard is None:
            return None
        port, path = dashboard
        prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        return f"{prefix.rstrip('/')}/proxy/{port}{path}" if prefix else f"http://127.0.0.1:{port}{path}"

    def _close_client(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=2)
