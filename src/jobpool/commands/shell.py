"""The only place that runs the batch system's commands."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO
from weakref import WeakKeyDictionary

from jobpool.commands import ssh
from jobpool.host import descriptors
from jobpool.host.home import check_private, home
from jobpool.host.lifetime import SHORTAGE, is_shortage
from jobpool.model.command import Command, Completed
from jobpool.model.errors import JobPoolError

__all__ = ["AT_ONCE", "connect_in", "disconnect", "end_all", "run", "run_all", "run_now"]

log = logging.getLogger("jobpool.commands.shell")


SHORT_FOR = 10.0
"""Seconds to try to start a command when the system is short of processes or descriptors: mostly it is for a moment."""

AT_ONCE = 12
"""Commands of one question that run at the same time: each is a process here, and a connection at the master."""

AT_ONCE_THERE = 8
"""The same on another host: one connection of ssh takes ten sessions, unless its administrator says otherwise."""

LAST_WAIT = 2.0
"""Seconds for the end of a command that was killed."""

_under_way: set[int] = set()
"""The processes of commands that have not ended."""

_controls: dict[str, str | None] = {}
_directory: Path | None = None
_places: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[asyncio.Lock, asyncio.Semaphore]] = WeakKeyDictionary()
_places_of_threads, _first_of_threads = threading.Semaphore(AT_ONCE_THERE), threading.Lock()


async def run(command: Command) -> Completed:
    """Run one command to its end, or to its time-out; never raises for what the command does.

    A command that cannot be started, be it for want of processes or memory, or does not end in time, has no return
    code: nobody knows what it did. So has one on another host when the connection is lost.
    """
    if command.host is None:
        return await _run(command)
    call = ssh.called(command, control := _control(command.host))
    loop = asyncio.get_running_loop()
    first, places = _places.setdefault(loop, (asyncio.Lock(), asyncio.Semaphore(AT_ONCE_THERE)))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(places)
        if control is not None and not os.path.exists(control):  # noqa: PTH110 - as text
            # The first one makes the connection. Later ones would each make their own meanwhile.
            await stack.enter_async_context(first)
        try:
            with tempfile.TemporaryFile() as stderr:
                done = await _run(call.here, stderr)
                return call.read(_with_stderr(done, stderr))
        except OSError as error:  # of the file: nothing has run, or its words are lost
            return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")


async def _run(command: Command, stderr: IO[bytes] | None = None) -> Completed:
    started = time.monotonic()
    try:
        process = await _start(command, stderr)
    except (*SHORTAGE, subprocess.SubprocessError) as error:  # the latter: of what it does before it begins
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    text = None if command.stdin is None else command.stdin.encode(errors="surrogateescape")
    _under_way.add(process.pid)
    try:
        async with asyncio.timeout(command.timeout):
            stdout, said = await process.communicate(text)
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
    return Completed(command, process.returncode, _text(stdout), _text(said))


async def run_all(commands: Sequence[Command]) -> list[Completed]:
    """Run commands at the same time, but not too many; return what came of them in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(command: Command) -> Completed:
        async with places:
            return await run(command)

    return list(await asyncio.gather(*map(one, commands)))


async def _start(command: Command, stderr: IO[bytes] | None) -> asyncio.subprocess.Process:
    end, pause = time.monotonic() + SHORT_FOR, 0.2
    while True:
        try:
            return await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL if command.stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr or asyncio.subprocess.PIPE,
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
    if command.host is None:
        return _run_now(command)
    call = ssh.called(command, control := _control(command.host))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_places_of_threads)
        if control is not None and not os.path.exists(control):  # noqa: PTH110 - as text
            stack.enter_context(_first_of_threads)
        try:
            with tempfile.TemporaryFile() as stderr:
                done = _run_now(call.here, stderr)
                return call.read(_with_stderr(done, stderr))
        except OSError as error:
            return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")


def _run_now(command: Command, stderr: IO[bytes] | None = None) -> Completed:
    try:
        done = subprocess.run(
            command.argv,
            input=(command.stdin or "").encode(errors="surrogateescape"),
            stdout=subprocess.PIPE,
            stderr=stderr or subprocess.PIPE,
            timeout=command.timeout,
            env=_environment(command),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: no answer in {command.timeout:g} s")
    except (*SHORTAGE, PermissionError) as error:  # the latter: of killing a set-user-ID one
        return Completed(command, returncode=None, stderr=f"{command.argv[0]}: {error}")
    return Completed(command, done.returncode, _text(done.stdout), _text(done.stderr))


def _with_stderr(done: Completed, file: IO[bytes]) -> Completed:
    # A pipe would not end with the command: the shared connection, which goes on, may hold it.
    file.seek(0)
    return replace(done, stderr=_text(file.read()) + done.stderr)


def _control(host: str) -> str | None:
    """Return the path of the socket of this process's connection to a host, which is ended with this process."""
    if host not in _controls:
        directory = _directory or home()
        if not _controls:
            atexit.register(disconnect)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(directory)
            _controls[host] = ssh.control_path(host, directory)
        except (OSError, JobPoolError):  # then each command has a connection of its own
            _controls[host] = None
    return _controls[host]


def connect_in(directory: Path) -> None:
    """Keep the sockets of connections to other hosts in this directory, which no other user may enter."""
    global _directory
    _directory = directory


def disconnect() -> None:
    """End the connections to other hosts that commands of this process have shared."""
    for host, control in list(_controls.items()):
        if control is not None and os.path.exists(control):  # noqa: PTH110 - as text
            _run_now(ssh.closing(host, control))
    _controls.clear()


def _environment(command: Command) -> dict[str, str]:
    """Return the variables for a command: here, in the one place where all pass, those go that would change it."""
    seen = command.unset.cleaned(os.environ) if command.environment is None else dict(command.environment)
    return {**seen, **dict(command.variables)}


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
