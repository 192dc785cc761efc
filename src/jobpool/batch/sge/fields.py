"""How Grid Engine's commands write their answers: tables of ``name value``, sizes, times, lists, values by host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jobpool.model.units import Duration, Memory

__all__ = ["Fields", "blocks", "by_host", "count", "fields_of", "names", "size", "time"]

Fields = Mapping[str, str]

_NOTHING = frozenset({"", "NONE", "UNDEFINED", "INFINITY", "UNKNOWN", "-"})

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
    "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40,
}  # fmt: skip
"""Capital letters count by 1024 and small ones by 1000 (``sge_types(1)``); ``qacct`` writes ``525.938MB``."""


def fields_of(text: str) -> Fields:
    """Read ``name value``, one in a line; a line that ends in a backslash goes on in the next one."""
    found = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, *rest = line.split(None, 1) if line.strip() else ("",)
        if name and not name.startswith("#"):
            found[name] = rest[0].strip() if rest else ""
    return found


def blocks(text: str, first: str) -> Iterator[Fields]:
    """Read several tables, of which each begins with the field ``first``."""
    for part in re.split(rf"^(?={re.escape(first)}\s)", text, flags=re.MULTILINE):
        if part.startswith(first):
            yield fields_of(part)


def names(text: str) -> tuple[str, ...]:
    """Read ``a,b c``; empty for NONE."""
    return tuple(part for part in re.split(r"[,\s]+", text) if part and part not in _NOTHING)


def by_host(text: str) -> tuple[str, Mapping[str, str]]:
    """Read ``2,[node1=4],[@big=8]``: the value of all, and those of hosts and groups of hosts."""
    special = dict(re.findall(r"\[([^\]=]+)=([^\]]*)\]", text))
    return re.sub(r",?\s*\[[^\]]*\]", "", text).strip(), special


def size(text: str) -> Memory | None:
    """Read ``23.541G``, ``512M`` or bytes; None for no limit and for what is no size."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)([a-zA-Z]{0,2})", text.strip())
    if match is None or match[2] not in _UNITS:
        return None
    return Memory(int(float(match[1]) * _UNITS[match[2]]))


def time(text: str) -> Duration | None:
    """Read ``00:10:00``, ``300`` or ``5s``; None for no limit and for what is no time."""
    text = text.strip().removesuffix("s")
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?|(\d{0,9}:){1,2}\d{0,9}", text):
        return None
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part or 0)
    return Duration(seconds)


def count(text: str) -> int | None:
    """Read a whole number, ``2`` or ``2.000000``; None for anything else."""
    return int(match[1]) if (match := re.fullmatch(r"(\d{1,12})(?:\.0*)?", text.strip())) else None
