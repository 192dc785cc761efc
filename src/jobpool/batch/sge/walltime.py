"""Times as qsub reads them: seconds, ``M:S``, ``H:M:S``; a field may be empty."""

from __future__ import annotations

import re

from jobpool.batch.sge.fields import time
from jobpool.model.units import Duration

__all__ = ["read_walltime"]


def read_walltime(text: str) -> Duration:
    """Read a time in one of these forms, or with units (``5 h``). Raises ``ValueError``."""
    if re.fullmatch(r"\s*(\d{1,9}|(\d{0,9}:){1,2}\d{0,9})\s*", text) and (found := time(text)) is not None:
        return Duration.parse(float(found))
    return Duration.parse(text)
