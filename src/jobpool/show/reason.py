"""Why a job waits: the batch system's word for it, and what that means."""

from __future__ import annotations

from jobpool.batch import registry

__all__ = ["explained"]


def explained(reason: str, system: str) -> str:
    """Return the reason with the batch system's explanation behind it, where there is one."""
    words = registry.explainer(system).explain_reason(reason)
    return f"{reason}: {words}" if words else reason
