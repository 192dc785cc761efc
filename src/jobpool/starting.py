"""How a client starts its pool's server, and what it makes sure of before."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from jobpool.errors import ConfigError, PoolBroken, from_data
from jobpool.home import PoolDirectory
from jobpool.versions import python_path

__all__ = ["start_server", "try_to_write"]

START_TIMEOUT = 120.0
"""Seconds for the server's process to start: it imports from a file system that may be cold, and reads limits."""


def start_server(directory: PoolDirectory) -> threading.Thread:
    """Start the pool's server and wait until clients may connect; return a thread that ends when it does.

    Raises what it refuses, or ``PoolBroken``.
    """
    reading, writing = os.pipe()
    log = os.open(directory.server_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
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
    finally:
        os.close(writing)
        os.close(log)
    # Waited for by a thread, so that it leaves no zombie whenever it ends.
    waiter = threading.Thread(target=process.wait, name=f"jobpool-{directory.name}-server", daemon=True)
    waiter.start()
    with os.fdopen(reading) as pipe:
        answered, _, _ = select.select([pipe], [], [], START_TIMEOUT)
        line = pipe.readline() if answered else ""
    if not line:
        process.kill()
        tail = "\n".join(directory.server_log.read_text(errors="replace").splitlines()[-10:])
        raise PoolBroken("the pool's server did not start", log=str(directory.server_log), tail=tail)
    answer = json.loads(line)
    if "error" in answer:
        raise from_data(answer["error"])
    return waiter


def try_to_write(directory: Path | None) -> None:
    """Make the log directory that the user chose, and try to write there: SLURM would fail without a word."""
    if directory is None:
        return
    trial = directory / f".jobpool-{os.getpid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with trial.open("wb") as file:
            file.write(b"\0" * 65536)
    except OSError as error:
        raise ConfigError(
            f"log_directory={str(directory)!r} cannot be written: {error.strerror or error}",
            advice="choose a directory with room that the compute nodes share",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
