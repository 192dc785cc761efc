"""What a call leaves behind in its worker does not reach the next one."""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_worker_rows import results, submit_rows
from test_workers import in_loop
from workerskit import run_workers, value

from jobpool.serialize import pickling
from jobpool.transport.messages.base import Remark
from jobpool.worker.worker import BRIEF, SEND_AFTER


def seen() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "cpus": os.sched_getaffinity(0),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "policy": os.sched_getscheduler(0),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "timers": [signal.getitimer(timer) for timer in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL)],
        "streams": [type(stream).__name__ for stream in (sys.stdin, sys.stdout, sys.stderr)],
    }


def bind_to_one() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def be_a_batch() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def lower(number: int = resource.RLIMIT_NOFILE) -> None:
    resource.setrlimit(number, (20, resource.getrlimit(number)[1]))


def lower_by_prlimit() -> None:
    resource.prlimit(0, resource.RLIMIT_STACK, (2**20, resource.getrlimit(resource.RLIMIT_STACK)[1]))


def profile() -> None:
    signal.signal(signal.SIGPROF, lambda *_: None)
    signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)


class Raises(io.StringIO):
    def flush(self) -> None:
        raise RuntimeError("flush")


def replace_stdout() -> None:
    sys.stdout = Raises()


def delete_stdout() -> None:
    del sys.stdout


def detach_stdout() -> None:
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="latin-1")  # type: ignore[union-attr]


def exit_by_flush() -> None:
    class Exits(io.StringIO):
        def flush(self) -> None:
            sys.exit(3)

    sys.stdout = Exits()


@in_loop
async def test_it_is_put_back(tmp_path: Path) -> None:
    changes = [
        bind_to_one, be_a_batch, lower, lower_by_prlimit, profile,
        replace_stdout, delete_stdout, detach_stdout, exit_by_flush,
    ]  # fmt: skip
    async with run_workers(tmp_path) as watched:
        before = await watched.run(seen)
        for change in changes:
            assert await watched.run(change) is None
            assert (change, await watched.run(seen)) == (change, before)
            (id,) = watched.submit(print, ("words",))
            assert (change, (await watched.outcome(id)).log) == (change, b"words\n")
        assert not watched.died


@in_loop
async def test_it_is_put_back_between_rows(tmp_path: Path) -> None:
    def row(number: int) -> tuple[int, int]:
        found = resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(os.sched_getaffinity(0))
        lower()
        bind_to_one()
        end = time.perf_counter() + 2 * BRIEF
        while time.perf_counter() < end:
            pass
        return found

    async with run_workers(tmp_path) as watched:
        submit_rows(watched, row, 1, 2, 3)
        await watched.until(lambda: len(results(watched)) == 3)
        assert len(set(results(watched).values())) == 1


@in_loop
async def test_what_an_initializer_sets_stays(tmp_path: Path) -> None:
    def prepare() -> None:
        os.nice(3)
        lower()
        bind_to_one()

    def change() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)
        os.sched_setaffinity(0, range(1000))

    async with run_workers(tmp_path, initializer=pickling.dumps_initializer(prepare, ())) as watched:
        before = await watched.run(seen)
        assert before["nice"] == os.getpriority(os.PRIO_PROCESS, 0) + 3
        assert before["limits"][resource.RLIMIT_NOFILE][0] == 20
        assert len(before["cpus"]) == 1
        await watched.run(change)
        assert await watched.run(seen) == before


@in_loop
async def test_threads_of_libraries_that_began_in_the_call_get_their_cpus_back(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has a single CPU")

    def start() -> int:
        bind_to_one()
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        assert thread.native_id is not None
        return thread.native_id

    async with run_workers(tmp_path) as watched:
        before = await watched.run(os.sched_getaffinity, 0)
        thread = await watched.run(start)
        assert await watched.run(os.sched_getaffinity, thread) == before


def give_up_rights() -> None:
    """Be without CAP_SYS_NICE and CAP_SYS_RESOURCE, as every user is who is not root."""
    header = struct.pack("Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None)
    libc.capget(header, data)
    effective, permitted, *rest = struct.unpack("6I", data.raw)
    rights = ~(1 << 23 | 1 << 24) & 0xFFFFFFFF
    assert libc.capset(header, struct.pack("6I", effective & rights, permitted & rights, *rest)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda: os.nice(5), "niceness"), (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)), "RLIMIT_NOFILE")],
    ids=["nice", "hard limit"],
)
@pytest.mark.parametrize("rows", [False, True], ids=["calls", "rows"])
@in_loop
async def test_a_worker_is_replaced_when_it_cannot_be_put_back(
    tmp_path: Path, change: Callable[[], object], words: str, rows: bool
) -> None:
    def leave(number: int) -> tuple[int, int, tuple[int, int]]:
        found = os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), resource.getrlimit(resource.RLIMIT_NOFILE)
        change()
        end = time.perf_counter() + 2 * SEND_AFTER
        while time.perf_counter() < end:
            pass
        return found

    async with run_workers(tmp_path, initializer=pickling.dumps_initializer(give_up_rights, ())) as watched:
        if rows:
            submit_rows(watched, leave, 1, 2, 3)
            await watched.until(lambda: len(results(watched)) == 3)
            found = list(results(watched).values())
        else:
            ids = watched.submit(leave, (1,), (2,), (3,))
            await watched.until(lambda: set(ids) <= set(watched.outcomes))
            found = [value(watched.outcomes[id]) for id in ids]
        assert len({pid for pid, *_ in found}) == 3
        assert len({tuple(rest) for _, *rest in found}) == 1
        assert not watched.died
        said = [report.text for report in watched.reports if isinstance(report, Remark)]
        assert "leave() left its worker with" in said[0]
        assert words in said[0]


def fork(what: str) -> int:
    """Fork a child that ends in some way; return its exit code."""
    child = os.fork()
    if child == 0:
        match what:
            case "exit":
                sys.exit(3)
            case "words":
                sys.exit("the child's last words")
            case "raise":
                raise ValueError("in the child")
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Resumable:
    """A function that offers checkpoints."""

    def __call__(self, what: str) -> int:
        return fork(what)

    def checkpoint(self) -> Any:
        return self


@pytest.mark.parametrize("rows", [False, True], ids=["calls", "rows"])
@pytest.mark.parametrize("function", [fork, Resumable()], ids=["function", "offers checkpoints"])
@in_loop
async def test_a_child_that_comes_back_from_the_call_ends_as_a_script(
    tmp_path: Path, function: Callable[[str], int], rows: bool
) -> None:
    ways = ["exit", "return", "raise", "words"]
    async with run_workers(tmp_path) as watched:
        if rows:
            submit_rows(watched, function, *ways)
            await watched.until(lambda: len(results(watched)) == 4)
            codes = list(results(watched).values())
        else:
            ids = watched.submit(function, *((way,) for way in ways))
            await watched.until(lambda: set(ids) <= set(watched.outcomes))
            codes = [value(watched.outcomes[id]) for id in ids]
        assert codes == [3, 0, 1, 1]
        assert not watched.died
        said = (tmp_path / "worker-0.log").read_text()
        assert said.count("Traceback") == 1
        assert "ValueError: in the child" in said
        assert said.endswith("the child's last words\n")
