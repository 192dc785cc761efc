"""How SLURM's commands write their answers: ``KEY=VALUE`` words, sizes, times, lists, and the words for "no limit"."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobpool.model.units import Duration, Memory

__all__ = ["Fields", "count", "fields_of", "mebibytes", "names", "pairs_of_lines", "time", "word"]

_UNLIMITED = frozenset({"", "UNLIMITED", "INFINITE", "NONE", "N/A", "(null)", "Unknown"})

Fields = Mapping[str, str]


def fields_of(line: str) -> Fields:
    """Split ``A=1 B=x=y`` of ``scontrol --oneliner``."""
    pairs = (text.partition("=") for text in line.split())
    return {name: value for name, equals, value in pairs if equals}


def pairs_of_lines(text: str) -> Fields:
    """Read ``Name = value``, one in a line."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def word(text: str) -> str | None:
    """Return the text, or None for a word that says that there is nothing."""
    return None if text in _UNLIMITED else text


def count(text: str) -> int | None:
    """Read a whole number; None for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def mebibytes(text: str) -> Memory | None:
    """Read a number of MiB. 0, which means no limit, is None."""
    number = count(text)
    return Memory(number * 2**20) if number else None


def names(text: str) -> tuple[str, ...]:
    """Read ``a,b``; empty for all, or none."""
    return () if text in _UNLIMITED or text == "ALL" else tuple(text.split(","))


def time(text: str) -> Duration | None:
    """Read ``1-00:00:00``, ``10:00`` or a number of minutes."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d\d)", text)
    if match:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return Duration(days * 86400 + hours * 3600 + minutes * 60 + seconds)
    minutes_only = count(text)
    return None if minutes_only is None else Duration(minutes_only * 60)
