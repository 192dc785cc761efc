"""``jobpool list | status | stop``: the pools of this user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from jobpool.home import PoolDirectory

__all__ = ["list_pools", "status", "stop"]

STOP_PATIENCE = 60.0
"""Seconds to wait for a server to end its jobs and itself, before it is ended and its jobs are cancelled from here."""

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("list")
@_as_json
@click.option("--all", "also_dead", is_flag=True, help="Also pools that have ended, while their logs are kept.")
def list_pools(as_json: bool, also_dead: bool) -> None:
    """List the pools that run, and dead ones whose jobs may still be in the queue."""
    from jobpool.home import PoolDirectory
    from jobpool.ui.view import show_json, show_table

    rows = [_row(directory) for directory in PoolDirectory.all()]
    rows = [row for row in rows if also_dead or row["state"] != "ended"]
    if as_json:
        show_json(rows)
        return
    headers = ("name", "state", "system", "host", "pid", "directory")
    show_table(headers, [[row[header] for header in headers] for row in rows])


def _row(directory: PoolDirectory) -> dict[str, Any]:
    connection = directory.connection() or {}
    dead = "dead, jobs may be left" if directory.lines("submissions") else "ended"
    about = {key: connection.get(key, "") for key in ("system", "host", "pid")}
    return {
        "name": directory.name,
        "state": "running" if directory.alive() else dead,
        **about,
        "directory": str(directory.path),
    }


@click.command()
@click.argument("name")
@_as_json
def status(name: str, as_json: bool) -> None:
    """Show the jobs and calls of the pool NAME."""
    from jobpool.home import PoolDirectory
    from jobpool.ui.view import show_json

    answer = asyncio.run(_ask(PoolDirectory.open(name), "status"))
    if as_json:
        show_json(answer)
    else:
        _show(answer)


def _show(answer: dict[str, Any]) -> None:
    from jobpool.batch.reasons import explain_reason
    from jobpool.ui.view import show_table
    from jobpool.units import Duration

    calls = answer["calls"]
    counts = ", ".join(f"{calls[state]} {state}" for state in ("waiting", "running", "done", "failed"))
    click.echo(f"{answer['name']} on {answer['system']} ({answer['phase']}); calls: {counts}")
    rows = []
    for job in answer["jobs"]:
        reason = job["reason"]
        if job["state"] == "pending" and reason:
            reason = f"{reason}: {explain_reason(reason)}"
        workers = f"{job['busy']} of {job['workers']} busy" if job["workers"] else ""
        rows.append((job["id"] or "", job["state"], job["node"] or "", workers, str(Duration(int(job["age"]))), reason))
    if rows:
        show_table(("job", "state", "node", "workers", "for", "reason"), rows)
    for text, warning in answer["notices"]:
        click.echo(f"{'warning: ' if warning else ''}{text}")


@click.command()
@click.argument("name")
@_as_json
def stop(name: str, as_json: bool) -> None:
    """End the pool NAME: its calls, its jobs, its server. Works on a pool whose server is dead, too."""
    from jobpool.errors import JobPoolError
    from jobpool.home import PoolDirectory
    from jobpool.ui.view import show_json, show_note

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


async def _ask(directory: PoolDirectory, *question: Any) -> Any:
    from jobpool import tls
    from jobpool.errors import PoolBroken
    from jobpool.link import Link, LinkClosed, dial

    connection = directory.connection()
    try:
        if connection is None or not directory.alive():
            raise FileNotFoundError
        context = tls.client_context(directory.path)
    except FileNotFoundError:  # no keys: it ended just now
        left = bool(directory.lines("submissions"))
        raise PoolBroken(
            f"the pool {directory.name!r} is not running",
            log=str(directory.server_log),
            advice=f"jobs of it may be left; remove them with: jobpool stop {directory.name}" if left else None,
        ) from None
    addresses = ["127.0.0.1", *connection["addresses"]]
    _, link = await dial(addresses, connection["port"], context, lambda: Link(lambda link, message: None))
    try:
        return await link.ask(*question)
    except LinkClosed as error:
        raise PoolBroken(f"the pool {directory.name!r} ended just now") from error
    finally:
        link.close()


async def _stop(directory: PoolDirectory) -> list[str]:
    from jobpool.errors import JobPoolError
    from jobpool.server.reap import end_server, reap

    loop = asyncio.get_running_loop()
    end = loop.time() + STOP_PATIENCE
    asked = False
    while directory.alive() and loop.time() < end:
        if not asked and directory.connection() is not None:  # else it is being started
            asked = True
            try:
                await _ask(directory, "stop", "jobpool stop")
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
