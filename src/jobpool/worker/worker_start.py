"""What the fork-server hands to a worker that it has forked."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

__all__ = ["WorkerStart"]


class WorkerStart(NamedTuple):
    """What a worker process has when it begins."""

    server: int
    """The fork-server's pid. If the worker's parent has another pid, the fork-server has ended, and the worker ends
    too."""
    channel: socket.socket
    log: int
    page: int
    bell: socket.socket
    order: dict[str, Any]
    setup: dict[str, Any]
