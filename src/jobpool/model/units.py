"""Sizes and times with a unit that cannot be misread.

Batch systems disagree about units: SLURM's ``--mem=8G`` is 8 GiB, Dask's ``"8GB"`` is 8 * 10**9 bytes, SLURM's
``--time=90`` is minutes, PBS's is seconds. So a text without a clear unit is refused here, and nothing is guessed.
"""

from __future__ import annotations

import datetime
import math
import numbers
import re
from decimal import Decimal
from fractions import Fraction
from typing import Self

__all__ = ["Duration", "Memory"]

_BYTES = {
    "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_SECONDS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip

_LARGEST = 2**63
"""Bytes (8 EiB): what the signed 64-bit counters of kernels and batch systems can hold."""

_LONGEST = 100 * 366 * 86400
"""Seconds: a hundred years, longer than any batch system lets a job run; beyond it is a slip of the unit."""

_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)\s*")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")


class Memory(int):
    """A size in bytes that prints with a binary unit.

    >>> Memory.parse("8 GiB")
    Memory('8 GiB')
    >>> Memory.parse("8 GB").mebibytes
    7630
    """

    @classmethod
    def parse(cls, value: str | int) -> Self:
        """Read ``"8 GiB"`` (8 * 2**30), ``"8 GB"`` (8 * 10**9) or a whole number of bytes (NumPy's too).

        Raises ``ValueError`` for anything else, ``"8G"`` included: SLURM and Dask read it differently.
        """
        if isinstance(value, bool) or not isinstance(value, (str, numbers.Integral)):
            raise ValueError(f"a size is text with a unit, such as '8 GiB', not {value!r}")
        if not isinstance(value, str):
            return cls._within_bounds(int(value), value)
        match = _NUMBER_AND_UNIT.fullmatch(value)
        if not match:
            raise ValueError(f"{value!r} is not a size; write for example '8 GiB' or '500 MB'")
        number, unit = match.groups()
        if unit.lower() in ("k", "m", "g", "t"):
            letter = unit.upper()
            raise ValueError(
                f"{value!r} is ambiguous: write '{number} {letter}iB' (binary, as batch systems count) "
                f"or '{number} {letter}B' (decimal)"
            )
        if unit.lower() not in _BYTES:
            missing = "has no unit" if not unit else f"has the unknown unit {unit!r}"
            raise ValueError(f"{value!r} {missing}; write for example '8 GiB' or '500 MB'")
        # Exact: a float would change sizes above 2**53 bytes, and overflow on a long enough row of digits.
        return cls._within_bounds(math.ceil(Fraction(Decimal(number)) * _BYTES[unit.lower()]), value)

    @classmethod
    def _within_bounds(cls, size: int, value: object) -> Self:
        if size < 0:
            raise ValueError(f"a size cannot be negative: {value}")
        if size > _LARGEST:
            raise ValueError("a size of more than 8 EiB is not possible")
        return cls(size)

    @property
    def mebibytes(self) -> int:
        """The size in MiB, rounded up: the unit of most batch systems."""
        return -(-int(self) // 2**20)

    def __str__(self) -> str:
        for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            # Rounded first: one byte less than 1 GiB is "1 GiB", not "1024 MiB".
            if (count := round(int(self) / size, 2)) >= 1:
                return f"{_short(count)} {unit}"
        return f"{int(self)} B"

    def __repr__(self) -> str:
        return f"Memory('{self}')"


class Duration(float):
    """A time span in seconds that prints as people write it.

    >>> Duration.parse("1h 30min")
    Duration('1 h 30 min')
    >>> Duration.parse("1-12:00:00").minutes
    2160
    """

    @classmethod
    def parse(cls, value: str | float | datetime.timedelta) -> Self:
        """Read ``"5h"``, ``"1h 30min"``, ``"HH:MM:SS"``, ``"D-HH:MM:SS"``, a timedelta, or a number of seconds.

        Raises ``ValueError`` for anything else, ``"90"`` and ``"5:00"`` included: batch systems read them differently.
        """
        if isinstance(value, datetime.timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
            raise ValueError(f"a time is text with a unit, such as '5 h', not {value!r}")
        if not isinstance(value, str):
            return cls._within_bounds(value, value)
        text = value.strip()
        if clock := _CLOCK.fullmatch(text):
            days, hours, minutes, seconds = (Decimal(part or 0) for part in clock.groups())
            return cls._within_bounds(days * 86400 + hours * 3600 + minutes * 60 + seconds, text)
        return cls._within_bounds(_sum_of_parts(text), text)

    @classmethod
    def _within_bounds(cls, seconds: float | Decimal, value: object) -> Self:
        if not 0 <= seconds < math.inf:  # not-a-number fails here too
            raise ValueError(f"a time must be finite and not negative: {value}")
        if seconds > _LONGEST:
            raise ValueError("a time of more than a hundred years is not possible")
        return cls(float(seconds))

    @property
    def minutes(self) -> int:
        """The time in minutes, rounded up: SLURM's grain."""
        return math.ceil(self / 60)

    def clock(self) -> str:
        """The time as ``HH:MM:SS``, rounded up to a second (hours may pass 24)."""
        seconds = math.ceil(self)
        return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"

    def __str__(self) -> str:
        if round(self, 2) < 60:
            return f"{_short(float(self))} s"
        left, parts = round(self), []
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
            count, left = divmod(left, size)
            if count:
                parts.append(f"{count} {unit}")
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"Duration('{self}')"


def _sum_of_parts(text: str) -> Decimal:
    total, position = Decimal(0), 0
    while position < len(text) or not text:
        match = _NUMBER_AND_UNIT.match(text, position)
        if not match:
            raise ValueError(f"{text!r} is not a time; write for example '5 h', '90 min' or '1-12:00:00'")
        number, unit = match.groups()
        if unit.lower() not in _SECONDS:
            missing = "has no unit" if not unit else f"has the unknown unit {unit!r}"
            raise ValueError(f"{text!r} {missing}; write for example '5 h', '90 min' or '1-12:00:00'")
        total += Decimal(number) * _SECONDS[unit.lower()]
        position = match.end()
    return total


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
