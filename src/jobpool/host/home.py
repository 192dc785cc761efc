"""The pool's directory: where its keys, its address and its logs are, readable by its owner only.

::

    ~/.jobpool/                 0700   ($JOBPOOL_HOME moves it, for sites whose home is not shared with the nodes)
      NAME/                     0700   one per pool
        ca.pem cert.pem key.pem 0600   this pool's own keys; deleted when the pool ends
        settings.pickle         0600   what the server was started with
        system                  0600   the batch system's name, for whoever has to clear up after a dead server
        connection.json         0600   where the server listens; there exactly while it runs
        submissions             0600   every name under which jobs were asked for, written before they are
        record.json             0600   what happened: for the report, also when the server is killed
        server.log logs/ local/        what the server and the jobs said; jobs of the local batch system
        exits/                  0700   jobs' own words on their ends, where the batch system forgets them at once

Everything is made with its final mode, never widened, never followed through a symbolic link: the directory may lie in
a place where other users look.
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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobpool.model.errors import ConfigError, JobPoolError

__all__ = ["Damaged", "PoolDirectory", "home", "read_file"]

log = logging.getLogger("jobpool.host.home")

KEEP_LOGS = 14 * 86400.0
"""Seconds that a dead pool's logs are kept: two weeks, time to come back from a holiday and ask what happened."""

STARTING = 300.0
"""Seconds that a server may need to start, on a cold shared file system."""

LARGEST = 64 * 2**20
"""Bytes of a file that is read as a whole: the record of a run with a million jobs."""

_SECRETS = ("key.pem", "cert.pem", "ca.pem", "settings.pickle", "connection.json")


class Damaged(JobPoolError):
    """A file of a pool cannot be read or understood, so that nobody can tell from it whether the pool lives."""


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
        """Where the jobs' logs go, unless the user chose another place."""
        return self.path / "logs"

    @property
    def server_log(self) -> Path:
        """What the server said."""
        return self.path / "server.log"

    def last_words(self) -> str:
        """Return the last lines that the server said; empty when there are none."""
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
            raise ConfigError(f"name={name!r}: another pool of this name is being started just now") from None
        except OSError as error:
            raise ConfigError(
                f"the pool's directory cannot be made: {error}",
                advice="make room or set JOBPOOL_HOME to a directory that is shared with the compute nodes",
            ) from error
        return directory

    def _make_way(self) -> None:
        """Delete what a dead pool of this name left; refuse when it is not dead, or its jobs may live."""
        if self.alive():
            raise ConfigError(
                f"name={self.name!r}: a pool of this name is running already",
                advice=f"choose another name, or end it with: jobpool stop {self.name}",
            )
        if self.lines("submissions"):
            raise ConfigError(
                f"name={self.name!r}: a pool of this name died, and jobs of it may be in the queue",
                advice=f"remove them with: jobpool stop {self.name}",
            )
        check_private(self.path)
        self.retire()

    @classmethod
    def open(cls, name: str) -> PoolDirectory:
        """Find the directory of a pool that exists. Raises ``JobPoolError`` when there is none."""
        path = home() / name
        # Names as pools have them only: "jobpool stop .." must not take somebody's key.pem for a dead pool's.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,254}", name) or not path.is_dir():
            raise JobPoolError(f"there is no pool named {name!r} in {home()}", advice="see: jobpool list")
        check_private(path)
        return cls(path)

    @classmethod
    def all(cls) -> Iterator[PoolDirectory]:
        """Yield the directories of all pools of this user, living and dead, oldest first.

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
        """Write a file (0600) so that a reader sees all of it or nothing."""
        target, draft = self.path / name, self.path / f".{name}.{os.getpid()}"
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
            if os.write(descriptor, whole) < len(whole):  # the disk is full: the next line must not join half a one
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / name))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self, name: str) -> list[str]:
        """Return the whole lines of a file; a last one that was cut off by a crash is left out.

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
        """Return where the server listens, or None when no server has said so.

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
                # To a kernel 0 and below mean groups of processes, or all.
                if pid > 0 and all(isinstance(address, str) for address in addresses):
                    return dict(found)
        raise self._damaged("connection.json", "it does not say where a server is")

    def _damaged(self, name: str, why: object) -> Damaged:
        words = why.strerror if isinstance(why, OSError) and why.strerror else why
        end = f"if no pool {self.name} runs any more"
        return Damaged(
            f"whether the pool {self.name!r} runs is not known: {self.path / name} cannot be read: {words}",
            advice=f"{end}, delete this file; then remove what is left of it with: jobpool stop {self.name}"
            if name == "connection.json"
            else f"{end}, and no job of it is in the queue, delete {self.path}",
        )

    # ---------------------------------------------------------------------------------------------------- while it runs

    def remember(self) -> None:
        """Remember whose directory this is, by its certificate, which no other pool has."""
        self._certificate = read_file(self.path / "cert.pem")

    @property
    def replaced(self) -> bool:
        """Whether there is another pool's directory now in the place of the one that was remembered."""
        try:
            return self._certificate is not None and read_file(self.path / "cert.pem") != self._certificate
        except OSError:
            return False

    def loss(self) -> str:
        """Say why no new job could work with this directory any more; empty when it is whole.

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
        """Say whether the server may be running. Raises ``Damaged`` when that cannot be told.

        A server on another host counts as running while its connection file is there: from here nobody can tell.
        One that is being started has no connection file yet, but fresh settings.
        """
        connection = self.connection()
        if connection is None:
            return self._being_started()
        if connection["host"] != os.uname().nodename:
            return True
        return bool(process_started(connection["pid"]) == connection["started"])

    def _being_started(self) -> bool:
        try:
            begun = (self.path / "settings.pickle").stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            # Made a moment ago, and nothing is in it yet? One whose start failed has a log.
            if self.server_log.exists():
                return False
            begun = _age(self.path)
        return _time_there() - begun < STARTING

    def retire(self, *, keep_logs: bool = False) -> None:
        """Delete what a pool that has ended leaves: its keys always, its logs unless they are to be kept."""
        if self.replaced:
            return
        for name in _SECRETS:
            try:
                (self.path / name).unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:  # the others must go all the same
                log.warning("%s cannot be deleted: %s", self.path / name, error.strerror)
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def sweep(cls) -> list[Damaged]:
        """Delete the keys of pools that are dead, and their logs when nobody asked for them in two weeks.

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
        # By both clocks: that of the file system is asked for only where something would be deleted.
        age = _age(self.path)
        return time.time() - age > KEEP_LOGS and _time_there() - age > KEEP_LOGS


def process_started(pid: int) -> int | None:
    """Return when this process started, in clock ticks since boot, or None when there is no such process.

    With the pid it names one process for ever: a pid alone may be somebody else's by now.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def read_file(path: Path) -> bytes:
    """Read a file as a whole, if it is one: a pipe in its place would be waited for, a huge one fill the memory.

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
    """Let one process at a time make a directory: two pools of one name would clear away each other's as a dead one."""
    descriptor = os.open(home() / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with contextlib.suppress(OSError):  # some cluster file systems have no locks: there the small risk stays
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # deleted just now
        return 0.0


def _is_pool(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and Path(entry.path, "logs").is_dir()
    except OSError:  # it cannot be looked into: whoever asks more of it is told why
        return True


def _time_there() -> float:
    """Return the time by the clock that files get theirs from: a file server's may be minutes off this host's."""
    try:
        with tempfile.TemporaryFile(dir=home()) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # nothing can be written there, so nothing will be deleted either
        return time.time()
