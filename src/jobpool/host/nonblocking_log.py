"""What server and agent say of themselves is written by a thread: a file system that hangs must not stop their loop."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["log_aside"]

LAST_WORDS = 1.0
"""Seconds that the last lines may take to the file when the process ends."""


@contextmanager
def log_aside() -> Iterator[None]:
    """Send what this process logs to its stderr, which is a file that others read, without waiting for it."""
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
        # Not listener.stop(), which would wait for ever; nor in a thread, since there may be no more to be had.
        listener.enqueue_sentinel()
        if (writer := listener._thread) is not None:
            writer.join(LAST_WORDS)
