"""Remembers messages that this user has read: a message on a site, or on a file, is not repeated for each pool.

::

    ~/.jobpool/.told/   0700
        DIGEST          0600, empty: shown once
        DIGEST.20422    shown on this day, in days since 1970

An empty file is the note. Of several processes, also on several hosts, only one can create it, and it is never half
written. If the note cannot be written, the message is shown again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from jobpool.host.home import check_private, home

__all__ = ["first_time"]

MOST = 500
"""Maximum number of notes. Then the older half is deleted, and these messages are shown once more."""

DAY = 86400.0


def first_time(subject: str, *, daily: bool = False) -> bool:
    """Note that a message is shown now. Return False if it was shown before or, with ``daily``, today (in UTC)."""
    digest, note = _note(subject, daily=daily)
    place = home() / ".told"
    try:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        check_private(place)
        os.close(os.open(place / note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except Exception:  # noqa: BLE001 - an unreadable home, a full disk, a link: better shown twice than never
        return True
    with contextlib.suppress(OSError):
        _clean(place, digest, note)
    return True


def _note(subject: str, *, daily: bool) -> tuple[str, str]:
    digest = hashlib.sha256(subject.encode(errors="surrogateescape")).hexdigest()[:32]
    return digest, f"{digest}.{int(time.time() // DAY)}" if daily else digest


def _clean(place: Path, digest: str, note: str) -> None:
    """Delete the notes of earlier days, and the oldest if there are too many."""
    names = os.listdir(place)  # noqa: PTH208 - names are all that is needed
    old = [name for name in names if name.startswith(f"{digest}.") and name != note]
    if len(names) > MOST:
        names.sort(key=lambda name: (place / name).lstat().st_mtime)
        old += names[: MOST // 2]
    for name in old:
        with contextlib.suppress(FileNotFoundError):
            (place / name).unlink()
