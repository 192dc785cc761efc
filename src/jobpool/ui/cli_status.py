"""``jobpool status``: how a pool is."""

from __future__ import annotations

import click

__all__ = ["status"]


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.option("--start", is_flag=True, help="Ask the batch system when the pending jobs may start: one command.")
def status(name: str, as_json: bool, start: bool) -> None:
    """Show the jobs and calls of the pool NAME, what they use, and how long it will take."""
    from functools import partial

    from jobpool.home import PoolDirectory
    from jobpool.ui.cli_asking import ask_now
    from jobpool.ui.status import asked_status, show_status
    from jobpool.ui.view import show_json

    answer = asked_status(partial(ask_now, PoolDirectory.open(name)), start=start)
    if as_json:
        show_json(answer)
    else:
        show_status(answer)
