"""``jobpool``: the command line.

Each subject has a file of its own (``cli_config``, ``cli_lab``, ...) with one small function per command. These files
import nothing but click at their head, so that ``jobpool --help`` is quick; what a command needs it imports itself.
A command raises; the exit code, and how an error looks, are decided here alone.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import io
import os
import sys
from collections.abc import Sequence

import click

from jobpool.cli.check import check
from jobpool.cli.config import config
from jobpool.cli.demo import demo
from jobpool.cli.doctor import doctor
from jobpool.cli.explain import explain
from jobpool.cli.lab import lab
from jobpool.cli.logs import logs
from jobpool.cli.measure import measure
from jobpool.cli.pools import list_pools, stop
from jobpool.cli.report import report
from jobpool.cli.status import status
from jobpool.cli.top import top
from jobpool.model.errors import ConfigError, InitializerFailed, JobLost, JobPoolError, PoolBroken, RequestRefused

__all__ = ["ExitCode", "exit_code", "jobpool", "main"]


class ExitCode(enum.IntEnum):
    """What the shell is told."""

    DONE = 0
    """All that was asked for was done."""
    FAILED = 1
    """A call failed, or the command could not be carried out."""
    USAGE = 2
    """The command line, or a setting, cannot be used."""
    REFUSED = 3
    """The batch system refuses the request."""
    LOST = 4
    """Lost jobs left calls unfinished, or the pool does not run."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it."""


def exit_code(error: JobPoolError) -> ExitCode:
    """Say which exit code an exception means."""
    match error:
        case ConfigError():
            return ExitCode.USAGE
        case RequestRefused():
            return ExitCode.REFUSED
        case InitializerFailed():  # the user's own function, though it breaks the pool
            return ExitCode.FAILED
        case JobLost() | PoolBroken():
            return ExitCode.LOST
        case _:
            return ExitCode.FAILED


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="jobpool", message="%(prog)s %(version)s")
def jobpool() -> None:
    """Run Python calls in batch jobs.

    Exit codes: 0 done, 1 a call failed or the command could not be carried out, 2 usage, 3 the request was refused,
    4 lost jobs left calls unfinished or the pool does not run, 130 interrupted.
    """


for command in (
    check,
    config,
    demo,
    doctor,
    explain,
    lab,
    list_pools,
    logs,
    measure,
    report,
    status,
    stop,
    top,
):
    jobpool.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. The one place where exceptions become messages."""
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        return _cannot_write(error)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # Click returns the code of ctx.exit() here; our commands themselves return nothing.
        result = jobpool.main(args=arguments, prog_name="jobpool", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except JobPoolError as error:
        _say(str(error))
        return exit_code(error)
    except BrokenPipeError as error:
        return _cannot_write(error)
    except OSError as error:
        _say(str(_about_host(error)))
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.DONE


def _prepare_streams() -> None:
    """Have streams that take any text: a closed one swallows it, and a narrow one gets escapes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (>&-): Python has no stream then
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as we
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _cannot_write(error: OSError) -> ExitCode:
    """Say why nothing more could be printed. A reader that has seen enough (head, less) is no trouble."""
    if not isinstance(error, BrokenPipeError):
        _say(str(_about_host(error)))
    return ExitCode.FAILED


def _drop_output() -> None:
    """Leave nothing to print: Python would complain once more when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):  # no descriptor: a stream of a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_CURES = {
    errno.ENOSPC: "make room, or write elsewhere",
    errno.EDQUOT: "your quota is used up: make room, or write elsewhere",
    errno.EACCES: "look at its owner and mode (ls -ld), or choose another place",
    errno.EPERM: "look at its owner and mode (ls -ld), or choose another place",
    errno.EROFS: "choose another place: this file system can only be read",
    errno.EMFILE: "too many files are open for ulimit -n: raise it",
    errno.ENFILE: "this host has too many files open: try again later",
    errno.ENOMEM: "this host has no memory left: try again later",
    errno.EAGAIN: "this host, or ulimit -u, allows no more processes: try again later",
}


def _about_host(error: OSError) -> JobPoolError:
    """Say what the host refused, and what to do."""
    where = f": {error.filename}" if error.filename is not None else ""
    return JobPoolError(f"{error.strerror or error}{where}", advice=_CURES.get(error.errno or 0, ""))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # stderr is full, or its reader is gone: the exit code is left to tell it
        print(f"error: {text}", file=sys.stderr)
