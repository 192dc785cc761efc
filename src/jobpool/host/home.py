"""The pool's directory, with its keys, its address and its logs; only its owner can read it.

::

    ~/.jobpool/                 0700   ($JOBPOOL_HOME names another place, if nodes do not share the home)
      NAME/                     0700   one per pool
        ca.pem cert.pem key.pem 0600   this pool's own keys; deleted when the pool ends
        spec.msgpack            0600   what the server is started with
        system, submit_host     0600   the batch system's name, and the host where its commands run, if that is another
                                       one: to remove the jobs of a dead server
        connection.json         0600   where the server listens; exists only while the server runs
        submissions             0600   the name of every submission, written before the submit command runs
        record.json             0600   the record of the run, for the report, even if the server was killed
        server.log logs/ local/        logs of the server and the jobs; jobs of the local batch system
        exits/                  0700   exit files of the jobs, where the batch system forgets ended jobs at once

Every file is created with its final mode, and no symbolic link is followed: other users may have access to the
directory that contains this one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobpool.model.errors import ConfigError, JobPoolError

__all__ = ["Damaged", "PoolDirectory", "home", "read_file"]

log = logging.getLogger("jobpool.host.home")

KEEP_LOGS = 14 * 86400.0
"""Seconds that the logs of a dead pool are kept: two weeks."""

STARTING = 300.0
"""Seconds that a server may need to start, on a slow shared file system."""

LARGEST = 64 * 2**20
"""Maximum size in bytes of a file that is read as a whole: enough for the record of a million jobs."""

_SECRETS = ("key.pem", "cert.pem", "ca.pem", "spec.msgpack", "connection.json", "environment.sh")
"""The last one holds the variables of the pool's jobs (``batch.environment_file``)."""


class Damaged(JobPoolError):
    """A file of a pool cannot be read or understood, so that it is not known whether the pool runs."""


def home() -> Path:
    """Return the directory of all pools of this user."""
    # Absolute: the server and the jobs have working directories of their own.
    return Path(os.environ.get("JOBPOOL_HOME") or Path.home() / ".jobpool").absolute()


class PoolDirectory:
    """One pool's directory. Make it with :meth:`create`, find it with :meth:`open` or :meth:`all`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._certificate: bytes | None = None

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.path.name

    @property
    def logs(self) -> Path:
        """The directory of the jobs' logs, unless the user chose another one."""
        return self.path / "logs"

    @property
    def server_log(self) -> Path:
        """The server's log."""
        return self.path / "server.log"

    def last_words(self) -> str:
        """Return the last lines of the server's log; empty if there are none."""
        try:
            return "\n".join(read_file(self.server_log).decode(errors="replace").splitlines()[-10:])
        except OSError:
            return ""

    @classmethod
    def create(cls, name: str | None) -> PoolDirectory:
        """Make the directory of a new pool. ``None``: under a name that is free.

        Raises ``ConfigError`` when the name is in use by a living pool, or the place cannot be trusted or written.
        """
        try:
            _private_directory(home())
            if name is None:
                name = f"pool-{secrets.token_hex(4)}"
            directory = cls(home() / name)
            with _alone():
                if directory.path.exists():
                    directory._make_way()
                directory.path.mkdir(mode=0o700)
                directory.logs.mkdir(mode=0o700)
        except FileExistsError:
            raise ConfigError(f"name={name!r}: another pool of this name is starting now") from None
        except OSError as error:
            raise ConfigError(
                f"the pool's directory cannot be made: {error}",
                advice="make room or set JOBPOOL_HOME to a directory that is shared with the compute nodes",
            ) from error
        return directory

    def _make_way(self) -> None:
        """Delete the files of a dead pool of this name. Raise an error if it runs, or if its jobs may be in the
        queue."""
        if self.alive():
            raise ConfigError(
                f"name={self.name!r}: a pool of this name is running already",
                advice=f"choose another name, or end it with: jobpool stop {self.name}",
            )
        if self.lines("submissions"):
            raise ConfigError(
                f"name={self.name!r}: the server of a pool of this name died, and its jobs may still be in the queue",
                advice=f"remove them with: jobpool stop {self.name}",
            )
        check_private(self.path)
        self.retire()

    @classmethod
    def open(cls, name: str) -> PoolDirectory:
        """Find the directory of a pool that exists. Raises ``JobPoolError`` when there is none."""
        path = home() / name
        # Only names that a pool can have: "jobpool stop .." must not treat another directory as that of a dead pool.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,254}", name) or not path.is_dir():
            raise JobPoolError(f"there is no pool named {name!r} in {home()}", advice="see: jobpool list")
        check_private(path)
        return cls(path)

    @classmethod
    def all(cls) -> Iterator[PoolDirectory]:
        """Yield the directories of all pools of this user, running and dead, oldest first.

        Raises ``ConfigError`` when the directory of all of them cannot be read.
        """
        try:
            with os.scandir(home()) as entries:
                paths = [Path(entry.path) for entry in entries if _is_pool(entry)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ConfigError(f"{home()} cannot be read: {error.strerror}", advice="set JOBPOOL_HOME") from error
        yield from map(cls, sorted(paths, key=_age))

    # ------------------------------------------------------------------------------------------------------- contents

    def write(self, name: str, content: bytes) -> Path:
        """Write a file (0600) so that a reader sees either the whole file or no file."""
        # By the thread, too: submissions that are made at the same time have files in common.
        draft = self.path / f".{name}.{os.getpid()}.{threading.get_native_id()}"
        target = self.path / name
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return target

    def append(self, name: str, line: str) -> None:
        """Add a line to a file and wait until it is on the disk."""
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            whole, size = line.encode() + b"\n", os.fstat(descriptor).st_size
            if os.write(descriptor, whole) < len(whole):
                # The disk is full: the next line must not be joined to half a line.
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / name))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self, name: str) -> list[str]:
        """Return the complete lines of a file, without a last line that a crash has cut off.

        Raises ``Damaged`` when it is there and cannot be read.
        """
        try:
            text = read_file(self.path / name).decode()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from error
        return text.split("\n")[:-1]

    def connection(self) -> dict[str, Any] | None:
        """Return where the server listens, or None if no server has written it.

        Raises ``Damaged`` when what is there does not say it.
        """
        try:
            found = json.loads(read_file(self.path / "connection.json"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged("connection.json", error) from error
        match found:
            case {"host": str(), "pid": int(pid), "started": int() | None, "port": int(), "addresses": [*addresses]}:
                # For kill(2), numbers up to 0 mean groups of processes, or all processes.
                if pid > 0 and all(isinstance(address, str) for address in addresses):
                    return dict(found)
        raise self._damaged("connection.json", "it does not say where a server is")

    def _damaged(self, name: str, why: object) -> Damaged:
        words = why.strerror if isinstance(why, OSError) and why.strerror else why
        end = f"if no pool {self.name} runs any more"
        return Damaged(
            f"it is not known whether the pool {self.name!r} runs: {self.path / name} cannot be read: {words}",
            advice=f"{end}, delete this file; then remove what is left of it with: jobpool stop {self.name}"
            if name == "connection.json"
            else f"{end}, and no job of it is in the queue, delete {self.path}",
        )

    # ---------------------------------------------------------------------------------------------------- while it runs

    def remember(self) -> None:
        """Remember the certificate in this directory, which identifies the pool."""
        self._certificate = read_file(self.path / "cert.pem")

    @property
    def replaced(self) -> bool:
        """Whether the directory now belongs to another pool than the one that was remembered."""
        try:
            return self._certificate is not None and read_file(self.path / "cert.pem") != self._certificate
        except OSError:
            return False

    def loss(self) -> str:
        """Return why new jobs cannot use this directory any more; empty if it is complete.

        Raises ``FileNotFoundError`` when the place of all pools is not there: it may be mounted again.
        """
        if not self.path.is_dir():
            home().stat()
            return f"the pool's directory was deleted or moved while the pool ran: {self.path}"
        if self.replaced:
            return f"the pool's directory was replaced by another one while the pool ran: {self.path}"
        missing = [name for name in ("ca.pem", "cert.pem", "key.pem") if not (self.path / name).exists()]
        return f"the pool's keys were deleted while the pool ran: {self.path / missing[0]}" if missing else ""

    # ----------------------------------------------------------------------------------------------------------- life

    def alive(self) -> bool:
        """Return whether the server may be running. Raises ``Damaged`` if that is not known.

        A server on another host counts as running while its connection file is there: from here nobody can tell.
        One that is being started has no connection file yet, but a fresh ``spec.msgpack``.
        """
        connection = self.connection()
        if connection is None:
            return self._being_started()
        if connection["host"] != os.uname().nodename:
            return True
        return bool(process_started(connection["pid"]) == connection["started"])

    def _being_started(self) -> bool:
        try:
            begun = (self.path / "spec.msgpack").stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            # The directory may be new and still empty. If the start failed, there is a log.
            if self.server_log.exists():
                return False
            begun = _age(self.path)
        return _time_there() - begun < STARTING

    def retire(self, *, keep_logs: bool = False) -> None:
        """Delete the files of a pool that has ended: always its keys, and its logs unless they are to be kept."""
        if self.replaced:
            return
        for name in _SECRETS:
            try:
                (self.path / name).unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:  # go on: the other files must be deleted in any case
                log.warning("%s cannot be deleted: %s", self.path / name, error.strerror)
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def sweep(cls) -> list[Damaged]:
        """Delete the keys of dead pools, and their logs after two weeks.

        Pools with jobs that may still be in a queue are left alone: ``jobpool stop`` ends those. So are those that
        cannot be judged: they may live, and why they cannot is returned.
        """
        damaged = []
        for directory in cls.all():
            try:
                if not directory.alive() and not directory.lines("submissions"):
                    directory.retire(keep_logs=not directory._is_old())
            except Damaged as error:
                damaged.append(error)
        return damaged

    def _is_old(self) -> bool:
        # By both clocks: the clock of the file system is read only before something would be deleted.
        age = _age(self.path)
        return time.time() - age > KEEP_LOGS and _time_there() - age > KEEP_LOGS


def process_started(pid: int) -> int | None:
    """Return when this process started, in clock ticks since boot, or None if there is no such process.

    With the pid it names one process for ever: a pid alone may be somebody else's by now.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def read_file(path: Path) -> bytes:
    """Read a regular file as a whole. A pipe in its place would block, and a huge file would fill the memory.

    Raises ``OSError``, also for what is no file, or above 64 MiB.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        if status.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes", str(path))
        return file.read(status.st_size)  # not LARGEST, which would be allocated


def check_private(path: Path) -> None:
    """Raise ``ConfigError`` unless the directory is this user's own, no link, and closed to everybody else."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} must be a directory, not a link or a file", advice="remove it, or set JOBPOOL_HOME")
    if status.st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to another user (uid {status.st_uid})", advice="set JOBPOOL_HOME elsewhere")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):o}): it holds keys",
            advice=f"chmod 700 {path}",
        )


def _private_directory(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.mkdir(mode=0o700)
    check_private(path)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time make a directory: otherwise two new pools of one name could delete each other's."""
    descriptor = os.open(home() / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with contextlib.suppress(OSError):  # some cluster file systems have no locks: there the small risk remains
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted meanwhile
        return 0.0


def _is_pool(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and Path(entry.path, "logs").is_dir()
    except OSError:  # it cannot be read: whoever uses it gets the reason
        return True


def _time_there() -> float:
    """Return the time of the clock that sets the times of files: a file server's may differ by minutes from this
    host's."""
    try:
        with tempfile.TemporaryFile(dir=home()) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # nothing can be written there, so nothing will be deleted either
        return time.time()
