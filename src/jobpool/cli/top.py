"""``jobpool top``: a pool, live."""

from __future__ import annotations

import click

__all__ = ["top"]


@click.command()
@click.argument("name")
def top(name: str) -> None:
    """Show the pool NAME live: jobs, calls, and the log of the job under the cursor.

    Keys: arrows choose a job, / filters, e shows ended jobs, c cancels a job after a question, q quits.
    """
    import sys
    from functools import partial

    from jobpool.cli.ask import ask_now
    from jobpool.host.home import PoolDirectory
    from jobpool.model.errors import JobPoolError
    from jobpool.show.top import Top
    from jobpool.transport.messages.client import AskStatus

    ask = partial(ask_now, PoolDirectory.open(name))
    ask(AskStatus())  # a pool that does not run is said so before the screen is taken
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):  # where it reads keys, and draws
        raise JobPoolError("jobpool top needs a terminal", advice=f"see how the pool is with: jobpool status {name}")
    Top(ask, name=name).run()
