"""The server's process: ``python -m jobpool.server DIRECTORY [--ready FD]``.

It is started by the client in a session of its own, so that a Ctrl-C meant for the script does not reach it. On the
descriptor it says in one line of JSON that clients may connect, or why not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import NoReturn, TypeVar

from jobpool.batch import registry
from jobpool.batch.base import BatchSystem
from jobpool.commands import shell
from jobpool.host import descriptors
from jobpool.host.home import PoolDirectory
from jobpool.host.lifetime import end_within, run_process
from jobpool.model.errors import JobPoolError, PoolBroken
from jobpool.model.site import Limits
from jobpool.server import client_links
from jobpool.server.batch_client import read_limits
from jobpool.server.cleanup import cancel_once
from jobpool.server.event_loop import EventLoop
from jobpool.server.preflight import refuse_what_cannot_run
from jobpool.server.spec import Spec
from jobpool.transport import tls
from jobpool.transport.malloc import reuse_memory

T = TypeVar("T")

log = logging.getLogger("jobpool.server")

CLEARING = 20.0
"""Seconds for each thing that is to be cleared up: more than a file system's hiccup, or SLURM's for a controller."""

ENDING = 100.0
"""Seconds for all of them, after which the process ends itself."""


def main() -> NoReturn:
    """Run one pool's server to its end."""
    directory, ready = _arguments(sys.argv[1:])
    os.umask(0o077)
    _reset_signals()
    # Dask tells each connection at INFO; what matters of it comes as events.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    reuse_memory()
    descriptors.raise_limit()
    run_process(lambda: _serve(PoolDirectory(directory), ready), shell.end_all)


def _arguments(words: list[str]) -> tuple[Path, int]:
    # Without argparse, which would cost 4 ms of each start of a pool: nobody but the client writes this line.
    match words:
        case [directory]:
            return Path(directory), 1
        case [directory, "--ready", ready] if ready.isdecimal():
            return Path(directory), int(ready)
        case _:
            sys.exit(__doc__)


def _reset_signals() -> None:
    """Undo what a client may hand on: an ignored SIGCHLD hides all commands' exit codes, a blocked signal our end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


async def _serve(directory: PoolDirectory, ready: int) -> int:
    try:
        spec = Spec.load(directory)
        # Dask's Scheduler unpickles graphs, and its pickles name the functions of a module beside the user's script. At
        # the end: a file of the user's must not stand in for a module of ours.
        sys.path += [path for path in spec.sys_path if path not in sys.path]
        shell.connect_in(directory.path)
        system = registry.get(spec.system, directory.path, host=spec.settings.submit_host)
        system.directives(spec.settings.request, Limits())  # raises for what no script can say
        limits, _ = await asyncio.gather(read_limits(system), asyncio.to_thread(tls.make_keys, directory))
        refuse_what_cannot_run(spec.settings.request, limits)
        control = EventLoop(directory, spec, system, limits)
        await control.open()
    except Exception as error:
        log.exception("cannot start")
        known = error if isinstance(error, JobPoolError) else PoolBroken(f"the pool's server cannot start: {error}")
        await asyncio.to_thread(shell.disconnect)
        directory.retire(keep_logs=True)
        _say(ready, {"error": known.as_data()})
        return 3
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, control.stop, signal.Signals(number).name)
    _say(ready, {"ready": True})
    await control.run()
    end_within(ENDING)
    await _clear_up(control, directory, system)
    if control.crash is not None:
        return 1  # without a word: the clients then see for themselves that nothing is left
    end_within(client_links.FAREWELL + ENDING)
    await control.say_bye()
    return 0


async def _clear_up(control: EventLoop, directory: PoolDirectory, system: BatchSystem) -> None:
    """Leave nothing that is of no use. What does not work, or takes too long, must not keep the clients waiting."""
    if await _in_time(asyncio.to_thread(lambda: directory.replaced)):
        log.warning("another pool's directory is in the place of this one's, and left alone")
    elif control.crash is not None:
        names = await _in_time(asyncio.to_thread(directory.lines, "submissions")) or []
        await _in_time(cancel_once(system, names))
    elif not control.left:
        await _in_time(asyncio.to_thread((directory.path / "submissions").unlink, missing_ok=True))
    await _in_time(asyncio.to_thread(shell.disconnect))
    await _in_time(control.journal.close())
    await _in_time(asyncio.to_thread(directory.retire, keep_logs=True))
    log.info("finished left=%s", list(control.left))


async def _in_time(work: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(CLEARING):
            return await work
    except Exception:
        log.exception("the end goes on without it")
        return None


def _say(descriptor: int, message: object) -> None:
    try:
        os.write(descriptor, f"{json.dumps(message)}\n".encode())
        os.close(descriptor)
    except BrokenPipeError:
        log.warning("the client is gone already")  # a server that stays alone ends


if __name__ == "__main__":
    main()
