"""Nobody else gets in: not another user, not without keys, not with another pool's keys."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import pickle
import shutil
import socket
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
from sites import PATIENCE, LocalSite, Site

from jobpool import JobPoolError, JobPoolExecutor, PoolBroken
from jobpool.host import versions
from jobpool.host.home import PoolDirectory
from jobpool.transport import dask_config, frames, tls
from jobpool.transport.link import Link, LinkClosed, dial
from jobpool.transport.messages.agent import AgentAnswer, AgentBye, AgentHello, AgentToServer, Done, ServerToAgent
from jobpool.transport.messages.base import Message
from jobpool.transport.messages.client import (
    AskStatus,
    Calls,
    ClientHello,
    ClientToServer,
    ServerAnswer,
    ServerToClient,
    StartDask,
)
from jobpool.transport.packing import Reader, pack_plain

NOBODY = 65534


@pytest.fixture
def busy_pool(site: Site, home: Path) -> Iterator[JobPoolExecutor]:
    """A pool that has run something, in a home that others may enter: what is closed is closed by the pool."""
    with site.pool(1, name="mine") as pool:
        pool.submit(print, "secret words").result(PATIENCE)
        home.chmod(0o755)
        yield pool


def ports(pool: JobPoolExecutor) -> list[int]:
    """Return the ports on which the pool's server listens: its own, and that of Dask's scheduler."""
    connection = PoolDirectory.open(pool.name).connection()
    assert connection is not None
    return [int(connection["port"]), int(pool._connection.ask(StartDask(dashboard=False)).port)]


def handshake(port: int, context: ssl.SSLContext) -> bytes:
    """Try to speak TLS, and return what the server sends to somebody who got in; nothing when it refuses."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(b"\0" * 64)
            return secure.recv(1000)
    except (ssl.SSLError, ConnectionError):
        return b""


def careless() -> ssl.SSLContext:
    """Return a context of somebody who checks nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_without_keys_nothing_is_said(busy_pool: JobPoolExecutor) -> None:
    for port in ports(busy_pool):
        assert handshake(port, careless()) == b""


def test_with_the_keys_something_is_said(busy_pool: JobPoolExecutor, home: Path) -> None:
    """Else the tests around would pass on a server that says nothing to anybody."""
    context = careless()
    context.load_cert_chain(home / ".jobpool" / "mine" / "cert.pem", home / ".jobpool" / "mine" / "key.pem")
    assert handshake(ports(busy_pool)[1], context) != b""


class _Trap:
    """Makes a file where it is opened."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._marker),)


async def _say_to_server(pool: JobPoolExecutor, content: list[Any], *, role: str) -> None:
    """Be a client or an agent that holds the key, say one thing, and wait until the server has dealt with it."""
    directory = PoolDirectory.open(pool.name)
    connection = directory.connection()
    assert connection is not None
    context = tls.client_context(directory.path)
    _, link = await dial(["127.0.0.1"], connection["port"], context, lambda: Link(ANSWERS, lambda link, message: None))
    if role == "agent":
        await link.ask(AgentHello(job=("jp-made-up-1", 0), id="1", node="n", pid=1, versions=versions.versions()))
    else:
        await link.ask(ClientHello())
    assert link._transport is not None
    link._transport.writelines(frames.frame(pack_plain(content)))
    if role == "agent":
        link.send(AgentBye(""))
    else:
        with contextlib.suppress(LinkClosed, JobPoolError):  # what it makes nothing of costs the connection
            await asyncio.wait_for(link.ask(AskStatus()), PATIENCE)
        link.abort()
    await asyncio.wait_for(link.closed, PATIENCE)


ANSWERS: Reader[Message] = Reader(ServerToClient | ServerAnswer | ServerToAgent | AgentAnswer)


def traps(kind: type[Message], trap: bytes) -> Iterator[list[Any]]:
    """Yield messages of a kind, on the wire, with the trap in each place, and in each that takes bytes."""
    count = len(kind.__struct_fields__)
    yield [kind.__name__, *[trap] * count]
    yield [kind.__name__, *[[trap]] * count]
    match kind.__name__:
        case "Functions":
            yield ["Functions", [["key", trap]]]
        case "Calls":
            yield ["Calls", "", [[7, "unknown", trap]]]
        case "Done":
            yield ["Done", [[7, True, trap, None, trap]]]
        case "Checkpointed":
            yield ["Checkpointed", 7, trap]
        case "AddKind":
            yield ["AddKind", 1, "key", {"request": trap}]


@pytest.mark.parametrize(("role", "union"), [("client", ClientToServer), ("agent", AgentToServer)])
def test_a_key_holders_pickle_is_opened_nowhere_in_the_server(
    site: Site, home: Path, tmp_path: Path, role: str, union: Any
) -> None:
    """Bytes that run code where they are opened, in each place of each message."""
    marker = tmp_path / "opened"
    trap = pickle.dumps(_Trap(marker), 5)
    kinds = get_args(union)
    assert {("client", Calls), ("agent", Done)} & {(role, kind) for kind in kinds}
    with site.pool(1) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        for kind in kinds:
            for content in traps(kind, trap):
                asyncio.run(_say_to_server(pool, content, role=role))
        assert pool.submit(abs, -2).result(PATIENCE) == 2
    assert not marker.exists()
    pickle.loads(trap)
    assert marker.exists()


def addresses_elsewhere() -> list[str]:
    """Return addresses of this host from which one comes to loopback as from another host."""
    entries = (entry for entries in psutil.net_if_addrs().values() for entry in entries)
    found = [entry.address for entry in entries if entry.family == socket.AF_INET]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


@pytest.mark.skipif(not addresses_elsewhere(), reason="NOT TESTED: a key holder on another host; there is no network")
def test_a_key_holder_on_another_host_does_not_start_dask(home: Path) -> None:
    """Once it runs, it opens what key holders send: a pool whose client is not used has none."""

    async def start_dask(pool: JobPoolExecutor) -> Any:
        directory = PoolDirectory.open(pool.name)
        connection = directory.connection()
        assert connection is not None
        source = addresses_elsewhere()[0], 0
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: Link(ANSWERS, lambda link, message: None),
            "127.0.0.1",
            connection["port"],
            ssl=tls.client_context(directory.path),
            local_addr=source,
        )
        try:
            await link.ask(ClientHello())
            return await asyncio.wait_for(link.ask(StartDask(dashboard=False)), PATIENCE)
        finally:
            link.abort()

    with LocalSite().pool(1) as pool:
        with pytest.raises(PoolBroken, match="only the pool's script"):
            asyncio.run(start_dask(pool))
        assert pool._connection.ask(StartDask(dashboard=False)).port


def test_plain_words_are_not_answered(busy_pool: JobPoolExecutor) -> None:
    for port in ports(busy_pool):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                answer = plain.recv(1000)
            except ConnectionResetError:
                answer = b""
            # At most TLS's own alert: record type 21.
            assert answer[:1] in (b"", b"\x15")
            assert b"HTTP" not in answer


def test_keys_of_another_pool_do_not_open_this_one(site: Site, busy_pool: JobPoolExecutor, home: Path) -> None:
    with site.pool(1, name="other"):
        others = home / ".jobpool" / "other"
        context = careless()
        context.load_cert_chain(others / "cert.pem", others / "key.pem")
        for port in ports(busy_pool):
            assert handshake(port, context) == b""


@pytest.mark.filterwarnings("ignore")
def test_a_dask_client_with_other_keys_is_not_let_in(site: Site, busy_pool: JobPoolExecutor, home: Path) -> None:
    distributed = pytest.importorskip("distributed")
    port = ports(busy_pool)[1]
    with site.pool(1, name="other"):
        security = dask_config.security(home / ".jobpool" / "other")
        with pytest.raises((OSError, TimeoutError)):
            distributed.Client(f"tls://127.0.0.1:{port}", security=security, timeout=3, set_as_default=False)
    with pytest.raises((OSError, TimeoutError)):
        distributed.Client(f"tcp://127.0.0.1:{port}", timeout=3, set_as_default=False)
    assert busy_pool.client.submit(abs, -1).result(timeout=PATIENCE) == 1


def test_the_dashboard_needs_the_token(busy_pool: JobPoolExecutor) -> None:
    link = busy_pool.dashboard_link
    if link is None:
        pytest.skip("bokeh is not installed")
    host = link.split("/")[2]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://{host}/status", timeout=20)
    assert caught.value.code == 404
    caught.value.close()


def test_every_file_is_for_its_owner_alone(busy_pool: JobPoolExecutor, home: Path) -> None:
    top = home / ".jobpool"
    open_to_others = [
        f"{path} {stat.filemode(path.lstat().st_mode)}"
        for path in [top, *top.rglob("*")]
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]
    assert open_to_others == []


def test_no_key_is_in_an_argument_list_or_a_log(busy_pool: JobPoolExecutor, home: Path) -> None:
    key = (home / ".jobpool" / "mine" / "key.pem").read_text().splitlines()[1]
    for process in psutil.process_iter():
        try:
            assert key not in " ".join(process.cmdline())
        except psutil.Error:
            continue
    for log in (home / ".jobpool").rglob("*.log"):
        assert key not in log.read_text(errors="replace")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: attempts as another user; this needs root")


def as_nobody(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is not the pool's."""
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run([*who, *argv], capture_output=True, text=True, timeout=60, check=False, cwd="/")


@as_root
def test_another_user_reads_no_file_of_the_pool(busy_pool: JobPoolExecutor, home: Path) -> None:
    assert as_nobody("ls", str(home)).returncode == 0  # it may come as far as this
    top = home / ".jobpool"
    for path in [top, *top.rglob("*")]:
        done = as_nobody("ls", str(path)) if path.is_dir() else as_nobody("cat", str(path))
        assert done.returncode != 0, path
        assert "Permission denied" in done.stderr
    assert as_nobody("sh", "-c", f"touch {top}/x {top}/mine/x").returncode != 0


@as_root
def test_another_user_gets_nothing_from_the_ports(busy_pool: JobPoolExecutor) -> None:
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("NOT TESTED: another user's attempt; there is no /usr/bin/python3")
    code = (
        "import socket, ssl, sys\n"
        "context = ssl.create_default_context()\n"
        "context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n"
        "try:\n"
        "    secure = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10))\n"
        "    secure.sendall(bytes(64))\n"
        "    print(secure.recv(1000))\n"
        "except (ssl.SSLError, ConnectionError):\n"
        "    print(b'')\n"
    )
    for port in ports(busy_pool):
        done = as_nobody(python, "-c", code, str(port))
        assert (done.stdout, done.stderr) == ("b''\n", "")


@as_root
def test_another_user_cannot_find_the_secret_in_the_environment(busy_pool: JobPoolExecutor) -> None:
    connection = PoolDirectory.open(busy_pool.name).connection()
    assert connection is not None
    done = as_nobody("cat", f"/proc/{connection['pid']}/environ")
    assert done.returncode != 0
