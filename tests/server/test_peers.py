"""The server's three kinds of peers: what one says that only others may say, or nobody, ends its connection alone."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobpool import JobPoolExecutor, PoolBroken
from jobpool.cli.ask import ask_now
from jobpool.config.call_options import CallKind
from jobpool.host.home import PoolDirectory
from jobpool.host.versions import versions
from jobpool.model.call import Call, Death, Outcome, Usage
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.request import Request
from jobpool.model.units import Duration, Memory
from jobpool.testing import FakeCluster
from jobpool.transport import frames, tls
from jobpool.transport.link import Link, dial
from jobpool.transport.messages import agent as a
from jobpool.transport.messages import client as c
from jobpool.transport.messages.base import Checkpointed, Function, Functions, Message, Question, Remark
from jobpool.transport.packing import Reader, pack, pack_plain
from jobpool.transport.plain_data import as_plain

PATIENCE = 60.0
ANSWERS: Reader[Message] = Reader(c.ServerToClient | c.ServerAnswer | a.ServerToAgent | a.AgentAnswer)

# ---------------------------------------------------------------------- what a peer of each kind may say, at any time

TEXTS = st.text(max_size=8)
COUNTS = st.integers(0, 3) | st.integers(0, 2**40 - 1)
IDS = st.lists(COUNTS, max_size=4)
USAGES = st.none() | st.just(Usage(wall=1.0, cpu=1.0, peak_memory=Memory(5), threads=1))
OUTCOMES = st.builds(Outcome, COUNTS, st.booleans(), st.binary(max_size=5), USAGES, rows=st.integers(0, 1024))

OF_CLIENT = (
    st.builds(Functions, st.lists(st.builds(Function, TEXTS, st.binary(max_size=70_000)), max_size=2))
    | st.builds(c.Cancel, IDS)
    | st.builds(c.CancelRows, st.lists(st.tuples(COUNTS, st.integers(0, 1024)), max_size=3))
    | st.builds(c.AskStatus, reference=COUNTS)
    | st.builds(c.AskRecord, reference=COUNTS)
)
OF_COMMAND = st.builds(c.AskStatus) | st.builds(c.AskRecord) | st.builds(c.CancelJob, id=TEXTS)
OF_AGENT = (
    st.builds(a.Ready, st.integers(1, 3), st.none() | st.floats(0, 1e6))
    | st.builds(a.Pong)
    | st.builds(a.Started, IDS.map(tuple))
    | st.builds(a.Done, st.lists(OUTCOMES, max_size=3))
    | st.builds(a.Returned, IDS.map(tuple))
    | st.builds(a.Cut, COUNTS, st.integers(0, 1024))
    | st.builds(Checkpointed, COUNTS, st.binary(max_size=5))
    | st.builds(a.Died, st.none() | COUNTS, st.just(Death(exit_code=1)))
    | st.builds(a.Leaving, TEXTS, st.booleans())
    | st.builds(a.Suspended)
    | st.builds(a.WentOn, st.none() | st.floats(0, 1e6))
    | st.builds(a.SlotsTaken, st.integers(0, 4))
    | st.builds(Remark, TEXTS, TEXTS)
)

# ------------------------------------------------------------------------------------------- what it may not say

NOBODYS = (
    st.binary(min_size=1, max_size=300).map(lambda data: [len(data).to_bytes(8, "little"), data])
    | st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).map(lambda plain: frames.frame(pack_plain(plain)))
    | st.just([(2**60).to_bytes(8, "little")])
)
BY_NAME = st.sampled_from(
    [kind.__name__ for union in (c.ClientToServer, c.CommandToServer, a.AgentToServer) for kind in union.__args__]
)
MALFORMED = st.builds(
    lambda name, fields: frames.frame(pack_plain([name, {"x": 1}, *fields])), BY_NAME, st.lists(TEXTS, max_size=3)
)
"""No field of any message is such a dictionary, or there is none."""
KINDS = [
    as_plain(CallKind(request, workers, terms, own=False))
    for request, workers, terms in (
        (Request(cores=-1), 1, PLAIN),
        (Request(gpus=-1), 1, PLAIN),
        (Request(workers_per_job=0), 1, PLAIN),
        (Request(memory=Memory(-1)), 1, PLAIN),
        (Request(walltime=Duration(math.nan)), 1, PLAIN),
        (Request(), -1, PLAIN),
        (Request(), 1, CallOptions(timeout=Duration(math.nan))),
        (Request(), 1, CallOptions(expected_time=Duration(math.inf))),
    )
]
IMPOSSIBLE = st.sampled_from(
    [
        c.Calls("", [Call(1, "unknown", b"")]),
        c.Calls("unknown", [Call(1, "unknown", b"")]),
        c.Calls("", [Call(-1, "unknown", b"")]),
        c.Cancel([-1]),
        c.Cancel([2**40]),
        c.CancelRows([(1, 2**50)]),
        c.AddKind(key="key", kind={"request": {}}),
        *(c.AddKind(key="key", kind=kind) for kind in KINDS),
        c.Calls("", [Call(1, "unknown", b"", rows=-1)]),
        c.Calls("", [Call(1, "unknown", b"", skip=2**40)]),
        c.CancelRows([(1, -1)]),
        c.Scale(-1),
        c.ClientHello(),
    ]
)
NOT_CLIENTS = (OF_AGENT | st.builds(c.CancelJob, id=TEXTS) | st.just(c.Bye([], [])) | IMPOSSIBLE).map(pack)
NOT_COMMANDS = (OF_AGENT | st.builds(c.Cancel, IDS) | st.just(c.ClientHello()) | st.just(a.Ping())).map(pack)
HELLO = a.AgentHello(job=("jp-made-up-1", 0), id="1", node="n", pid=os.getpid(), versions=versions())
NUMBERLESS = Usage(wall=math.nan, cpu=math.inf, peak_memory=Memory(1), threads=1)
ABSURD = st.sampled_from(
    [
        a.Ready(-1, None),
        a.Ready(2**40, None),
        a.Ready(1, math.nan),
        a.Ready(1, -math.inf),
        a.WentOn(math.inf),
        a.Started((-1,)),
        a.Started((2**63,)),
        a.Done([Outcome(1, True, b"", None, rows=-3)]),
        a.Done([Outcome(-1, True, b"")]),
        a.Done([Outcome(1, True, b"", NUMBERLESS)]),
        a.Done([Outcome(1, True, b"", Usage(wall=1.0, cpu=1.0, peak_memory=Memory(-5), threads=1))]),
        a.Done([Outcome(1, True, b"", failures=-1)]),
        a.Returned((-1,)),
        a.Cut(1, -1),
        Checkpointed(-1, b""),
        a.Died(1, Death(signal=-9)),
        a.Died(1, Death(exit_code=2**40)),
        a.Died(1, Death(out_of_memory=True, limit=-1)),
        a.SlotsTaken(-1),
        a.SlotsTaken(2**40),
    ]
)
"""What no agent counts."""
NOT_AGENTS = (ABSURD | OF_CLIENT | OF_COMMAND | st.just(c.ClientHello()) | st.just(HELLO) | st.just(a.Ping())).map(pack)
NOT_FIRST = (OF_AGENT | st.builds(c.Cancel, IDS) | st.builds(c.Shutdown, st.booleans(), st.booleans())).map(pack)

BEHAVIOUR: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just([]), st.lists(st.nothing()), NOBODYS | NOT_FIRST),
    st.tuples(st.just([c.ClientHello()]), st.lists(OF_CLIENT, max_size=4), NOBODYS | MALFORMED | NOT_CLIENTS),
    st.tuples(st.just([c.AskStatus()]), st.lists(OF_COMMAND, max_size=4), NOBODYS | MALFORMED | NOT_COMMANDS),
    st.tuples(st.just([HELLO]), st.lists(OF_AGENT, max_size=6), NOBODYS | MALFORMED | NOT_AGENTS),
)


async def behave(first: list[Question[Any]], then: list[Message], wrong: list[bytes]) -> None:
    """Be a peer that says these things, and return when the server has closed the connection."""
    directory = PoolDirectory.open("heard")
    connection = directory.connection()
    assert connection is not None
    context = tls.client_context(directory.path)
    make = lambda: Link(ANSWERS, lambda link, message: None)  # noqa: E731
    _, link = await dial(["127.0.0.1"], connection["port"], context, make)
    assert link._transport is not None
    for question in first:  # a command line needs none before it asks
        await link.ask(question)
    for message in then:
        link.send(message)
    link._transport.writelines(wrong)
    await asyncio.wait_for(link.closed, PATIENCE)


def test_a_peer_that_says_what_it_may_not_is_cut_off_and_the_pool_goes_on() -> None:
    with JobPoolExecutor(1, scheduler="local", name="heard") as pool:

        @settings(max_examples=100, deadline=None)
        @given(BEHAVIOUR, st.integers(-(2**40), 0))
        def check(behaviour: Any, number: int) -> None:
            asyncio.run(behave(*behaviour))
            assert pool.submit(abs, number).result(PATIENCE) == -number

        check()


def test_an_agent_of_another_version_is_cut_off_and_the_user_told_what_to_do() -> None:
    with JobPoolExecutor(1, scheduler="local", name="heard") as pool:
        asyncio.run(behave([HELLO], [], frames.frame(pack_plain(["MessageOfALaterVersion", 1]))))
        texts = [text for text, _ in pool.status().notices]
        assert any(
            "the agent of the job 1 on n was cut off" in text
            and "start the script, its jobs and the command line with the same version of jobpool" in text
            for text in texts
        ), texts


def test_a_command_line_that_the_server_does_not_understand_is_told_what_to_do() -> None:
    with JobPoolExecutor(1, scheduler="local", name="heard"):
        directory = PoolDirectory.open("heard")
        assert ask_now(directory, c.AskStatus()).facts["name"] == "heard"
        with pytest.raises(PoolBroken, match="closed the connection") as caught:
            ask_now(directory, c.AddKind(key="key", kind={}))
        assert "in the script's environment" in str(caught.value)


def test_what_calls_wait_for_is_sent_whole_only_when_it_changes(home: Path, tmp_path: Path) -> None:
    with FakeCluster(tmp_path / "fake") as cluster, pytest.MonkeyPatch.context() as environment:
        for name, value in cluster.environment.items():
            environment.setenv(name, value)
        cluster.hold("Resources")
        with JobPoolExecutor(1, scheduler="slurm", name="heard") as pool:
            future = pool.submit(abs, -1)
            heard: list[dict[str, Any] | None] = []

            def hear(link: Link, message: Message) -> None:
                if isinstance(message, c.Waiting):
                    heard.append(message.snapshot)

            async def listen() -> None:
                directory = PoolDirectory.open("heard")
                connection = directory.connection()
                assert connection is not None
                context = tls.client_context(directory.path)
                _, link = await dial(["127.0.0.1"], connection["port"], context, lambda: Link(ANSWERS, hear))
                await link.ask(c.ClientHello())
                async with asyncio.timeout(PATIENCE):
                    while len(heard) < 3 or heard[-2:] != [None, None]:
                        await asyncio.sleep(0.05)
                link.abort()

            asyncio.run(listen())
            assert heard[0] is not None
            assert {job["state"] for job in heard[0]["jobs"]} <= {"submitting", "pending"}
            cluster.release()
            assert future.result(PATIENCE) == 1
