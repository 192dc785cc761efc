"""Lets a thread write the log of server and agent, so that a file system that hangs does not stop their event loop."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["log_in_thread"]

LAST_WORDS = 1.0
"""Seconds in which the last lines must be written when the process ends."""


@contextmanager
def log_in_thread() -> Iterator[None]:
    """Log to this process's stderr, which is a file, without waiting for it."""
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    writing = logging.StreamHandler(sys.stderr)
    writing.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    listener = logging.handlers.QueueListener(lines, writing)
    logging.root.addHandler(logging.handlers.QueueHandler(lines))
    logging.root.setLevel(logging.INFO)
    listener.start()
    try:
        yield
    finally:
        # Not listener.stop(), which may wait for ever; and not in a thread, since the system may refuse to start one.
        listener.enqueue_sentinel()
        if (writer := listener._thread) is not None:
            writer.join(LAST_WORDS)
