"""What the fork-server hands to a worker that it has forked."""

from __future__ import annotations

import socket
from typing import NamedTuple

from jobpool.transport.messages.worker import Fork, ForkServerSetup

__all__ = ["WorkerStart"]


class WorkerStart(NamedTuple):
    """What a worker process has when it begins."""

    server: int
    """The fork-server's pid. If the worker's parent has another pid, the fork-server has ended, and the worker ends
    too."""
    channel: socket.socket
    log: int
    page: int
    wakeup: socket.socket
    order: Fork
    setup: ForkServerSetup
