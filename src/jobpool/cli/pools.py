"""``jobpool list | stop``: the pools of this user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from jobpool.host.home import PoolDirectory

__all__ = ["list_pools", "stop"]

STOP_PATIENCE = 90.0
"""Seconds to wait for a server to end its jobs and itself: half as long again as it waits for its jobs at most."""

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("list")
@_as_json
@click.option("--all", "also_dead", is_flag=True, help="Also pools that have ended, while their logs are kept.")
def list_pools(as_json: bool, also_dead: bool) -> None:
    """List the pools that run, and dead ones whose jobs may still be in the queue."""
    from jobpool.host.home import PoolDirectory
    from jobpool.show.view import show_json, show_table

    rows = [_row(directory) for directory in PoolDirectory.all()]
    rows = [row for row in rows if also_dead or row["state"] != "ended"]
    if as_json:
        show_json(rows)
        return
    headers = ("name", "state", "system", "host", "pid", "directory")
    show_table(headers, [[row[header] for header in headers] for row in rows])


def _row(directory: PoolDirectory) -> dict[str, Any]:
    from jobpool.host.home import Damaged
    from jobpool.show.view import show_note

    about = dict.fromkeys(("system", "host", "pid"), "")
    try:
        connection = directory.connection() or {}
        about = {key: connection.get(key, "") for key in about}
        dead = "dead, jobs may be left" if directory.lines("submissions") else "ended"
        state = "running" if directory.alive() else dead
    except Damaged as error:
        show_note(str(error))
        state = "damaged"
    return {"name": directory.name, "state": state, **about, "directory": str(directory.path)}


@click.command()
@click.argument("name")
@_as_json
def stop(name: str, as_json: bool) -> None:
    """End the pool NAME: its calls, its jobs, its server. Works on a pool whose server is dead, too."""
    from jobpool.host.home import PoolDirectory
    from jobpool.model.errors import JobPoolError
    from jobpool.show.view import show_json, show_note

    left = asyncio.run(_stop(PoolDirectory.open(name)))
    if left:
        raise JobPoolError(
            f"these jobs could not be removed from the queue: {', '.join(left)}",
            advice="try again later, or cancel them with the batch system's own command",
        )
    if as_json:
        show_json({"name": name, "left": []})
    else:
        show_note(f"the pool {name} has ended; nothing of it is in the queue")


async def _stop(directory: PoolDirectory) -> list[str]:
    from jobpool.cli.ask import ask
    from jobpool.model.errors import JobPoolError
    from jobpool.server.cleanup import end_server, reap
    from jobpool.transport.messages.client import Stop

    loop = asyncio.get_running_loop()
    end = loop.time() + STOP_PATIENCE
    asked = False
    while directory.alive() and loop.time() < end:
        if not asked and directory.connection() is not None:  # else it is being started
            asked = True
            try:
                await ask(directory, Stop(why="jobpool stop"))
            except JobPoolError:
                end_server(directory)
        await asyncio.sleep(0.1)
    if directory.alive():
        raise JobPoolError(
            f"the server of {directory.name!r} does not end",
            log=str(directory.server_log),
            advice="end its process by its pid (see: jobpool list), then run this command again",
        )
    return [str(id) for id in await reap(directory)]
