"""How a job has ended, by what the job history, or the row of an array's element, tells.

``substate`` says who ended it (91: somebody deleted it), ``Exit_status`` how: an exit code, 256 and the signal of the
last process, or a negative number of PBS's own.
"""

from __future__ import annotations

import re
import signal as signals
from contextlib import suppress

from jobpool.batch.pbs.answers import Row
from jobpool.model.job import Ending, EndingKind
from jobpool.model.units import Memory

__all__ = ["ending_of", "size"]

_DELETED = 91

_OWN = {
    -29: EndingKind.TIMED_OUT,
    **dict.fromkeys((-26, -27), EndingKind.OUT_OF_MEMORY),  # vmem, mem
    **dict.fromkeys((-24, -25, -28), EndingKind.FAILED),  # more CPUs, or CPU time, than were asked for
    **dict.fromkeys((-4, -5, -6, -7, -11, -20), EndingKind.NODE_FAILED),  # the MoM was restarted, or is lost
    **dict.fromkeys((-1, -2, -3, -10, *range(-19, -11), -21, -22, -23, -30), EndingKind.LAUNCH_FAILED),
}
"""PBS's own exit codes (JOB_EXEC_* in its ``job.h``). Seen are -3, -20, -27 and -29; the others are documented."""

_UNTOLD = "Subjob finished"
"""The comment of an array's elements when the array is deleted that had ended before, well or not, and of elements that
were deleted while they waited: all have substate 91 and Exit_status 1."""

_SIGNALLED = 256
_BY_SHELL = 128
_LAST_SIGNAL = 64


def ending_of(row: Row, source: str) -> Ending | None:
    """Return the ending that a row of a job tells that is over. None: it does not tell."""
    comment, code, substate = str(row.get("comment", "")), row.get("Exit_status"), row.get("substate")
    if comment == _UNTOLD:
        return None
    if not isinstance(code, int):
        return _cancelled(row, comment, source) if substate == _DELETED else None
    number = _signal(code)
    if code in _OWN:
        kind = _OWN[code]
    elif substate == _DELETED:
        kind = EndingKind.CANCELLED
    elif code == 0 and row.get("Stageout_status") == 0:
        # The log could not be brought to its place, or the job was to start where there is none: its end was 0.
        kind, comment = EndingKind.COMPLETED, f"{comment}; Stageout_status 0"
    else:
        kind = EndingKind.COMPLETED if code == 0 else EndingKind.FAILED
    return Ending(
        kind=kind,
        message=" ".join(word for word in (comment, f"Exit_status {code}") if word),
        exit_code=code if 0 <= code < _SIGNALLED and number is None else None,
        signal=number if kind in (EndingKind.FAILED, EndingKind.CANCELLED) else None,
        node=str(row.get("exec_host", "")).partition("+")[0].partition("/")[0] or None,
        limit=_limit(row, kind),
        used=size(str(row.get("resources_used", {}).get("mem", ""))) if kind is EndingKind.OUT_OF_MEMORY else None,
        source=source,
    )


def size(text: str) -> Memory | None:
    """Read ``100mb``, ``204800kb``, ``4gb``, a number of bytes, or of words (``2kw``, of 8 bytes)."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?)([bw]?)", text.strip(), re.IGNORECASE)
    if not match:
        return None
    factor = 2 ** {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}[match[2].lower()]
    return Memory(int(match[1]) * factor * (8 if match[3].lower() == "w" else 1))


def _cancelled(row: Row, comment: str, source: str) -> Ending:
    """Return the ending of a job that was deleted while it waited: it has no exit code."""
    return Ending(
        kind=EndingKind.CANCELLED, message=comment or "deleted while it was waiting (substate 91)", source=source
    )


def _signal(code: int) -> int | None:
    """Return the signal of 271 (256 + 15), or of 139 (128 + 11): so the login shell says it (seen)."""
    for base in (_SIGNALLED, _BY_SHELL):
        if base < code <= base + _LAST_SIGNAL:
            with suppress(ValueError):
                return int(signals.Signals(code - base))
    return None


def _limit(row: Row, kind: EndingKind) -> str | None:
    name = {EndingKind.TIMED_OUT: "walltime", EndingKind.OUT_OF_MEMORY: "mem"}.get(kind)
    asked = row.get("Resource_List", {})
    return None if name is None or name not in asked else str(asked[name])
