"""Lets a process that forwards large messages reuse the same memory for each.

glibc gives the memory of a large block back to the system when it is freed, and takes fresh pages for the next one,
which the kernel has to clear: that was two thirds of what it costs to take a message of 10 MB apart. Server and agent
keep some memory instead. Nothing here is for the processes of calls: their memory is the user's.
"""

from __future__ import annotations

import contextlib
import ctypes

from jobpool.transport.frames import SPARE

__all__ = ["reuse_memory"]

KEPT = 64 * 2**20
"""Bytes of free memory that malloc keeps, and as many bytes of buffers: several large messages."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_MMAP_THRESHOLD_MAX = 32 * 2**20
"""The largest value that glibc accepts."""


def reuse_memory() -> None:
    """Apply the settings to this process; malloc's only if it has them (musl has not)."""
    SPARE.limit = KEPT
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_MAX)
        mallopt(_M_TRIM_THRESHOLD, KEPT)
