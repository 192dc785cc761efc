"""What holds for a call wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.model.request import Retry
from jobpool.model.units import Duration

__all__ = ["PLAIN", "CallOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What holds for a call wherever it runs."""

    timeout: Duration | None = None
    """It may run so long; then its worker is killed."""
    expected_time: Duration | None = None
    """It is expected to run so long: it is not started where less time is left."""
    retry: Retry | None = None
    """None: the pool's own."""


PLAIN = CallOptions()
"""Of calls about which nothing was said."""
