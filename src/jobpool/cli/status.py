"""``jobpool status``: how a pool is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jobpool.model.status import PoolStatus

__all__ = ["status"]

LOST = 4
"""The exit code for a pool that does not run, however it ended: a script that watches one sees that it is over."""


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.option("--start", is_flag=True, help="Ask the batch system when the pending jobs may start: one command.")
@click.pass_context
def status(context: click.Context, name: str, as_json: bool, start: bool) -> None:
    """Show the jobs and calls of the pool NAME, what they use, and how long it will take.

    Of a pool that does not run any more, what is known last is shown, and the exit code is 4.
    """
    from functools import partial

    from jobpool.cli.ask import ask_now
    from jobpool.host.home import PoolDirectory
    from jobpool.model.errors import PoolBroken
    from jobpool.show.ended_pools import ended_well, last_status
    from jobpool.show.status import asked_status, show_status
    from jobpool.show.view import show_json, show_note
    from jobpool.transport.link import Unreachable

    directory = PoolDirectory.open(name)

    def show(status: PoolStatus, *, starts: bool = False) -> None:
        if as_json:
            show_json(status.as_data())
        else:
            show_status(status, starts=starts)

    try:
        show(asked_status(partial(ask_now, directory), start=start), starts=start)
    except (PoolBroken, Unreachable):
        if (last := last_status(directory.path, alive=directory.alive())) is not None:
            show(last)
        if not ended_well(directory.path):
            raise
        show_note(f"the pool {name} has ended; see what happened with: jobpool report {name}")
        context.exit(LOST)
