"""Directories of the user's own in places where others may write: made, checked and opened so that nobody gets between.

Members of a group that may write a folder can exchange what lies in it at any time. So a directory is known by its
owner, asked of the opened descriptor, and what is in it is opened relative to that descriptor, never through a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from jobpool.model.errors import ConfigError

__all__ = ["is_closed_to_others", "make_directory", "make_fresh_directory", "open_directory", "open_log", "opened"]

_LINKS = 40
"""Symbolic links on one way that Linux follows at most."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
"""An access control list that lets others write shows in the group's bit: it is the list's mask."""


def open_directory(path: str | Path) -> int:
    """Open a directory of this user's own that nobody else may write, and no link to one; return the descriptor.

    Raises ``OSError``.
    """
    return _open(path)


def _open(path: str | Path, *, within: int | None = None, close_to_others: bool = False) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise OSError(error.errno, "it was a directory, and is a link or a file now", str(path)) from error
        raise
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"it belongs to another user (uid {status.st_uid})", str(path))
        mode = stat.S_IMODE(status.st_mode)
        if close_to_others and mode & 0o077:  # by a list that the folder around it hands on, whatever the mode (NFSv4)
            os.fchmod(descriptor, mode & ~0o077)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & (0o077 if close_to_others else _OTHERS_WRITE):
            raise PermissionError(errno.EPERM, f"it is open to others (mode {mode:o})", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Path]:
    """Open a directory as ``open_directory`` does, and give a path to it that nobody can lead elsewhere meanwhile."""
    descriptor = open_directory(directory)
    try:
        path = Path(f"/proc/self/fd/{descriptor}")
        yield path if path.exists() else directory  # not Linux
    except OSError as error:
        if isinstance(error.filename, str):
            error.filename = str(directory / Path(error.filename).name)
        raise
    finally:
        os.close(descriptor)


def make_directory(name: str, *, within: int) -> int:
    """Make a directory that only this user can enter, unless it is there, and open it. Raises ``OSError``."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=within)
    return _open(name, within=within, close_to_others=True)


def make_fresh_directory(parent: Path, name: str) -> str:
    """Make a directory that only this user can enter, under a name that begins so; return the name.

    Raises ``OSError``, also where the file system keeps none closed to others.
    """
    name = f"{name}-{secrets.token_hex(4)}"
    within = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.mkdir(name, 0o700, dir_fd=within)
        try:
            os.close(make_directory(name, within=within))
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=within)
            raise
    finally:
        os.close(within)
    return name


def open_log(name: str, *, within: int) -> int:
    """Open a log that several processes append to, readable too, for the user alone, at its end. Raises ``OSError``."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=within)
    os.lseek(descriptor, 0, os.SEEK_END)  # what is there is of a run before: of a job that was requeued
    return descriptor


def is_closed_to_others(directory: Path) -> bool:
    """Say whether a directory is this user's own, no link, and neither it nor the way to it can be changed by others.

    Raises ``ConfigError`` where anybody at all could exchange it, or has put a link into the way; ``OSError`` when the
    way leads nowhere.
    """
    ours = (0, os.geteuid())
    here, ahead, links, closed = Path("/"), _parts(directory.absolute()), 0, True
    while True:
        status = here.stat()
        _refuse_if_open_to_all(here, status.st_mode)
        kept = not status.st_mode & _OTHERS_WRITE or status.st_mode & stat.S_ISVTX
        if not ahead:
            break
        closed = closed and status.st_uid in ours and bool(kept)
        name = ahead.pop()
        entry = here.parent if name == ".." else here / name
        found = entry.lstat()
        if not stat.S_ISLNK(found.st_mode):
            here = entry
            continue
        if found.st_uid not in (*ours, status.st_uid):
            raise ConfigError(
                f"{entry} is a link that another user has made (uid {found.st_uid})",
                advice="others may lead it elsewhere at any time: name the place where it leads to",
            )
        if (links := links + 1) > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(directory))
        # What is reached by a link of one's own is safe, and yet no place of which a descriptor is opened by its name.
        closed = closed and found.st_uid in ours and bool(ahead)
        target = entry.readlink()
        here = Path("/") if target.is_absolute() else here
        ahead += _parts(target)
    return closed and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _parts(path: PurePath) -> list[str]:
    """Return the parts of a path but its root, the first one at the end."""
    return [part for part in reversed(path.parts) if part != path.anchor]


def _refuse_if_open_to_all(directory: Path, mode: int) -> None:
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"anybody can exchange what lies in {directory} (mode {stat.S_IMODE(mode):o}, without the sticky bit)",
            advice=f"chmod +t {directory}, or choose a directory that not all users may write",
        )
