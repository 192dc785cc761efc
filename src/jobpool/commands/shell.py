"""The only place that runs the batch system's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence

from jobpool.host import descriptors
from jobpool.host.lifetime import SHORTAGE, is_shortage
from jobpool.model.command import Command, Completed

__all__ = ["AT_ONCE", "end_all", "run", "run_all", "run_now"]

log = logging.getLogger("jobpool.shell")


SHORT_FOR = 10.0
"""Seconds to try to start a command when the system is short of processes or descriptors: mostly it is for a moment."""

AT_ONCE = 12
"""Commands of one question that run at the same time: each is a process here, and a connection at the master."""

LAST_WAIT = 2.0
"""Seconds for the end of a command that was killed."""

_under_way: set[int] = set()
"""The processes of commands that have not ended."""


async def run(command: Command) -> Completed:
    """Run one command to its end, or to its time-out; never raises for what the command does.

    A command that cannot be started, be it for want of processes or memory, or does not end in time, has no return
    code: nobody knows what it did.
    """
    started = time.monotonic()
    try:
        process = await _start(command)
    except (*SHORTAGE, subprocess.SubprocessError) as error:  # the latter: of what it does before it begins
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    text = None if command.stdin is None else command.stdin.encode()
    _under_way.add(process.pid)
    try:
        async with asyncio.timeout(command.timeout):
            stdout, stderr = await process.communicate(text)
    except TimeoutError:
        await _end(process)
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: no answer in {command.timeout:g} s")
    except SHORTAGE as error:
        await _end(process)
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    except asyncio.CancelledError:
        await _end(process)
        raise
    finally:
        _under_way.discard(process.pid)
    log.debug("ran=%s rc=%s seconds=%.3f", command.argv[0], process.returncode, time.monotonic() - started)
    return Completed(command, process.returncode, _text(stdout), _text(stderr))


async def run_all(commands: Sequence[Command]) -> list[Completed]:
    """Run commands at the same time, but not too many; return what came of them in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(command: Command) -> Completed:
        async with places:
            return await run(command)

    return list(await asyncio.gather(*map(one, commands)))


async def _start(command: Command) -> asyncio.subprocess.Process:
    end, pause = time.monotonic() + SHORT_FOR, 0.2
    while True:
        try:
            return await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL if command.stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(command),
                # Its own session: a Ctrl-C at the terminal is for the client, not for a submit under way.
                start_new_session=True,
                # Threads are no danger to it: it is a single call of C.
                preexec_fn=descriptors.give_back(),
            )
        except OSError as error:  # it has not run; of a RuntimeError nobody knows that
            if not is_shortage(error) or time.monotonic() > end:
                raise
            log.warning("%s cannot be started, which is tried again: %s", command.argv[0], error)
        await asyncio.sleep(pause)
        pause *= 2


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
            env=_environment(command),
            check=False,
        )
    except (*SHORTAGE, subprocess.TimeoutExpired, PermissionError) as error:  # the latter: of killing a set-user-ID one
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    return Completed(command, done.returncode, _text(done.stdout), _text(done.stderr))


def _environment(command: Command) -> dict[str, str]:
    """Return the variables for a command: here, in the one place where all pass, those go that would change it."""
    return command.unset.cleaned(os.environ) if command.environment is None else dict(command.environment)


async def _end(process: asyncio.subprocess.Process) -> None:
    _kill(process.pid)
    # One that runs as another user, by its set-user-ID bit, cannot be killed: it is left to end by itself.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WAIT):
            await process.wait()


def end_all() -> None:
    """Kill the commands that :func:`run` has not seen to their end."""
    for pid in list(_under_way):
        _kill(pid)


def _kill(pid: int) -> None:
    # Its whole session: a site's sbatch may be a script around the real one.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
