"""Options of a call, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.model.request import Retry
from jobpool.model.units import Duration

__all__ = ["PLAIN", "CallOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Options of a call, wherever it runs."""

    timeout: Duration | None = None
    """How long the call may run. Then its worker is killed."""
    expected_time: Duration | None = None
    """How long the call is expected to run. It is not started in a job that has less time left."""
    retry: Retry | None = None
    """None: the pool's."""


PLAIN = CallOptions()
"""The options of calls for which none were given."""
