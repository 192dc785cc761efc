"""The only place that runs the batch system's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time

from jobpool.model import Command, Completed
from jobpool.server import descriptors

__all__ = ["run", "run_now"]

log = logging.getLogger("jobpool.shell")


async def run(command: Command) -> Completed:
    """Run one command to its end, or to its time-out; never raises for what the command does.

    A command that cannot be started, or does not end in time, has no return code: nobody knows what it did.
    """
    started = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL if command.stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if command.environment is None else dict(command.environment),
            # Its own session: a Ctrl-C at the terminal is for the client, not for a submit under way.
            start_new_session=True,
            # Threads are no danger to it: it is a single call of C.
            preexec_fn=descriptors.give_back(),
        )
    except OSError as error:
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    text = None if command.stdin is None else command.stdin.encode()
    try:
        async with asyncio.timeout(command.timeout):
            stdout, stderr = await process.communicate(text)
    except TimeoutError:
        await _end(process)
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: no answer in {command.timeout:g} s")
    except asyncio.CancelledError:
        await _end(process)
        raise
    log.debug("ran=%s rc=%s seconds=%.3f", command.argv[0], process.returncode, time.monotonic() - started)
    return Completed(command, process.returncode, _text(stdout), _text(stderr))


def _text(raw: bytes | None) -> str:
    # Job names and comments of other users can hold any bytes; a parser must not stumble over them.
    return (raw or b"").decode(errors="replace")


def run_now(command: Command) -> Completed:
    """Run one command to its end in a thread without an event loop, as :func:`run` does."""
    try:
        done = subprocess.run(
            command.argv,
            input=(command.stdin or "").encode(),
            capture_output=True,
            timeout=command.timeout,
            env=None if command.environment is None else dict(command.environment),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    return Completed(command, done.returncode, _text(done.stdout), _text(done.stderr))


async def _end(process: asyncio.subprocess.Process) -> None:
    # Its whole session: a site's sbatch may be a script around the real one.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
