"""``jobpool logs``: what jobs, calls and the server said."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobpool.home import PoolDirectory
    from jobpool.ui.logs import LogFile

__all__ = ["logs"]

LOOK = 0.5
"""Seconds between two looks for more while following: a person reads no faster."""


@click.command()
@click.argument("name")
@click.argument("job", required=False)
@click.option("-n", "--tail", "count", type=click.IntRange(0), default=50, show_default=True, help="Last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until the pool ends or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(name: str, job: str | None, count: int, follow: bool, as_json: bool) -> None:
    """List the logs of the pool NAME, or show those of one JOB.

    JOB is an id as "jobpool status" shows it, or "server". The logs of its workers, which hold what calls print while
    they run, are there as long as the job runs; what a call printed is then in its future's logs().
    """
    from jobpool.errors import JobPoolError
    from jobpool.home import PoolDirectory
    from jobpool.ui.view import show_json

    directory = PoolDirectory.open(name)
    place = _place(directory)

    def find() -> list[LogFile]:
        from jobpool.ui.logs import find_logs

        found = find_logs(place, directory.server_log)
        return found if job is None else [log for log in found if log.is_of(job)]

    found = find()
    if job is not None and not found:
        raise JobPoolError(f"the pool {name!r} has no log of a job {job!r}", advice=f"see: jobpool logs {name}")
    if as_json:
        show_json([log.as_data() for log in found])
    elif job is None and not follow:
        _list(found)
    else:
        _show(found, 0 if job is None else count)
        if follow:
            _follow(directory, found, find)


def _place(directory: PoolDirectory) -> Path:
    """Return where the logs are: the server knows, and it may be elsewhere than in the pool's directory."""
    from jobpool.errors import PoolBroken
    from jobpool.link import Unreachable
    from jobpool.ui.cli_asking import ask_now
    from jobpool.ui.remains import log_directory

    try:
        return Path(ask_now(directory, "status")["logs"])
    except (PoolBroken, Unreachable):
        return log_directory(directory.path) or directory.logs


def _list(found: list[LogFile]) -> None:
    from jobpool.ui.view import show_table
    from jobpool.units import Duration, Memory

    rows = [
        (log.job, log.kind, str(Duration(max(0, round(time.time() - log.changed)))), str(Memory(log.size)), log.path)
        for log in found
    ]
    show_table(("job", "of", "written ago", "size", "file"), rows)


def _show(found: list[LogFile], count: int) -> None:
    from jobpool.ui.logs import last_lines

    for log in found:
        if count:
            _head(log, alone=len(found) == 1)
            click.echo(last_lines(log.path, count), nl=False)


def _follow(directory: PoolDirectory, found: list[LogFile], find: Callable[[], list[LogFile]]) -> None:
    from jobpool.ui.logs import Follower

    follower, last, alive = Follower(found), None, True
    while alive:
        alive = directory.alive()  # before the look, so that the last words are read
        for log, text in follower.more(find()):
            if log.path != last:
                _head(log, alone=len(found) == 1)
                last = log.path
            click.echo(text, nl=False)
        if alive:
            time.sleep(LOOK)


def _head(log: LogFile, *, alone: bool) -> None:
    if not alone:
        click.echo(f"==> {log.kind} {log.job}: {log.path} <==")
