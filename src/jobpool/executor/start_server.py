"""Starts the pool's server, and checks the log directory before."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from jobpool.host.home import PoolDirectory
from jobpool.host.private_directory import is_closed_to_others, make_fresh_directory
from jobpool.host.versions import python_path
from jobpool.model.errors import ConfigError, PoolBroken, from_data

__all__ = ["ServerProcess", "discard", "start_server", "try_to_write"]

START_TIMEOUT = 120.0
"""Seconds for the server's process to start: it imports modules, perhaps from a slow file system, and reads limits."""


class ServerProcess:
    """The server's process. It is a child of this process, and so it is known even if the pool's directory is lost."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self._process = process
        # A thread waits for the process, so that it never remains as a zombie.
        self._waiter = threading.Thread(target=process.wait, name=f"jobpool-{name}-server", daemon=True)
        self._waiter.start()

    def join(self, timeout: float) -> None:
        """Wait until the process has ended, for at most ``timeout`` seconds."""
        self._waiter.join(timeout)

    def terminate(self) -> None:
        """Send SIGTERM: the server cancels its jobs and ends."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


def start_server(directory: PoolDirectory) -> ServerProcess:
    """Start the pool's server and wait until clients may connect.

    Raises the error that the server reports, or ``PoolBroken``.
    """
    reading, writing = _pipe()
    with contextlib.ExitStack() as descriptors:
        descriptors.callback(os.close, reading)
        with contextlib.ExitStack() as its_own:
            its_own.callback(os.close, writing)
            log = os.open(directory.server_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            its_own.callback(os.close, log)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jobpool.server", str(directory.path), "--ready", str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
                cwd="/",
                env={**os.environ, **python_path()},
            )
        try:
            server = ServerProcess(process, directory.name)
            line = _first_line(reading)
        except BaseException:  # a Ctrl-C, or no thread can be started: the server has no jobs yet
            process.kill()
            process.wait()
            raise
    if not line:
        process.kill()
        raise PoolBroken("the pool's server did not start", log=str(directory.server_log), tail=directory.last_words())
    answer = json.loads(line)
    if "error" in answer:
        raise from_data(answer["error"])
    return server


def _pipe() -> tuple[int, int]:
    """Make a pipe whose writing end is not 0, 1 or 2: these are free in a process without stdin, stdout or stderr."""
    reading, low = os.pipe()
    writing = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(low)
    return reading, writing


def _first_line(descriptor: int) -> str:
    with os.fdopen(descriptor, closefd=False) as pipe:
        # Not select(), which does not support descriptors above 1023.
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        return pipe.readline() if waiting.poll(START_TIMEOUT * 1000) else ""


def try_to_write(directory: Path | None, name: str | None = None) -> Path | None:
    """Make the log directory that the user chose, and try to write there: jobs would fail without a message otherwise.

    If other users can write to the directory, or replace it, make a new directory for this run in it and return that.
    """
    if directory is None:
        return None
    own = None
    try:
        # Check the part of the path that exists first: never make a directory behind another user's link.
        is_closed_to_others(next(path for path in (directory, *directory.parents) if os.path.lexists(path)))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_closed_to_others(directory):
            own = directory / make_fresh_directory(directory, f"jobpool-{name}" if name else "jobpool")
        # A random name: in a directory where others write, a known name could be a link of theirs.
        with tempfile.TemporaryFile(dir=own or directory) as file:
            file.write(b"\0" * 65536)
    except OSError as error:
        discard(own)
        raise ConfigError(
            f"log_directory={str(directory)!r} cannot be written: {error.strerror or error}",
            advice="choose a directory with room that the compute nodes share",
        ) from error
    except ConfigError as error:
        raise ConfigError(f"log_directory={str(directory)!r}: {error.message}", **error.details) from None
    return own


def discard(logs: Path | None) -> None:
    """Delete the log directory of a run that did not start, if it is empty."""
    if logs is not None:
        with contextlib.suppress(OSError):
            logs.rmdir()
