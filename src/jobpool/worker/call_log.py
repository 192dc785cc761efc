"""Where what calls log goes: to ``sys.stderr``, as what they print, at the level of the client's root logger.

Not by a handler of the root logger: with one there, a ``basicConfig`` of the initializer's, of a call or of a module
would do nothing. ``logging.lastResort`` is what is used while there is none, so whoever configures logging takes its
place.
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
    """Writes to whatever ``sys.stderr`` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - as in the standard library's handlers: what is logged must not fail a call
            self.handleError(record)
