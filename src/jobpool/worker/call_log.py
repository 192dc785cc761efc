"""Lets calls log to ``sys.stderr``, where their prints go, at the level of the client's root logger.

This is not done by a handler of the root logger: with a handler, ``basicConfig`` in the initializer, in a call or in a
module would do nothing. Python uses ``logging.lastResort`` while there is no handler, so that a user's configuration
replaces it.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["log_at"]


def log_at(level: int) -> None:
    """Log in this process, and in those that it forks, from this level on."""
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    logging.lastResort = handler
    logging.getLogger().setLevel(level)


class _ToStderr(logging.Handler):
    """Writes to the current ``sys.stderr``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - as in the standard library's handlers: logging must not fail a call
            self.handleError(record)
