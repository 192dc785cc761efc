"""``jobpool logs``: what jobs, calls and the server said."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobpool.host.home import PoolDirectory
    from jobpool.show.logs import LogFile

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

    JOB is an id as "jobpool status" shows it, or "server". With its log come those of its workers, which hold what its
    calls print.
    """
    from jobpool.host.home import PoolDirectory
    from jobpool.show.logs import logs_of, texts
    from jobpool.show.view import show_json

    directory = PoolDirectory.open(name)
    find = functools.partial(logs_of, directory.path, _place(directory), job)
    found = find()
    if as_json:
        show_json([log.as_data() for log in found])
    elif job is None and not follow:
        _list(found)
    else:
        click.echo(texts(found, 0 if job is None else count), nl=False)
        if follow:
            _follow(directory, found, find)


def _place(directory: PoolDirectory) -> Path:
    """Return where the logs are: the server knows, and it may be elsewhere than in the pool's directory."""
    from jobpool.cli.ask import ask_now
    from jobpool.model.errors import JobPoolError, PoolBroken
    from jobpool.model.status import PoolStatus
    from jobpool.show.answers import read_answer
    from jobpool.show.logs import place_of
    from jobpool.transport.link import Unreachable
    from jobpool.transport.messages.client import AskStatus

    try:
        answer = ask_now(directory, AskStatus())
    except (PoolBroken, Unreachable):
        return place_of(directory.path)
    try:
        return read_answer(PoolStatus, answer).logs
    except JobPoolError:  # the server is of another version
        return place_of(directory.path)


def _list(found: list[LogFile]) -> None:
    from jobpool.model.units import Duration, Memory
    from jobpool.show.view import show_table

    rows = [
        (log.job, log.kind, str(Duration(max(0, round(time.time() - log.changed)))), str(Memory(log.size)), log.path)
        for log in found
    ]
    show_table(("job", "of", "written ago", "size", "file"), rows)


def _follow(directory: PoolDirectory, found: list[LogFile], find: Callable[[], list[LogFile]]) -> None:
    from jobpool.show.logs import Follower, heading

    follower, last, alive = Follower(found), None, True
    while alive:
        alive = directory.alive()  # before the look, so that the last words are read
        for log, text in follower.more(find()):
            if log.path != last and len(found) > 1:
                click.echo(heading(log))
            last = log.path
            click.echo(text, nl=False)
        if alive:
            time.sleep(LOOK)
