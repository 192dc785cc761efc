"""One thing that the site does not allow."""

from __future__ import annotations

from dataclasses import dataclass

from jobpool.model.units import Duration, Memory

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the site does not allow."""

    setting: str
    """The keyword to change: ``walltime``, ``memory``, ..."""
    text: str
    """A sentence that says what is wrong and what would fit."""
    nearest: int | Duration | Memory | None = None
    """The nearest value of this setting that fits, where there is one."""

    def __str__(self) -> str:
        return self.text
