"""What can mean nothing in another process is refused, by its name and with what to do; a Manager's proxies are not."""

from __future__ import annotations

import functools
import multiprocessing
import multiprocessing.managers
import queue
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor, NotPicklable
from jobpool.serialize.pickling import Destination, dumps_arguments, dumps_function, dumps_result

LOCAL = Destination(local=True)


class Buffer:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Video:
    def __init__(self, frames: Any) -> None:
        self.frames = frames


class Guarded:
    guard = threading.Lock()

    def method(self) -> None:
        pass


def uses_guarded() -> None:
    Guarded().method()


def identity(value: Any) -> Any:
    return value


def named(*, key: Any) -> Any:
    return key


def message(value: Any, pickle: Callable[..., Any] = lambda value: dumps_arguments((value,), {})) -> str:
    with pytest.raises(NotPicklable) as caught:
        pickle(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "way"),
    [
        (lambda: Video(threading.Lock()), "argument 1 -> Video.frames -> lock: TypeError"),
        (lambda: Video([1, {"k": (Buffer(),)}]), "1 -> Video.frames -> [1] -> ['k'] -> [0] -> Buffer.lock -> lock:"),
        (lambda: [0] * 1000 + [Buffer()], "argument 1 -> [1000] -> Buffer.lock -> lock:"),
        (lambda: {Buffer(): 1}.keys(), "Buffer.lock -> lock:"),
        (lambda: Guarded(), "argument 1 -> class Guarded -> Guarded.guard -> lock:"),
        (lambda: uses_guarded, "argument 1 -> global variable 'Guarded' -> Guarded.guard -> lock:"),
        (lambda: Video(Buffer()).__init__,  # type: ignore[misc]
          "argument 1 -> object -> Video.frames -> Buffer.lock -> lock:"),
        (lambda: functools.partial(named, key=Buffer()), "argument 1 -> argument 'key' -> Buffer.lock -> lock:"),
    ],
)  # fmt: skip
def test_the_way_to_it_is_named(value: Callable[[], Any], way: str) -> None:
    assert way in message(value())


def test_the_way_is_named_for_functions_and_results_too() -> None:
    held = Video(threading.Lock())
    assert "variable 'held' (of the enclosing function) -> Video.frames -> lock:" in message(
        lambda: held, dumps_function
    )
    assert "result -> Video.frames -> lock:" in message(held, dumps_result)


@pytest.fixture
def left() -> Iterator[list[Any]]:
    """Return a list of what is to be closed at the end."""
    opened: list[Any] = []
    yield opened
    for one in opened:
        one.close()


def makers(directory: Path) -> dict[str, tuple[Callable[[], Any], str]]:
    """Return by what it is called: how it is made, and words of what to do."""
    return {
        "Pipe": (lambda: multiprocessing.Pipe()[0], "pass an address and connect"),
        "socket": (socket.socket, "pass an address and connect"),
        "text file to read": (Path(__file__).open, "pass its path"),
        "text file": (lambda: (directory / "text").open("w"), "pass its path"),
        "file": (lambda: (directory / "file").open("wb"), "pass its path"),
        "temporary file": (tempfile.NamedTemporaryFile, "pass its path"),
        "Lock": (threading.Lock, "write a file of its own"),
        "Event": (threading.Event, "write a file of its own"),
        "lock of processes": (multiprocessing.Lock, "write a file of its own"),
        "queue": (queue.Queue, "multiprocessing.Manager()"),
        "queue of processes": (multiprocessing.Queue, "multiprocessing.Manager()"),
        "Value": (lambda: multiprocessing.Value("i"), "multiprocessing.Manager()"),
        "generator": (lambda: (number for number in range(3)), "give it to map()"),
        "database": (lambda: sqlite3.connect(":memory:"), "connect in the call"),
        "Future": (Future, "pass its result()"),
        "executor": (lambda: ThreadPoolExecutor(1), "submit from here"),
        "thread": (threading.Thread, "start it in the call"),
    }


@pytest.mark.parametrize("name", makers(Path()))
def test_what_belongs_to_this_process_is_refused_with_what_to_do(name: str, tmp_path: Path, left: list[Any]) -> None:
    make, advice = makers(tmp_path)[name]
    value = make()
    if hasattr(value, "close"):
        left.append(value)
    for pickled in (value, Video([value])):
        told = message(pickled)
        assert advice in told
        assert type(value).__name__ in told
    assert advice in message(value, dumps_result)


def test_a_process_is_refused() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert "Popen._waitpid_lock" in message(process)
        assert "start it in the call" in message(process)


def test_an_end_of_a_pipe_costs_its_call_alone(pool: JobPoolExecutor) -> None:
    reading, writing = multiprocessing.Pipe()
    with closing(reading), closing(writing):
        future = pool.submit(lambda end: end.send(1), writing)
        with pytest.raises(NotPicklable, match=r"argument 1, of type multiprocessing.connection.Connection"):
            future.result(PATIENCE)
        assert pool.submit(identity, 1).result(PATIENCE) == 1
        assert not reading.poll()


# ------------------------------------------------------------------------------------------------------------ managers


def put_all(queue: Any, nested: Any, number: int) -> Any:
    queue.put(number)
    nested["calls"].append(number)  # comes out of a proxy, without a key of its own
    return nested["calls"]


def started(queue: Any) -> None:
    queue.put("started")


def test_proxies_work_on_local_workers(home: Path) -> None:
    with multiprocessing.Manager() as manager:
        queue, nested = manager.Queue(), manager.dict()
        nested["calls"] = manager.list()
        with JobPoolExecutor(2, scheduler="local", initializer=started, initargs=(queue,)) as pool:
            back = [pool.submit(put_all, queue, nested, number).result(PATIENCE) for number in range(3)]
            assert pool.submit(lambda: queue.qsize()).result(PATIENCE) >= 4  # as a variable of a function
            assert list(pool.map(put_all, [queue] * 2, [nested] * 2, (3, 4)))
        assert sorted(back[0]) == [0, 1, 2, 3, 4]
        put = [queue.get() for _ in range(queue.qsize())]
    assert sorted(number for number in put if isinstance(number, int)) == [0, 1, 2, 3, 4]
    assert "started" in put


class Own(multiprocessing.managers.BaseManager):
    pass


Own.register("dictionary", dict, multiprocessing.managers.DictProxy)


def test_a_manager_with_a_key_of_its_own(home: Path) -> None:
    with (
        Own(("127.0.0.1", 0), authkey=b"a key of its own") as manager,
        JobPoolExecutor(1, scheduler="local") as pool,
    ):
        pool.submit(lambda shared: shared.update(a=1), manager.dictionary()).result(PATIENCE)  # type: ignore[attr-defined]


def test_proxies_are_refused_where_the_manager_cannot_be_reached(site: Site) -> None:
    with multiprocessing.Manager() as manager, site.pool(1) as pool:
        future = pool.submit(identity, manager.list([1]))
        if site.is_batch:
            with pytest.raises(NotPicklable, match=r"'/.*', which no other host can reach") as caught:
                future.result(PATIENCE)
            assert "BaseManager(address, authkey).connect()" in str(caught.value)
        else:
            assert list(future.result(PATIENCE)) == [1]


def test_a_key_goes_to_local_workers_only() -> None:
    with Own(("", 0), authkey=b"a key of its own") as manager:
        proxy = manager.dictionary()  # type: ignore[attr-defined]
        assert b"a key of its own" in dumps_arguments((proxy,), {}, LOCAL)
        assert "which no other host can reach" in message(proxy)
        proxy._token.address = (
            "node1",
            4711,
        )  # in the network: its user gives the key to the calls
        assert b"a key of its own" not in dumps_arguments((proxy,), {})


def test_memory_of_this_host_is_refused_elsewhere() -> None:
    memory = SharedMemory(create=True, size=10)
    try:
        assert "memory of this host" in message(memory)
        assert dumps_arguments((memory,), {}, LOCAL)
    finally:
        memory.close()
        memory.unlink()
