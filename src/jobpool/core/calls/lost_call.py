"""A call that was at a job when the job was lost."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.core.recovery.decide import History
from jobpool.model.call_options import CallOptions

__all__ = ["LostCall"]


@dataclass(frozen=True, slots=True)
class LostCall:
    """A call that a lost job had."""

    id: int
    history: History
    started: bool
    share: float
    """The part of the job's serving time that this call ran, from 0 to 1."""
    items: int
    """The number of rows, of which at most one ran; 1 for a single call."""
    terms: CallOptions
