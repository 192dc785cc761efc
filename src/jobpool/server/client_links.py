"""The other sides: one TLS port where clients, the command line, and agents with their first words come in."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence

from jobpool.host.home import PoolDirectory
from jobpool.model.call import Outcome
from jobpool.model.errors import JobPoolError
from jobpool.model.status import PoolStatus
from jobpool.server.listener import Listener
from jobpool.transport import tls
from jobpool.transport.frames import WireError
from jobpool.transport.link import Link, in_parts
from jobpool.transport.messages.client import (
    Bye,
    CallsDone,
    CallsFailed,
    CallsStarted,
    CallsWaitAgain,
    JobOfCalls,
    ServerToClient,
    Waiting,
)

__all__ = ["ClientLinks", "addresses_of_this_host", "listen"]

log = logging.getLogger("jobpool.server.client_links")

BACKLOG = 1000
"""Connections that the kernel holds until they are taken in: all jobs of a large pool may start at once."""

FAREWELL = 600.0
"""Seconds that the last results may be on their way to a client: it takes them one by one, and calls the user's
callbacks meanwhile."""

MOST_WAITING = 256 * 2**20
"""Bytes of results that wait in the server for a client at most, and those that are one message. One that stands still,
or calls a slow callback, may come back after hours; meanwhile results stay where they were made."""

CLIENT_BITS = 40
"""A call's id in the server is ``client << 40 | id in the client``: a trillion calls for each of many clients."""


async def listen(directory: PoolDirectory, host: str | None, make: Callable[[], Link]) -> tuple[Listener, int]:
    """Listen with this pool's keys on a free port of ``host``; None: of all interfaces. Return listener and port."""
    if host is not None:
        listening = socket.create_server((host, 0), backlog=BACKLOG)
    elif socket.has_dualstack_ipv6():
        listening = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    else:
        listening = socket.create_server(("", 0), backlog=BACKLOG)
    listener = Listener(listening, tls.server_context(directory.path), make)
    return listener, listener.port


def addresses_of_this_host() -> list[str]:
    """Return all addresses under which a compute node might reach this host, the most likely first.

    Nobody knows from here which network the nodes share with it, so they try all. Link-local ones are left out: they
    mean nothing on another host. Loopback comes last, for jobs on this host.
    """
    import psutil  # takes 10 ms, and a pool on this machine alone has no use for it

    found = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address
    ]
    parsed = [ipaddress.ip_address(address) for address in found]
    useful = [address for address in parsed if not address.is_link_local]
    useful.sort(key=lambda address: (address.is_loopback, address.version))
    return [os.uname().nodename, *map(str, useful)]


def is_loopback(address: str) -> bool:
    """Say whether an address, or ``localhost``, means this host itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class ClientLinks:
    """The connected clients. Calls are known here by ids that tell whose they are.

    ``hold(True)`` is called when more waits for one than it takes, ``hold(False)`` when it has taken most of it.
    """

    def __init__(self, hold: Callable[[bool], None] = lambda held: None) -> None:
        self._links: dict[int, Link] = {}
        self._waits: dict[int, tuple[object, ...]] = {}
        """What each client was told last that its calls wait for."""
        self._next = 1
        self._hold = hold
        self._held = False

    def __bool__(self) -> bool:
        return bool(self._links)

    def add(self, link: Link) -> int:
        """Take a client in, and return its number."""
        number, self._next = self._next, self._next + 1
        self._links[number] = link
        link.has_room = self._look
        return number

    def remove(self, link: Link) -> bool:
        """Forget a client. False: it was none."""
        for number, known in list(self._links.items()):
            if known is link:
                del self._links[number]
                self._waits.pop(number, None)
                self._look()
                return True
        return False

    def number(self, link: Link) -> int | None:
        """Return the number of this client, or None for a stranger."""
        return next((number for number, known in self._links.items() if known is link), None)

    def tell_all(self, message: ServerToClient) -> None:
        """Send a message to every client."""
        for link in self._links.values():
            link.send(message)

    def wait_for(self, status: PoolStatus) -> None:
        """Tell every client what its calls wait for: all of it only when something but times has changed."""
        jobs = tuple((job.key, job.state, job.reason) for job in status.jobs)
        pauses = tuple((bool(request.pause), request.pause_reason) for request in status.requests)
        waits = status.held, jobs, pauses
        for number, link in self._links.items():
            link.send(Waiting(None if self._waits.get(number) == waits else status.as_data()))
            self._waits[number] = waits

    def started(self, job: JobOfCalls, ids: Iterable[int]) -> None:
        """Tell whose calls run now."""
        self._by_client(ids, lambda own: CallsStarted(job, own))

    def again(self, ids: Iterable[int]) -> None:
        """Tell whose calls wait again."""
        self._by_client(ids, CallsWaitAgain)

    def failed(self, ids: Sequence[int], error: JobPoolError) -> None:
        """End calls with an exception."""
        self._by_client(ids, lambda own: CallsFailed(error.as_data(), own))

    def done(self, job: JobOfCalls, outcomes: Iterable[Outcome]) -> None:
        """Deliver what came of calls. The outcomes are the clients' from now on, and bear their own ids."""
        groups: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            groups.setdefault(outcome.call >> CLIENT_BITS, []).append(outcome)
            outcome.call = own_id(outcome.call)
        for number, own in groups.items():
            if link := self._links.get(number):
                for part in in_parts(own):
                    link.send(CallsDone(job, part))
        self._look()

    def _look(self) -> None:
        waiting = max((link.waiting for link in self._links.values()), default=0)
        held = waiting > (MOST_WAITING // 2 if self._held else MOST_WAITING)
        if held is not self._held:
            self._held = held
            log.info("%s", "results wait for a client that takes none" if held else "results are taken again")
            self._hold(held)

    def _by_client(self, ids: Iterable[int], message: Callable[[list[int]], ServerToClient]) -> None:
        groups: dict[int, list[int]] = {}
        for call in ids:
            groups.setdefault(call >> CLIENT_BITS, []).append(own_id(call))
        for number, own in groups.items():
            if link := self._links.get(number):
                link.send(message(own))

    async def say_bye(self, bye: Bye) -> None:
        """Say the last word, and wait until all clients have heard it: they hang up then."""
        links = list(self._links.values())
        self.tell_all(bye)
        if links:
            await asyncio.wait([link.closed for link in links], timeout=FAREWELL)


def global_ids(client: int, ids: Iterable[int]) -> Iterator[int]:
    """Yield the ids by which the server knows a client's calls. Raises ``WireError`` for what can be none."""
    for id in ids:
        if not 0 <= id < 1 << CLIENT_BITS:
            raise WireError(f"there can be no call {id}")
        yield client << CLIENT_BITS | id


def own_id(call: int) -> int:
    """Return the id by which its client knows a call."""
    return call & ((1 << CLIENT_BITS) - 1)
