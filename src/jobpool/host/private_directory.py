"""Creates, checks and opens private directories in places where other users may write, without race conditions.

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

__all__ = [
    "JOB_ID",
    "is_closed_to_others",
    "make_directory",
    "make_fresh_directory",
    "open_directory",
    "open_log",
    "opened",
    "write_text",
]

JOB_ID = "job-id"
"""The file, beside the logs of a job's workers, in which its agent says what the batch system calls the job."""

_LINKS = 40
"""Maximum number of symbolic links in one path that Linux follows."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
"""If an access control list lets others write, the group's bit is set: it is the mask of the list."""


def open_directory(path: str | Path) -> int:
    """Open a directory that belongs to this user, that no other user may write, and that is no link; return the
    descriptor.

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
        if close_to_others and mode & 0o077:
            # By an access control list that it inherits, whatever the mode says (NFSv4).
            os.fchmod(descriptor, mode & ~0o077)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & (0o077 if close_to_others else _OTHERS_WRITE):
            raise PermissionError(errno.EPERM, f"it is open to other users (mode {mode:o})", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Path]:
    """Open a directory as ``open_directory`` does, and yield a path to it that no other user can redirect meanwhile."""
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
    """Make a directory that only this user can enter, unless it exists, and open it. Raises ``OSError``."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=within)
    return _open(name, within=within, close_to_others=True)


def make_fresh_directory(parent: Path, name: str) -> str:
    """Make a directory that only this user can enter, with this beginning of its name; return the name.

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
    """Open a log for reading and appending, readable by this user only, at its end. Raises ``OSError``."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=within)
    os.lseek(descriptor, 0, os.SEEK_END)  # the content is that of an earlier run of a requeued job
    return descriptor


def write_text(name: str, text: str, *, within: int) -> None:
    """Write a small file, readable by this user only, in the place of one of this name. Raises ``OSError``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=within), "w") as file:
        file.write(text)


def is_closed_to_others(directory: Path) -> bool:
    """Return whether a directory belongs to this user, is no link, and cannot be changed by others, nor the path to it.

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
        # A directory behind a link of this user is safe, but it cannot be opened by its name with O_NOFOLLOW.
        closed = closed and found.st_uid in ours and bool(ahead)
        target = entry.readlink()
        here = Path("/") if target.is_absolute() else here
        ahead += _parts(target)
    return closed and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _parts(path: PurePath) -> list[str]:
    """Return the parts of a path without its root, in reverse order."""
    return [part for part in reversed(path.parts) if part != path.anchor]


def _refuse_if_open_to_all(directory: Path, mode: int) -> None:
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"every user can replace what is in {directory} (mode {stat.S_IMODE(mode):o}, without the sticky bit)",
            advice=f"chmod +t {directory}, or choose a directory to which not all users can write",
        )
