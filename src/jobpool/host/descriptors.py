"""Raises the limit of open descriptors of this process, and keeps the old limit for its commands.

Each connection needs a descriptor, so that a server of a thousand jobs needs more than the usual soft limit of 1024.
Batch systems pass the limits of a submit command to the jobs, where programs that use ``select(2)`` fail above 1024.
"""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable

__all__ = ["give_back", "most", "raise_limit"]

_before: tuple[int, int] | None = None


def raise_limit() -> None:
    """Raise this process's soft limit to its hard one."""
    global _before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # the kernel does not allow its own hard limit
        return
    _before = soft, hard


def give_back() -> Callable[[], None] | None:
    """Return a function for a command to call before it begins, which restores the old limits; None if there are
    none."""
    return None if _before is None else functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, _before)


def most() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
