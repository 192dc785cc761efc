"""How many descriptors this process may have: as many as the system lets it, and its commands as many as before.

A connection takes one, so a server of a thousand jobs needs more than the usual soft limit of 1024. Batch systems hand
the limits of a submit command on to the jobs, where programs that know ``select(2)`` alone break above 1024.
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
    except (OSError, ValueError):  # a hard limit that the kernel itself does not give
        return
    _before = soft, hard


def give_back() -> Callable[[], None] | None:
    """Return what a command has to do before it begins, so that it gets the limits that were there before."""
    return None if _before is None else functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, _before)


def most() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft
