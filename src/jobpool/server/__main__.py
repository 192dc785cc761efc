"""The server's process: ``python -m jobpool.server DIRECTORY [--ready FD]``.

It is started by the client in a session of its own, so that a Ctrl-C meant for the script does not reach it. On the
descriptor it says in one line of JSON that clients may connect, or why not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from jobpool import tls
from jobpool.aside import log_aside
from jobpool.batch import registry
from jobpool.errors import JobPoolError, PoolBroken
from jobpool.home import PoolDirectory
from jobpool.malloc import reuse_memory
from jobpool.server import descriptors, shell
from jobpool.server.asking import read_limits
from jobpool.server.control import Control, refuse_what_cannot_run
from jobpool.server.spec import Spec

log = logging.getLogger("jobpool.server")


def main() -> NoReturn:
    """Run one pool's server to its end."""
    parser = argparse.ArgumentParser(prog="python -m jobpool.server")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--ready", type=int, default=1, metavar="FD")
    arguments = parser.parse_args()
    os.umask(0o077)
    _reset_signals()
    _drop_formats()
    # Dask tells each connection at INFO; what matters of it comes as events.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    reuse_memory()
    descriptors.raise_limit()
    with log_aside():
        code = asyncio.run(_serve(PoolDirectory(arguments.directory), arguments.ready))
    # All that matters has ended. Closing Dask's Scheduler in good order would take up to seconds of the user's time.
    os._exit(code)


def _reset_signals() -> None:
    """Undo what a client may hand on: an ignored SIGCHLD hides all commands' exit codes, a blocked SIGTERM our end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _drop_formats() -> None:
    """Forget variables by which a user changes what SLURM's commands print: parsers read the commands' own formats."""
    for name in list(os.environ):
        if name.startswith(("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SLURM_TIME_FORMAT")):
            del os.environ[name]


async def _serve(directory: PoolDirectory, ready: int) -> int:
    try:
        spec = Spec.load(directory)
        # Dask's Scheduler unpickles graphs, and its pickles name the functions of a module beside the user's script. At
        # the end: a file of the user's must not stand in for a module of ours.
        sys.path += [path for path in spec.sys_path if path not in sys.path]
        system = registry.get(spec.system, directory.path)
        system.directives(spec.settings.request)  # raises for what no script can say
        limits, _ = await asyncio.gather(read_limits(system), asyncio.to_thread(tls.make_keys, directory))
        refuse_what_cannot_run(spec.settings.request, limits)
        control = Control(directory, spec, system, limits)
        await control.open()
    except (JobPoolError, OSError) as error:
        log.exception("cannot start")
        known = error if isinstance(error, JobPoolError) else PoolBroken(f"the pool's server cannot start: {error}")
        directory.retire(keep_logs=True)
        _say(ready, {"error": known.as_data()})
        return 3
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, control.stop, signal.Signals(number).name)
    _say(ready, {"ready": True})
    await control.run()
    if control.crash is not None:
        names = directory.lines("submissions")
        if names:
            await asyncio.gather(*map(shell.run, system.cancel(names, ())))
    elif not control.left:
        (directory.path / "submissions").unlink(missing_ok=True)
    await control.diary.close()
    directory.retire(keep_logs=True)
    log.info("finished left=%s", list(control.left))
    if control.crash is not None:
        return 1  # without a word: the clients then see for themselves that nothing is left
    await control.say_bye()
    return 0


def _say(descriptor: int, message: object) -> None:
    try:
        os.write(descriptor, f"{json.dumps(message)}\n".encode())
        os.close(descriptor)
    except BrokenPipeError:
        log.warning("the client is gone already")  # a server that stays alone ends


if __name__ == "__main__":
    main()
