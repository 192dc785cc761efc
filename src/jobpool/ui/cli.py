"""``jobpool``: the command line.

Each subject has a file of its own (``cli_config``, ``cli_lab``, ...) with one small function per command. These files
import nothing but click at their head, so that ``jobpool --help`` is quick; what a command needs it imports itself.
A command raises; the exit code, and how an error looks, are decided here alone.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Sequence

import click

from jobpool.errors import ConfigError, InitializerFailed, JobLost, JobPoolError, PoolBroken, RequestRefused
from jobpool.ui.cli_check import check
from jobpool.ui.cli_config import config
from jobpool.ui.cli_demo import demo
from jobpool.ui.cli_doctor import doctor
from jobpool.ui.cli_explain import explain
from jobpool.ui.cli_lab import lab
from jobpool.ui.cli_logs import logs
from jobpool.ui.cli_measure import measure
from jobpool.ui.cli_pools import list_pools, stop
from jobpool.ui.cli_report import report
from jobpool.ui.cli_status import status

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
    """Lost jobs left calls unfinished: the same command may succeed another time."""
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

    Exit codes: 0 done, 1 a call failed, 2 usage, 3 the request was refused, 4 lost jobs left calls unfinished.
    """


for command in (check, config, demo, doctor, explain, lab, list_pools, logs, measure, report, status, stop):
    jobpool.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. The one place where exceptions become messages."""
    try:
        # Click returns the code of ctx.exit() here; our commands themselves return nothing.
        result = jobpool.main(args=arguments, prog_name="jobpool", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except JobPoolError as error:
        _say(str(error))
        return exit_code(error)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return result if isinstance(result, int) else ExitCode.DONE


def _say(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
