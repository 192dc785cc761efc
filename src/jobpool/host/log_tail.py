"""Reads the end of a log."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["tail"]

TAIL = 4096
"""Bytes of a job's log that an error contains: about 40 lines, one screen."""


def tail(path: Path) -> str:
    """Return the end of a log, or an empty text if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= TAIL else text.partition("\n")[2]
