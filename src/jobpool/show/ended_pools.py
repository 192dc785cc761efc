"""What is known of a pool that does not run any more, from what its server wrote down (``server.journal``)."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from jobpool.host.home import read_file
from jobpool.model.errors import JobPoolError
from jobpool.model.run_record import RunRecord
from jobpool.model.status import Phase, PoolStatus

__all__ = ["died", "ended_well", "last_status", "read_record"]


def read_record(directory: Path) -> RunRecord:
    """Read what the server of a pool wrote down last. Raises ``JobPoolError`` when it left nothing."""
    try:
        record = RunRecord.from_data(json.loads(read_file(directory / "record.json")))
    except (OSError, ValueError, RecursionError):
        raise JobPoolError(
            f"the pool {directory.name!r} left no record of its run",
            log=str(directory / "server.log"),
            advice="a server writes the first one a second after it has begun",
        ) from None
    return replace(record, server_log=directory / "server.log")


def died(record: RunRecord) -> str:
    """Say what a record is worth whose server did not end in good order; empty when it did, or runs."""
    if record.over is not False:
        return ""
    return (
        "The server of this pool ended without a word: it was killed, its host went down, or it cannot be reached from "
        f"here. This is what it had written down at {_clock(record)}; what came after that is not known. Its log: "
        f"{record.server_log}"
    )


def ended_well(directory: Path) -> bool:
    """Say whether the pool came to its own end, as far as it was written down."""
    try:
        record = read_record(directory)
    except JobPoolError:
        return False
    return bool(record.over) and record.status is not None and record.status.phase == "finished"


def last_status(directory: Path, *, alive: bool) -> PoolStatus | None:
    """Return the last known status of a pool; None: there is none.

    Nothing goes on in it, so it has no rate. ``as_of`` says when it was written down.
    ``alive``: whether the server lives, as far as can be seen from here.
    """
    try:
        record = read_record(directory)
    except JobPoolError:
        return None
    status = record.status
    if status is None:
        return None
    phase: Phase = status.phase if record.over else "does not answer" if alive else "died"
    return replace(status, phase=phase, rate=None, left=None, as_of=record.ended_at)


def _clock(record: RunRecord) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.ended_at))
