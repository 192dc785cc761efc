"""How the command line asks the server of a pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from jobpool.host.home import PoolDirectory
    from jobpool.transport.messages.base import Question

__all__ = ["ask", "ask_now"]

A = TypeVar("A")


def ask_now(directory: PoolDirectory, question: Question[A]) -> A:
    """Ask one question and return the answer. Raises as :func:`ask`."""
    return asyncio.run(ask(directory, question))


async def ask(directory: PoolDirectory, question: Question[A]) -> A:
    """Ask one question and return the answer.

    Raises ``PoolBroken`` when the pool does not run, or was started by another version of jobpool, and the error with
    which its server refuses.
    """
    from jobpool.model.errors import PoolBroken
    from jobpool.show.ended_pools import ended_well
    from jobpool.transport import tls
    from jobpool.transport.frames import WireError
    from jobpool.transport.link import Link, LinkClosed, dial
    from jobpool.transport.messages.base import Message
    from jobpool.transport.messages.client import ServerAnswer
    from jobpool.transport.packing import Reader

    connection = directory.connection()
    try:
        if connection is None or not directory.alive():
            raise FileNotFoundError
        context = tls.client_context(directory.path)
    except FileNotFoundError:  # no keys: it ended just now
        raise PoolBroken(
            f"the pool {directory.name!r} {'has ended' if ended_well(directory.path) else 'is not running'}",
            log=str(directory.server_log),
            advice=_what_is_left(directory),
        ) from None
    reader: Reader[Message] = Reader(ServerAnswer)
    addresses = ["127.0.0.1", *connection["addresses"]]
    _, link = await dial(addresses, connection["port"], context, lambda: Link(reader, lambda link, message: None))
    try:
        return await link.ask(question)
    except LinkClosed as error:
        if not directory.alive() and not isinstance(link.closed.result(), WireError):
            raise PoolBroken(f"the pool {directory.name!r} ended just now") from error
        raise PoolBroken(
            f"the server of the pool {directory.name!r} closed the connection: {error}",
            log=str(directory.server_log),
            advice="if its script runs with another version of jobpool, run this command in the script's environment",
        ) from error
    finally:
        link.close()
        await asyncio.wait([link.closed], timeout=1)  # else the loop ends with a socket open


def _what_is_left(directory: PoolDirectory) -> str | None:
    jobs = f"jobs of it may be left; remove them with: jobpool stop {directory.name}"
    record = f"see what happened with: jobpool report {directory.name}"
    left = [jobs] if directory.lines("submissions") else []
    if (directory.path / "record.json").exists():
        left.append(record)
    return "; ".join(left) or None
