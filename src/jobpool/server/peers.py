"""Who is at each connection: a client, a command line or an agent, each heard in its own messages only.

All of them hold the pool's one key, so this is no guard against each other, but one against mistakes: what a peer says
that only others may say, or that nobody says, ends its connection, and costs what that peer's end costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, assert_never

from jobpool.core import events as e
from jobpool.model.errors import JobPoolError, PoolBroken
from jobpool.model.job import JobId
from jobpool.server import client_links
from jobpool.server.agent_links import AgentLinks
from jobpool.server.batch_client import BatchClient
from jobpool.server.call_kinds import CallKinds
from jobpool.server.client_links import ClientLinks
from jobpool.server.facts import PoolFacts
from jobpool.transport.frames import WireError
from jobpool.transport.link import Link
from jobpool.transport.messages.agent import AgentHello, AgentToServer
from jobpool.transport.messages.base import Functions, Message
from jobpool.transport.messages.client import (
    Accepted,
    AddKind,
    AskRecord,
    AskStarts,
    AskStatus,
    Broken,
    Calls,
    Cancel,
    CancelJob,
    CancelRows,
    ClientHello,
    ClientToServer,
    ClientWelcome,
    CommandToServer,
    DaskAddress,
    Facts,
    JobCancelled,
    Notice,
    Scale,
    Shutdown,
    StartDask,
    Starts,
    Stop,
)
from jobpool.transport.packing import Reader

__all__ = ["HEARD", "Peers", "ToServer"]

log = logging.getLogger("jobpool.server.peers")

ToServer = ClientToServer | CommandToServer | AgentToServer
"""What the server may hear from any peer. From each it hears that peer's own messages alone."""

HEARD: Reader[ToServer] = Reader(ToServer)


class Pool(Protocol):
    """What the peers ask of the pool's event loop."""

    broken: JobPoolError | None

    def tell(self, event: e.Event) -> None:
        """Tell the core what happened."""
        ...

    def stop(self, why: str) -> None:
        """End everything now."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this beside the loop."""
        ...

    async def start_dask(self, *, dashboard: bool) -> DaskAddress:
        """Start Dask's Scheduler if it does not run. Raises ``PoolBroken``."""
        ...


class Peers:
    """The connections of one pool's server."""

    def __init__(
        self,
        pool: Pool,
        clients: ClientLinks,
        agents: AgentLinks,
        batch: BatchClient,
        kinds: CallKinds,
        facts: PoolFacts,
        *,
        has_job: Callable[[JobId], bool],
    ) -> None:
        self._pool, self._clients, self._agents = pool, clients, agents
        self._batch, self._kinds, self._facts, self._has_job = batch, kinds, facts, has_job
        self._commands: set[Link] = set()

    def hear(self, link: Link, message: ToServer) -> None:
        """Take a message from whoever is at this link."""
        try:
            if link in self._agents:
                if not isinstance(message, AgentToServer):
                    raise _not_of("an agent", message)
                self._agents.receive(link, message)
            elif (number := self._clients.number(link)) is not None:
                if not isinstance(message, ClientToServer):
                    raise _not_of("a client", message)
                self._hear_client(link, number, message)
            elif link in self._commands or isinstance(message, CommandToServer):
                if not isinstance(message, CommandToServer):
                    raise _not_of("a command line", message)
                self._commands.add(link)
                self._hear_command(link, message)
            elif isinstance(message, AgentHello):
                self._greet_agent(link, message)
            elif isinstance(message, ClientHello):
                self._greet_client(link, message)
            else:
                raise _not_of("a new peer", message)
        except WireError as error:
            link.abort(error)

    def left(self, link: Link, error: BaseException | None) -> bool:
        """Take note that a connection has ended. True: it was the last client's."""
        if isinstance(error, WireError):
            log.error("a connection is closed: %s", error)
        self._commands.discard(link)
        if link in self._agents:
            self._agents.left(link, error)
            return False
        return self._clients.remove(link) and not self._clients

    # ----------------------------------------------------------------------------------------------------- first words

    def _greet_agent(self, link: Link, hello: AgentHello) -> None:
        job = e.JobKey(*hello.job)
        self._batch.joined(job, JobId(hello.id))
        self._agents.greet(link, hello, job, self._batch.request_of(job))

    def _greet_client(self, link: Link, hello: ClientHello) -> None:
        self._clients.add(link)
        link.answer(hello, ClientWelcome(system=self._facts.system, logs=str(self._batch.log_directory)))
        for text, warning in self._facts.notices:
            link.send(Notice(text, warning))
        if self._pool.broken is not None:
            link.send(Broken(self._pool.broken.as_data()))

    # -------------------------------------------------------------------------------------------------------- messages

    def _hear_client(self, link: Link, number: int, message: ClientToServer) -> None:
        now = asyncio.get_running_loop().time()
        match message:
            case Calls(kind, calls):
                self._kinds.admit(number, kind, calls)
                self._pool.tell(e.CallsArrived(now, tuple(calls)))
            case Functions(functions):
                self._agents.define(functions)
            case Cancel(ids):
                self._pool.tell(e.CallsCancelled(now, tuple(client_links.global_ids(number, ids))))
            case CancelRows(spans):
                ids = [id for first, count in spans for id in range(first, first + count)]
                self._pool.tell(e.CallsCancelled(now, tuple(client_links.global_ids(number, ids))))
            case Scale(workers):
                self._pool.tell(e.ScaleAsked(now, workers))
            case Shutdown(cancel_waiting, kill):
                self._pool.tell(e.ShutdownAsked(now, cancel_waiting=cancel_waiting, kill=kill))
            case AddKind():
                self._add_kind(link, message)
            case StartDask():
                self._pool.spawn(self._answer_dask(link, message))
            case AskStatus() | AskRecord() | AskStarts():
                self._tell_facts(link, message)
            case ClientHello():
                raise _not_of("a client that is in", message)
            case _:
                assert_never(message)

    def _hear_command(self, link: Link, message: CommandToServer) -> None:
        match message:
            case AskStatus() | AskRecord() | AskStarts():
                self._tell_facts(link, message)
            case CancelJob():
                self._pool.spawn(self._cancel_job(link, message))
            case Stop(why=why):
                link.answer(message, Accepted())
                self._pool.stop(why)
            case _:
                assert_never(message)

    def _tell_facts(self, link: Link, question: AskStatus | AskRecord | AskStarts) -> None:
        match question:
            case AskStatus():
                link.answer(question, Facts(facts=self._facts.status().as_data()))
            case AskRecord():
                link.answer(question, Facts(facts=self._facts.record().as_data()))
            case AskStarts():
                self._pool.spawn(self._answer_starts(link, question))
            case _:
                assert_never(question)

    def _add_kind(self, link: Link, message: AddKind) -> None:
        try:
            new = self._kinds.add(message.key, message.kind)
        except JobPoolError as error:
            link.refuse(message, error)
            return
        if new is not None:
            self._pool.tell(e.RequestAdded(asyncio.get_running_loop().time(), *new))
        link.answer(message, Accepted())

    async def _cancel_job(self, link: Link, question: CancelJob) -> None:
        """Cancel one job of this pool, as its user would by the batch system's own command: its calls run again."""
        id = JobId(question.id)
        known = self._has_job(id)
        if known:
            await self._batch.cancel((), (id,))
        link.answer(question, JobCancelled(known=known))

    async def _answer_starts(self, link: Link, question: AskStarts) -> None:
        try:
            starts = await self._batch.starts()
        except JobPoolError as error:
            link.refuse(question, error)
        else:
            link.answer(question, Starts(starts={str(id): at for id, at in starts.items()}))

    async def _answer_dask(self, link: Link, question: StartDask) -> None:
        try:
            if not link.is_of_this_host:  # Dask opens what it is sent
                raise PoolBroken("only the pool's script may start Dask")
            link.answer(question, await self._pool.start_dask(dashboard=question.dashboard))
        except PoolBroken as error:
            link.refuse(question, error)


def _not_of(peer: str, message: Message) -> WireError:
    return WireError(f"{type(message).__name__} is no message of {peer}")
