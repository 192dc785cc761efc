"""It is an Executor: what ``concurrent.futures`` promises of one."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import ctypes
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, running
from sites import PATIENCE, Site

from jobpool import JobPoolExecutor
from jobpool.model.errors import InitializerFailed, NotPicklable
from jobpool.testing import wait_until
from jobpool.testing.labs.machine import processes_of


def double(value: int) -> int:
    return 2 * value


def pid() -> int:
    return os.getpid()


def fail(words: str) -> None:
    raise ValueError(words)


def test_it_is_one(pool: JobPoolExecutor) -> None:
    assert isinstance(pool, cf.Executor)
    future = pool.submit(double, 21)
    assert isinstance(future, cf.Future)
    assert future.result(PATIENCE) == 42
    assert future.done()
    assert not future.running()
    assert not future.cancelled()


@pytest.mark.every_dialect
def test_equal_calls_run_each_time(pool: JobPoolExecutor, tmp_path: Path) -> None:
    def trace() -> str:
        import uuid

        (tmp_path / uuid.uuid4().hex).touch()
        return "Finished"

    futures = [pool.submit(trace) for _ in range(100)]
    assert [future.result(PATIENCE) for future in futures] == ["Finished"] * 100
    assert len(list(tmp_path.iterdir())) == 100


@pytest.mark.every_dialect
def test_an_exception_carries_the_remote_traceback(pool: JobPoolExecutor) -> None:
    future = pool.submit(fail, "that is wrong")
    with pytest.raises(ValueError, match="that is wrong") as caught:
        future.result(PATIENCE)
    assert "in fail" in str(caught.value.__cause__)
    assert "raise ValueError(words)" in str(caught.value.__cause__)


def test_an_exception_of_the_users_own_arrives_whole(pool: JobPoolExecutor) -> None:
    class Trouble(Exception):
        def __init__(self, code: int, *, where: str) -> None:
            super().__init__(f"{code} at {where}")
            self.code, self.where = code, where

        def __reduce__(self) -> tuple[Any, ...]:
            return (_trouble, (type(self), self.code, self.where))

    def raises() -> None:
        raise Trouble(7, where="there")

    error = pool.submit(raises).exception(PATIENCE)
    assert isinstance(error, Trouble)
    assert (error.code, error.where) == (7, "there")


def _trouble(kind: type, code: int, where: str) -> Any:
    return kind(code, where=where)


def test_system_exit_and_keyboard_interrupt_cost_their_call_alone(pool: JobPoolExecutor) -> None:
    def leave() -> None:
        sys.exit(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    assert isinstance(pool.submit(leave).exception(PATIENCE), SystemExit)
    assert isinstance(pool.submit(interrupt).exception(PATIENCE), KeyboardInterrupt)
    assert pool.submit(double, 1).result(PATIENCE) == 2


def test_keywords_of_any_name_are_the_functions_own(pool: JobPoolExecutor) -> None:
    names = ("fn", "self", "args", "kwargs", "priority", "timeout", "key", "pure", "workers", "function", "memory")

    def given(**keywords: int) -> dict[str, int]:
        return keywords

    asked = {name: number for number, name in enumerate(names)}
    assert pool.submit(given, **asked).result(PATIENCE) == asked


@pytest.mark.every_dialect
def test_running_is_true_exactly_while_it_runs(pool: JobPoolExecutor, gate: Gate) -> None:
    held = [pool.submit(gate.hold(n), n) for n in range(2)]
    waiting = pool.submit(gate.hold("third"), 3)
    gate.wait_for(1, 0)
    gate.wait_for(1, 1)
    for future in held:
        running(future)
    assert not waiting.running()
    assert not waiting.done()
    assert gate.arrived("third") == 0
    gate.open()
    assert [future.result(PATIENCE) for future in [*held, waiting]] == [0, 1, 3]
    assert not any(future.running() for future in [*held, waiting])


@pytest.mark.every_dialect
def test_a_cancelled_call_never_runs_and_a_running_one_is_not_cancelled(pool: JobPoolExecutor, gate: Gate) -> None:
    held = [pool.submit(gate.hold(), n) for n in range(2)]
    waiting = [pool.submit(gate.hold("never"), n) for n in range(20)]
    gate.wait_for(2)
    for future in held:
        running(future)
        assert not future.cancel()
    assert all(future.cancel() for future in waiting)
    assert all(future.cancelled() and future.done() for future in waiting)
    with pytest.raises(cf.CancelledError):
        waiting[0].result()
    after = pool.submit(double, 4)
    assert wait_until(lambda: pool.status().calls.waiting <= 1, PATIENCE)  # the news has come to the workers
    gate.open()
    assert [future.result(PATIENCE) for future in held] == [0, 1]
    assert after.result(PATIENCE) == 8
    assert gate.arrived("never") == 0


def test_wait_and_as_completed(pool: JobPoolExecutor, gate: Gate) -> None:
    slow, quick = pool.submit(gate.hold(), "slow"), pool.submit(double, 1)
    done, waiting = cf.wait([slow, quick], timeout=PATIENCE, return_when=cf.FIRST_COMPLETED)
    assert (done, waiting) == ({quick}, {slow})
    order = cf.as_completed([slow, quick], timeout=PATIENCE)
    assert next(order) is quick
    gate.open()
    assert next(order) is slow
    assert cf.wait([slow, quick], timeout=PATIENCE).not_done == set()


def test_calls_that_wait_for_each_other_run_side_by_side(pool: JobPoolExecutor, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    def step(number: int) -> int:
        if number == -1:
            while not flag.exists():
                time.sleep(0.01)
        elif number == -2:
            flag.touch()
        return number

    list(pool.map(step, range(500)))  # from now on it is known to be quick, and its calls travel together
    try:
        assert list(pool.map(step, [-1, -2], timeout=10)) == [-1, -2]
    finally:
        flag.touch()


def test_callbacks_are_called(pool: JobPoolExecutor) -> None:
    called, event = [], threading.Event()

    def note(future: cf.Future[int]) -> None:
        called.append(future.result())
        event.set()

    pool.submit(double, 5).add_done_callback(note)
    assert event.wait(PATIENCE)
    assert called == [10]


def test_asyncio_awaits_it(pool: JobPoolExecutor) -> None:
    async def both() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        one = asyncio.wrap_future(pool.submit(double, 1))
        two = loop.run_in_executor(pool, double, 2)
        return await asyncio.wait_for(asyncio.gather(one, two), PATIENCE)

    assert list(asyncio.run(both())) == [2, 4]


def test_submits_from_many_threads(pool: JobPoolExecutor) -> None:
    with cf.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda number: pool.submit(double, number), range(200)))
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(200)]


def test_a_result_timeout_leaves_the_call_alone(pool: JobPoolExecutor, gate: Gate) -> None:
    future = pool.submit(gate.hold(), "late")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    gate.open()
    assert future.result(PATIENCE) == "late"


@pytest.mark.every_dialect
def test_large_arguments_and_results_travel(pool: JobPoolExecutor) -> None:
    block = os.urandom(20_000_000)
    assert pool.submit(lambda data: data[::-1], block).result(PATIENCE) == block[::-1]


# What cannot travel


def test_what_cannot_be_pickled_is_named_by_its_future(pool: JobPoolExecutor) -> None:
    lock = threading.Lock()

    def uses_it() -> None:
        lock.acquire()

    before, wrong, unusable = pool.submit(double, 1), pool.submit(double, lock), pool.submit(uses_it)  # type: ignore[arg-type]
    for future in (wrong, unusable):
        with pytest.raises(NotPicklable, match="lock") as caught:
            future.result(PATIENCE)
        assert isinstance(caught.value, pickle.PicklingError)
        assert isinstance(caught.value.__cause__, TypeError)
    assert before.result(PATIENCE) == 2


def test_a_result_that_cannot_be_pickled_fails_its_call_alone(pool: JobPoolExecutor) -> None:
    def locks() -> Any:
        import threading

        return threading.Lock()

    with pytest.raises(NotPicklable, match="lock"):
        pool.submit(locks).result(PATIENCE)
    assert pool.submit(double, 1).result(PATIENCE) == 2


def test_a_function_that_cannot_be_imported_there_says_so(pool: JobPoolExecutor) -> None:
    def needs_it() -> None:
        import nosuch_module_at_all  # type: ignore[import-not-found] # noqa: F401

    error = pool.submit(needs_it).exception(PATIENCE)
    assert isinstance(error, ModuleNotFoundError)
    assert "nosuch_module_at_all" in str(error)


# What a future tells


@pytest.mark.every_dialect
def test_a_future_tells_its_job_its_usage_and_its_words(pool: JobPoolExecutor) -> None:
    def speak() -> None:
        print("from python")
        print("to stderr", file=sys.stderr)
        subprocess.run(["echo", "from a child"], check=True)
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        block = bytearray(50_000_000)
        end = time.process_time() + 0.05
        while time.process_time() < end:
            block[0] = 1

    future = pool.submit(speak)
    future.result(PATIENCE)
    assert future.job is not None
    assert future.job.id in {job.id for job in pool.status().jobs}
    assert future.job.node
    assert future.job.log is not None
    assert future.job.log.exists()
    assert future.usage is not None
    assert 0.05 <= future.usage.cpu <= future.usage.wall + 0.5
    assert future.usage.peak_memory > 50_000_000
    assert future.usage.threads >= 1
    plain = {**future.job.as_data(), **future.usage.as_data()}
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["log"], plain["wall"]) == (str(future.job.log), future.usage.wall)
    assert sorted(future.logs().split("\n")) == ["", "from C", "from a child", "from python", "to stderr"]


def test_the_words_of_one_call_are_not_in_anothers(pool: JobPoolExecutor) -> None:
    futures = [pool.submit(print, f"call {number}") for number in range(20)]
    cf.wait(futures, timeout=PATIENCE)
    assert [future.logs() for future in futures] == [f"call {number}\n" for number in range(20)]


def test_a_call_may_use_processes_of_its_own(pool: JobPoolExecutor) -> None:
    def nested() -> list[int]:
        import concurrent.futures
        import multiprocessing

        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as processes:
            return list(processes.map(abs, [-1, -2]))

    assert pool.submit(nested).result(PATIENCE) == [1, 2]


# Worker processes


def test_workers_see_the_directory_of_the_script(pool: JobPoolExecutor) -> None:
    assert pool.submit(os.getcwd).result(PATIENCE) == str(Path.cwd())


def test_the_initializer_runs_in_each_worker_and_children_are_replaced(site: Site) -> None:
    def prepare(word: str) -> None:
        import builtins

        builtins.prepared = word  # type: ignore[attr-defined]

    def look() -> tuple[int, str]:
        import builtins

        return os.getpid(), builtins.prepared  # type: ignore[attr-defined]

    with site.pool(1, initializer=prepare, initargs=("ready",), max_tasks_per_child=2) as pool:
        seen = [pool.submit(look).result(PATIENCE) for _ in range(6)]
    assert {word for _, word in seen} == {"ready"}
    assert len({pid for pid, _ in seen}) == 3


@pytest.mark.parametrize("shut_down", [False, True])
def test_the_calls_of_a_forgotten_pool_run_although_their_worker_is_replaced(
    site: Site, gate: Gate, *, shut_down: bool
) -> None:
    pool = site.make(1, max_tasks_per_child=1)
    futures = [pool.submit(gate.hold(), number) for number in range(3)]
    gate.wait_for(1)
    if shut_down:
        pool.shutdown(wait=False)
    del pool
    gc.collect()
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]
    # Its job and its server go, too, though nobody waits for them.
    assert wait_until(lambda: not processes_of([f"HOME={Path.home()}"]), PATIENCE)


@pytest.mark.every_dialect
def test_an_initializer_that_fails_breaks_the_pool_with_its_words(site: Site) -> None:
    def prepare() -> None:
        raise OSError("no licence server")

    with site.pool(2, initializer=prepare) as pool:
        futures = [pool.submit(pid) for _ in range(3)]
        for future in futures:
            error = future.exception(PATIENCE)
            assert isinstance(error, InitializerFailed)
            assert isinstance(error, cf.BrokenExecutor)
            assert "no licence server" in str(error)
            assert "Exception in initializer:" in str(error)  # from the worker's log, by the standard library's logger
        with pytest.raises(cf.BrokenExecutor):
            pool.submit(pid).result(PATIENCE)  # at the submit, or by the future of one that just got in


# Nothing is kept


class Thing:
    """What a call gets and returns; ``how`` it fails to be made again."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        if self.how == "spoiled":
            raise ValueError(self.how)


def spoil(thing: Thing) -> Thing:
    thing.how = "spoiled"
    return thing


def refuse(thing: Thing) -> Thing:
    raise ValueError(thing)


def test_what_cannot_be_pickled_is_gone_with_its_future(pool: JobPoolExecutor) -> None:
    class Unwilling:
        def __reduce__(self) -> str:
            raise TypeError("unwilling")

    gc.disable()
    try:
        given = Unwilling()
        argument, future = weakref.ref(given), pool.submit(type, given)
        del given
        assert argument() is None
        assert "in __reduce__" in str(future.exception().__cause__.__cause__)  # type: ignore[union-attr]
        dropped = weakref.ref(future)
        del future
        assert dropped() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("function", [lambda thing: thing, spoil, refuse], ids=["result", "spoiled", "exception"])
def test_arguments_results_and_futures_are_gone_when_they_are_dropped(
    pool: JobPoolExecutor, function: Callable[[Thing], Thing]
) -> None:
    gc.disable()  # what only the collector finds is kept too long: it may be large
    try:
        given = Thing()
        argument, future = weakref.ref(given), pool.submit(function, given)
        del given
        assert argument() is None
        cf.wait([future], PATIENCE)
        result = None if future.exception() else weakref.ref(future.result())
        dropped = weakref.ref(future)
        del future
        assert wait_until(lambda: dropped() is None, 5)  # the thread that resolved it may still be at it
        assert result is None or result() is None
    finally:
        gc.enable()


def test_waiting_for_many_futures_while_they_end_loses_none(pool: JobPoolExecutor) -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a waiter and the thread that resolves them meet at every step
    try:
        futures = {pool.submit(double, number) for number in range(300)}
        assert cf.wait(futures, PATIENCE).not_done == set()
        assert set(cf.as_completed(futures, PATIENCE)) == futures
    finally:
        sys.setswitchinterval(usual)
