"""Numbers with bounds, for the fields of messages: a number beyond them makes a message that nobody says.

All processes of a pool hold the same key, so this is no guard against an enemy but one against mistakes: a count of -3
would be subtracted where it should be added, and would end a pool much later and for no reason that anybody could find.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

__all__ = [
    "LONGEST",
    "MOST_ROWS",
    "MOST_SLOTS",
    "Byte",
    "Count",
    "Level",
    "Mode",
    "Number",
    "Port",
    "Rows",
    "Seconds",
    "SignalNumber",
    "Slots",
]

MOST_ROWS = 1 << 10
"""Rows of one call at most: a client numbers maps in steps of this."""

MOST_SLOTS = 1 << 16
"""Workers of one job, or cores or GPUs of one of them, at most: no node has so many."""

LONGEST = 1e10
"""Seconds: three hundred years, so that a time since the epoch is below it, too."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""How many there are, how many bytes, or the id of a call."""

Rows = Annotated[int, Meta(ge=0, le=MOST_ROWS)]
"""Rows of one call, or a place among them."""

Slots = Annotated[int, Meta(ge=0, le=MOST_SLOTS)]
"""Workers of one job, or what each of them has of cores and GPUs."""

Seconds = Annotated[float, Meta(ge=0, le=LONGEST)]
"""A time span, or a time on a clock; neither infinite nor "not a number"."""

Port = Annotated[int, Meta(ge=1, le=65535)]
"""A port of TCP."""

SignalNumber = Annotated[int, Meta(ge=1, le=64)]
"""The number of a signal."""

Byte = Annotated[int, Meta(ge=0, le=255)]
"""What a process ends with."""

Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A number that the kernel gives: of a process, of an error, of a CPU."""

Mode = Annotated[int, Meta(ge=0, le=0o777)]
"""Permissions, as of a umask."""

Level = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
"""A level of ``logging``, which lets users have any number."""
