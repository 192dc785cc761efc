"""Times as sbatch reads them: minutes, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``."""

from __future__ import annotations

import re

from jobpool.model.units import Duration

__all__ = ["read_walltime"]

_SECONDS_OF_FIELDS = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}
"""What the fields of ``a:b:c`` count, by their number."""


def read_walltime(text: str) -> Duration:
    """Read a time in one of these forms, or with units (``5 h``). Raises ``ValueError``."""
    days, dash, clock = text.strip().rpartition("-")
    if not re.fullmatch(r"\d{1,9}(:\d{1,9}){0,2}", clock) or (dash and not re.fullmatch(r"\d{1,9}", days)):
        return Duration.parse(text)
    fields = [int(part) for part in clock.split(":")]
    sizes = (3600, 60, 1)[: len(fields)] if dash else _SECONDS_OF_FIELDS[len(fields)]
    seconds = sum(field * size for field, size in zip(fields, sizes, strict=True))
    return Duration.parse(seconds + int(days or 0) * 86400)
