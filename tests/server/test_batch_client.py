"""The server's questions to batch systems that are not like SLURM, asked of jobs of this machine by other commands."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from test_server_process import prepared

from jobpool.batch.base import Capabilities, JobScript, NoAccounting, Notice, Notices, Submission, Tracked, Unanswered
from jobpool.batch.exit_file import directory_of, file_name
from jobpool.batch.local.system import Local
from jobpool.commands import shell
from jobpool.core import events as ev
from jobpool.model.command import Command, Completed
from jobpool.model.job import Ending, EndingKind, JobId, JobState, Seen
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration
from jobpool.server import cleanup
from jobpool.server.batch_client import BatchClient
from jobpool.server.cancel import Cancels
from jobpool.server.exit_files import make_directory
from jobpool.transport import tls

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Other(Local):
    """Takes one submission in a poll and one id in a cancel, knows no names there, and has jobs that sleep."""

    hangs: tuple[str, ...] = ()
    """Ids whose cancel hangs, and is carried out all the same."""
    asked: list[Command] = field(default_factory=list)
    """The cancel commands that were made."""
    accounts: list[str] | None = None
    """Names for which an accounting was asked, by ids, that says there is none. None: no command asks for one."""
    capabilities: Capabilities = Capabilities(exit_files=True)  # noqa: RUF009 - frozen

    def prepare(self, job: JobScript, *, count: int, environment: Mapping[str, str]) -> Submission:
        sleeping = replace(job, argv=("bash", "-c", "exec sleep 600"))
        return Local.prepare(self, sleeping, count=count, environment=environment)

    def poll(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        return tuple(command for one in submissions if one.ids for command in Local.poll(self, [one]))

    def find(self, name: str) -> tuple[Command, ...]:
        return Local.poll(self, [Tracked(name)])

    def parse_poll(self, done: Sequence[Any], submissions: Sequence[Tracked]) -> Any:
        answers = [Local.parse_poll(self, [one], submissions) for one in done]
        unanswered = [answer for answer in answers if isinstance(answer, Unanswered)]
        told = [seen for answer in answers if isinstance(answer, tuple) for seen in answer]
        # A stranger's job beside: a poll may show all that the user has.
        other = Seen(id=JobId("other.0"), name="other", index=0, state=JobState.RUNNING)
        return unanswered[0] if unanswered else (other, *told)

    def account(self, submissions: Sequence[Tracked]) -> tuple[Command, ...]:
        if self.accounts is None or not any(one.ids for one in submissions):
            return ()
        self.accounts.extend(one.name for one in submissions)
        return (Command(("false",)),)

    def parse_account(self, done: Sequence[Any], submissions: Sequence[Tracked]) -> Any:
        return NoAccounting("there is none here")

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        known = [id for one in submissions for id in one.ids.values()]
        commands = [command for id in dict.fromkeys((*known, *ids)) for command in Local.cancel(self, (), [id])]
        for number, command in enumerate(commands):
            if command.argv[-1] in self.hangs:
                words = (
                    sys.executable,
                    "-c",
                    "import subprocess, sys, time; subprocess.run(sys.argv[1:]); time.sleep(60)",
                )
                commands[number] = Command((*words, *command.argv), timeout=3.0)
        self.asked.extend(commands)
        return tuple(commands)


Scenario = Callable[[BatchClient, Other, list[ev.Event]], Coroutine[Any, Any, None]]


@pytest.fixture
def play() -> Iterator[Callable[..., None]]:
    """Play a scenario with a client of a pool of this system; afterwards none of its jobs is left."""
    with play_in() as play:
        yield play


@contextmanager
def play_in() -> Iterator[Callable[..., None]]:
    directory, spec = prepared("other")
    tls.make_keys(directory)
    plain = Local(directory.path / "local")

    def play(scenario: Scenario, **more: Any) -> None:
        told: list[Any] = []
        system = Other(directory.path / "local", **more)
        client = BatchClient(directory, spec, system, told.append, pytest.fail)
        asyncio.run(scenario(client, system, told))

    try:
        yield play
    finally:
        names = directory.lines("submissions")
        assert asyncio.run(cleanup._cancel_until_gone(plain, names, PATIENCE)) == ()


async def submitted(client: BatchClient, told: list[ev.Event], name: str, count: int) -> tuple[JobId, ...]:
    await client.submit(name, Request(), count)
    event = told.pop()
    assert isinstance(event, ev.JobsSubmitted)
    return event.ids


async def living(client: BatchClient, told: list[ev.Event], *names: str) -> set[JobId]:
    await client.poll(names)
    event = told.pop()
    assert isinstance(event, ev.Polled)
    assert {seen.name for seen in event.seen} <= set(names)
    return {seen.id for seen in event.seen if seen.state is JobState.RUNNING}


def test_a_poll_of_several_commands_shows_the_jobs_of_all_and_no_others(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = [*await submitted(client, told, "jp-a-1", 2), *await submitted(client, told, "jp-b-1", 1)]
        assert await living(client, told, "jp-a-1", "jp-b-1") == set(ids)

    play(scenario)


def test_a_submission_without_ids_is_found_by_its_name(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 2)
        client._ids.clear()  # as when the answer of the submit command was lost
        assert await living(client, told, "jp-a-1") == set(ids)
        assert client.id_of(ev.JobKey("jp-a-1", 1)) == ids[1]

    play(scenario)


def test_where_the_id_of_one_job_is_known_the_others_are_found_all_the_same(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 2)
        client._ids.clear()
        client.joined(ev.JobKey("jp-a-1", 1), ids[1])  # its agent was faster than the answer of the submit command
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Other, "poll", lambda self, submissions: ())  # as where it is asked by id alone
            assert await living(client, told, "jp-a-1") == set(ids)

    play(scenario)


def test_a_job_that_two_commands_show_is_one(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 2)
        client._ids.clear()
        client.joined(ev.JobKey("jp-a-1", 1), ids[1])  # so that it is asked by id and by name
        await client.poll(["jp-a-1"])
        event = told.pop()
        assert isinstance(event, ev.Polled)
        assert sorted(seen.id for seen in event.seen) == sorted(ids)

    play(scenario)


def test_one_poll_without_an_answer_says_nothing_of_any_job(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        await submitted(client, told, "jp-a-1", 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Other, "find", lambda self, name: (Command(("false",)),))
            await client.poll(["jp-a-1", "jp-doubtful-1"])
        assert isinstance(told.pop(), ev.PollFailed)

    play(scenario)


def test_each_id_has_a_cancel_of_its_own_and_a_few_run_at_a_time(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "AT_ONCE", 2)

    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 5)
        await client.cancel((), ids[1:])
        assert len(system.asked) == 4
        async with asyncio.timeout(PATIENCE):
            while await living(client, told, "jp-a-1") != {ids[0]}:
                await asyncio.sleep(0.1)

    play(scenario)


def test_a_cancel_that_hangs_was_perhaps_done_and_puts_the_others_off(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "AT_ONCE", 1)

    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 3)
        await client.cancel((), ids)
        async with asyncio.timeout(PATIENCE):
            while len(left := await living(client, told, "jp-a-1")) > 2:
                await asyncio.sleep(0.1)
        assert left == set(ids[1:])  # the first was carried out, the others were not begun
        await client.cancel((), ids)  # the next poll still shows them, so they are cancelled again
        async with asyncio.timeout(PATIENCE):
            while await living(client, told, "jp-a-1"):
                await asyncio.sleep(0.1)
                await client.cancel((), sorted(await living(client, told, "jp-a-1")))

    play(scenario, hangs=("jp-a-1.0",))


def test_a_cancel_is_not_run_a_second_time_beside_itself(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        (id,) = await submitted(client, told, "jp-a-1", 1)
        cancels = Cancels(system)
        first = asyncio.create_task(cancels.cancel((), [id]))
        while not cancels._under_way:
            await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        assert await cancels.cancel((), [id])
        assert asyncio.get_running_loop().time() - begun < 1.0
        await first

    play(scenario, hangs=("jp-a-1.0",))


def test_a_dead_pool_is_cleared_where_jobs_cannot_be_cancelled_by_name(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        await submitted(client, told, "jp-a-1", 2)
        begun = asyncio.get_running_loop().time()
        assert await cleanup._cancel_until_gone(system, ["jp-a-1"], PATIENCE) == ()
        assert asyncio.get_running_loop().time() - begun < cleanup.AGAIN  # what is seen is cancelled at once

    play(scenario)


@dataclass(frozen=True, slots=True)
class Slow(Local):
    """Jobs of this machine that take seconds to end after a cancel, as the site gives them."""

    gives: float = 0.0
    ends: float = math.inf
    """On the monotonic clock."""

    def limits(self, user: str) -> tuple[Command, ...]:
        return (Command(("true",)),)

    def parse_limits(self, done: Sequence[Completed]) -> Limits:
        return Limits(kill_wait=Duration(self.gives))

    def notices(self, site: Limits) -> Notices:
        return Notices(walltime=None, delete=None if site.kill_wait is None else Notice("TERM", float(site.kill_wait)))

    def cancel(self, submissions: Sequence[Tracked], ids: Sequence[JobId]) -> tuple[Command, ...]:
        return Local.cancel(self, submissions, ids) if time.monotonic() >= self.ends else ()


@pytest.mark.parametrize(("gives", "left"), [(60.0, 0), (0.0, 1)])
def test_the_jobs_of_a_dead_pool_have_as_long_to_end_as_the_site_gives_them(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, gives: float, left: int
) -> None:
    """Where it gives them no longer than was waited for, they are told as left."""
    monkeypatch.setattr(cleanup, "PATIENCE", 0.5)
    monkeypatch.setattr(cleanup, "MARGIN", 0.5)
    monkeypatch.setattr(cleanup, "AGAIN", 0.2)

    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        await submitted(client, told, "jp-a-1", 1)
        ends = time.monotonic() + 2.0 if gives else math.inf
        slow = Slow(system.directory, gives=gives, ends=ends)
        assert len(await cleanup._cancel_until_gone(slow, ["jp-a-1"], None)) == left

    play(scenario)


def test_a_server_that_failed_cancels_where_it_cannot_by_name(play: Callable[..., None]) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        await submitted(client, told, "jp-a-1", 2)
        await cleanup.cancel_once(system, ["jp-a-1"])
        async with asyncio.timeout(PATIENCE):
            while await living(client, told, "jp-a-1"):
                await asyncio.sleep(0.1)

    play(scenario)


def test_without_accounting_exit_files_tell_when_they_come(play: Callable[..., None], home: Path) -> None:
    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        ids = await submitted(client, told, "jp-a-1", 2)
        pool = system.directory.parent

        async def accounted() -> Mapping[JobId, Ending | JobState] | None:
            await client.account(["jp-a-1"])
            event = told.pop()
            assert isinstance(event, ev.Accounted)
            return event.known

        assert await accounted() == {}  # not None, after which nobody would ask again
        make_directory(pool)
        write = partial(_write, pool)
        write(0, "began 1000 n1\n")
        assert await accounted() == {}
        write(0, "began 1000 n1\nended 1005 75\n")
        (known,) = [await accounted()]
        assert known is not None
        assert known.keys() == {ids[0]}
        ending = known[ids[0]]
        assert isinstance(ending, Ending)
        assert (ending.kind, ending.exit_code, ending.node) == (EndingKind.FAILED, 75, "n1")

    play(scenario)


def test_an_accounting_that_takes_only_ids_is_asked_when_they_are_known(play: Callable[..., None]) -> None:
    asked: list[str] = []

    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        await client.account(["jp-a-1"])
        assert told.pop() == ev.Accounted(ANY, ("jp-a-1",), {})  # not None, after which nobody would ask again
        assert asked == []
        await submitted(client, told, "jp-a-1", 1)
        await client.account(["jp-a-1"])
        assert told.pop() == ev.Accounted(ANY, ("jp-a-1",), None)
        assert asked == ["jp-a-1"]

    play(scenario, accounts=asked, capabilities=Capabilities())


def test_an_accounting_that_says_it_is_none_is_asked_once_and_exit_files_are_read_on(play: Callable[..., None]) -> None:
    asked: list[str] = []

    async def scenario(client: BatchClient, system: Other, told: list[ev.Event]) -> None:
        (id,) = await submitted(client, told, "jp-a-1", 1)
        for _ in range(2):
            await client.account(["jp-a-1"])
            assert told.pop() == ev.Accounted(ANY, ("jp-a-1",), {})
        _write(system.directory.parent, 0, "began 1000 n1\nended 1005 75\n")
        await client.account(["jp-a-1"])
        event = told.pop()
        assert isinstance(event, ev.Accounted)
        assert event.known is not None
        assert event.known.keys() == {id}
        assert asked == ["jp-a-1"]

    play(scenario, accounts=asked)


def _write(pool: Path, index: int, text: str) -> None:
    (directory_of(pool) / file_name("jp-a-1", index)).write_text(text)
