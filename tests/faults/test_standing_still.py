"""Processes that stand still for longer than a minute, and hosts that are gone: told apart, with the real times."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from sites import MARK, PATIENCE, LocalSite, SlurmSite, script_environment
from test_frozen_processes import agent_of, leave_a_trace, server_of, standing_still

from jobpool.host.home import PoolDirectory
from jobpool.testing import wait_until
from jobpool.transport import tls
from jobpool.transport.link import Link, dial
from jobpool.transport.messages.agent import Pong
from jobpool.transport.messages.base import Function, Functions
from jobpool.transport.packing import Reader

STILL = 80.0
"""Seconds. The kernel's answers count, and no limit of a minute does."""

LARGE = 3_000_000
"""Bytes of an argument or a result: a few fill all buffers on the way."""


def return_much(directory: str, number: int, _argument: bytes = b"") -> bytes:
    leave_a_trace(directory, number)
    return bytes(LARGE)


_CLIENT = """
import time
from jobpool import JobPoolExecutor

def much(number):
    time.sleep(0.1)
    return bytes(300_000)

if __name__ == "__main__":
    with JobPoolExecutor(2, scheduler="local") as pool:
        futures = [pool.submit(much, number) for number in range(100)]
        print(len(futures[0].result()), flush=True)
        print(sum(len(future.result()) for future in futures))
"""


_OTHER_HOST = """
import asyncio, sys
from pathlib import Path
from jobpool.host.home import PoolDirectory
from jobpool.transport.link import Link
from jobpool.transport.messages.agent import Pong
from jobpool.transport.messages.base import Functions
from jobpool.transport.packing import Reader
from jobpool.server.client_links import listen

async def main():
    make = lambda: Link(Reader(Functions), lambda link, message: link.send(Pong()))
    _, port = await listen(PoolDirectory(Path(sys.argv[1])), sys.argv[2], make)
    print(port, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


class Host(NamedTuple):
    """A network namespace with an address of its own, as another host has it."""

    name: str
    address: str


@pytest.fixture(scope="module")
def other_host() -> Iterator[Host | None]:
    """Another host, in a network with this one that no other test has. None: impossible."""
    name = f"jp{uuid.uuid4().hex[:6]}"
    third, last = random.randrange(256), 4 * random.randrange(64)
    here, there = (f"10.77.{third}.{last + number}" for number in (1, 2))
    commands = [
        f"ip netns add {name}",
        f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip addr add {here}/30 dev {name}a",
        f"ip link set {name}a up",
        f"ip -n {name} addr add {there}/30 dev {name}b",
        f"ip -n {name} link set {name}b up",
    ]
    possible = os.geteuid() == 0 and shutil.which("ip") is not None
    try:
        yield Host(name, there) if possible and not any(map(_fails, commands)) else None
    finally:
        if possible:
            _fails(f"ip netns del {name}")


def _fails(command: str) -> int:
    return subprocess.run(command.split(), capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def gone(other_host: Host | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Future[float]]]:
    """The seconds until each of two connections to a host that is gone has ended: a busy one, and an idle one.

    Nobody waits for them here: it takes a minute, in which other tests run.
    """
    if other_host is None:
        yield []
        return
    directory = PoolDirectory(tmp_path_factory.mktemp("gone"))
    tls.make_keys(directory)
    name, address = other_host
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", _OTHER_HOST, str(directory.path), address]
    both = threading.Barrier(2)

    async def connection(port: int, *, busy: bool) -> float:
        heard = asyncio.Event()
        context = tls.client_context(directory.path)
        _, link = await dial([address], port, context, lambda: Link(Reader(Pong), lambda link, message: heard.set()))
        link.send(Functions([]))
        await heard.wait()
        both.wait(PATIENCE)
        _fails(f"ip -n {name} addr flush dev {name}b")
        cut = time.monotonic()
        if busy:
            link.send(Functions([Function("f", bytes(LARGE))]))
        await asyncio.wait_for(link.closed, 150)
        return time.monotonic() - cut

    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as peer, ThreadPoolExecutor(2) as threads:
        assert peer.stdout is not None
        try:
            port = int(peer.stdout.readline())
            yield [threads.submit(asyncio.run, connection(port, busy=busy)) for busy in (True, False)]
        finally:
            peer.kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whoever_stands_still_for_longer_than_a_minute_finds_all_as_it_was(
    site: SlurmSite, home: Path, tmp_path: Path, gone: object
) -> None:
    """Side by side: a client, a server and an agent, each with more on its way to it than buffers hold."""
    script = tmp_path / "client.py"
    script.write_text(_CLIENT)
    environment = script_environment(site, home, f"{MARK}=client")
    traces = {name: tmp_path / name for name in ("server", "agent")}
    for trace in traces.values():
        trace.mkdir()
    client = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=-1, stderr=-1, text=True)
    assert client.stdout is not None
    try:
        with site.pool(2) as served, LocalSite().pool(2, workers_per_job=2) as local:
            futures = {
                "server": [served.submit(return_much, str(traces["server"]), number) for number in range(100)],
                "agent": [local.submit(return_much, str(traces["agent"]), n, bytes(LARGE)) for n in range(60)],
            }
            for some in futures.values():
                assert len(some[0].result(PATIENCE)) == LARGE
            assert client.stdout.readline() == "300000\n"
            agent = agent_of(local)
            with standing_still(client.pid), standing_still(server_of(served)), standing_still(agent):
                time.sleep(STILL)  # nothing to wait for: this is the fault
            for name, some in futures.items():
                assert {len(future.result(2 * PATIENCE)) for future in some} == {LARGE}, name
            assert agent_of(local) == agent
        out, errors = client.communicate(timeout=PATIENCE)
        assert (out, errors.count("gone")) == (f"{100 * 300_000}\n", 0), errors
    finally:
        client.kill()
        client.communicate()
    for name, some in futures.items():
        ran = sorted(int(path.name.partition("-")[0]) for path in traces[name].iterdir())
        assert ran == list(range(len(some))), f"{name}: calls ran twice"


MANY, ONE = 24, 25_000_000
"""Results and their bytes: together far more than what may wait for a client."""


@pytest.mark.alone
def test_what_waits_for_a_client_that_stands_still_is_bounded(home: Path, tmp_path: Path) -> None:
    """The rest waits where it was made, and its workers with it."""
    script = tmp_path / "client.py"
    script.write_text(_CLIENT.replace("300_000", str(ONE)).replace("range(100)", f"range({MANY})"))
    environment = script_environment(LocalSite(), home, f"{MARK}=client")
    client = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=-1, text=True)
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == f"{ONE}\n"
        directory = next(PoolDirectory.all())
        connection = directory.connection()
        assert connection is not None
        server = psutil.Process(connection["pid"])
        with standing_still(client.pid):
            assert wait_until(lambda: "results wait for a client" in directory.server_log.read_text(), PATIENCE)
            largest = 0
            for _ in range(20):
                time.sleep(0.1)
                largest = max(largest, server.memory_info().rss)
        assert largest < 480 * 2**20 < MANY * ONE
        assert client.communicate(timeout=2 * PATIENCE)[0] == f"{MANY * ONE}\n"
        assert "results are taken again" in directory.server_log.read_text()
    finally:
        client.kill()
        client.wait()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_host_that_is_gone_is_noticed_after_a_minute(gone: list[Future[float]]) -> None:
    if not gone:
        pytest.skip("NOT TESTED: a host that is gone; this needs root, and network namespaces with ip(8)")
    for future in gone:
        assert 50 < future.result(150) < 90
