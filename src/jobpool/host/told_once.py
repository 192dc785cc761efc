"""What this user was told before: a sentence that is true of a site, or of a file, need not come with each pool.

::

    ~/.jobpool/.told/   0700
        DIGEST          0600, empty: told once
        DIGEST.20422    told on this day, in days since 1970

A name that is made is the note: of several processes, also on several hosts, one makes it, and nothing is ever half
written. Where nothing can be written, the sentence is told again.
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
"""Notes that are kept. Above, the oldest half is deleted: it is told once more."""

DAY = 86400.0


def first_time(subject: str, *, daily: bool = False) -> bool:
    """Note that this is told now. False: it was told before or, with ``daily``, today (as UTC counts days)."""
    digest, note = _note(subject, daily=daily)
    place = home() / ".told"
    try:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        check_private(place)
        os.close(os.open(place / note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except Exception:  # noqa: BLE001 - an unreadable home, a full disk, a link in the way: better told twice than not
        return True
    with contextlib.suppress(OSError):
        _clean(place, digest, note)
    return True


def _note(subject: str, *, daily: bool) -> tuple[str, str]:
    digest = hashlib.sha256(subject.encode(errors="surrogateescape")).hexdigest()[:32]
    return digest, f"{digest}.{int(time.time() // DAY)}" if daily else digest


def _clean(place: Path, digest: str, note: str) -> None:
    """Delete the notes of earlier days, and the oldest of too many."""
    names = os.listdir(place)  # noqa: PTH208 - names are all that is needed
    old = [name for name in names if name.startswith(f"{digest}.") and name != note]
    if len(names) > MOST:
        names.sort(key=lambda name: (place / name).lstat().st_mtime)
        old += names[: MOST // 2]
    for name in old:
        with contextlib.suppress(FileNotFoundError):
            (place / name).unlink()
