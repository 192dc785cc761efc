"""``Pool`` behaves as ``multiprocessing.Pool``: calls, chunks, results, errors."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from multiprocessing import pool as stdlib
from typing import Any

import pytest
from gates import Gate
from sites import PATIENCE

from jobpool import Pool
from jobpool.faces.pool import CALLS_AHEAD, ResultNotPicklable
from jobpool.model.errors import NotPicklable
from jobpool.testing import wait_until


def double(value: int) -> int:
    return 2 * value


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def invert(value: int) -> float:
    return 1 / value


def fails_at(number: int) -> Iterator[int]:
    """Yield numbers, and raise in the place of this one."""
    yield from range(number)
    raise LookupError("no more videos")


def done(pool: Pool) -> int:
    """Return how many calls the executor beneath has done."""
    return int(pool.executor.status().calls.done)


def test_it_is_one_and_so_are_its_results(pool: Pool) -> None:
    assert isinstance(pool, stdlib.Pool)
    applied, mapped = pool.apply_async(double, (1,)), pool.map_async(double, [1])
    assert isinstance(applied, stdlib.AsyncResult)
    assert isinstance(mapped, stdlib.MapResult)
    assert (applied.get(PATIENCE), mapped.get(PATIENCE)) == (2, [2])
    ordered, unordered = pool.imap(double, [1]), pool.imap_unordered(double, [1])
    assert isinstance(ordered, stdlib.IMapIterator)
    assert isinstance(unordered, stdlib.IMapUnorderedIterator)
    assert (list(ordered), list(unordered)) == ([2], [2])
    assert repr(pool) == "<jobpool.faces.pool.Pool state=RUN pool_size=2>"


def test_apply_takes_arguments_and_keywords(pool: Pool) -> None:
    assert pool.apply(power, (3,)) == 9
    assert pool.apply(power, (2,), {"exponent": 10}) == 1024
    assert pool.apply_async(power, kwds={"base": 2, "exponent": 3}).get(PATIENCE) == 8


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_maps_give_the_results_in_order(pool: Pool, chunksize: int | None) -> None:
    pairs = [(number, 3) for number in range(20)]
    assert pool.map(double, range(20), chunksize) == [2 * number for number in range(20)]
    assert pool.map(double, iter(range(20)), chunksize) == [2 * number for number in range(20)]
    assert pool.starmap(power, pairs, chunksize) == [number**3 for number in range(20)]
    assert pool.map_async(double, range(20), chunksize).get(PATIENCE) == [2 * number for number in range(20)]
    assert pool.starmap_async(power, pairs, chunksize).get(PATIENCE) == [number**3 for number in range(20)]


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_imaps_give_the_results(pool: Pool, chunksize: int) -> None:
    assert list(pool.imap(double, range(20), chunksize)) == [2 * number for number in range(20)]
    assert sorted(pool.imap_unordered(double, range(20), chunksize)) == [2 * number for number in range(20)]


def test_nothing_to_map_is_nothing(pool: Pool) -> None:
    assert pool.map(double, []) == []
    assert pool.map_async(double, [], chunksize=1).get(PATIENCE) == []
    assert list(pool.imap(double, [])) == list(pool.imap_unordered(double, [])) == []


def test_a_map_is_four_calls_per_worker_and_one_per_chunk_asked_for(pool: Pool) -> None:
    before = done(pool)
    pool.map(double, range(1000))
    assert done(pool) - before == 8
    pool.starmap(power, [(1,)] * 100, 50)
    assert done(pool) - before == 10
    assert list(pool.imap(double, range(100), 20)) == [2 * number for number in range(100)]
    assert done(pool) - before == 15


def test_functions_of_the_script_travel_with_what_they_use(pool: Pool) -> None:
    offset = 5
    assert pool.map(lambda number: number + offset, [1, 2]) == [6, 7]


def test_unordered_results_come_as_they_are_done(pool: Pool, gate: Gate) -> None:
    hold = gate.hold()
    results = pool.imap_unordered(lambda number: hold(number) if number == 0 else number, range(3))
    assert [next(results), next(results)] == [1, 2]
    gate.open()
    assert next(results) == 0
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_imap_refuses_chunks_below_one_at_the_call(pool: Pool, chunksize: int) -> None:
    for imap in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Chunksize must be 1"):
            imap(double, [1], chunksize)


def test_imap_reads_an_iterator_in_a_thread_of_its_own(pool: Pool) -> None:
    more = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        more.wait(PATIENCE)
        yield 2

    results = pool.imap(double, slow())
    assert next(results) == 2
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(0.01)
    more.set()
    assert results.next(PATIENCE) == 4


def test_an_endless_imap_is_read_as_far_as_there_is_room(open_pool: Any, gate: Gate) -> None:
    pool = open_pool(1)
    hold, read = gate.hold(), [0]

    def endless() -> Iterator[int]:
        for read[0] in itertools.count(1):
            yield read[0]

    results = pool.imap(lambda number: hold(number) if number == 1 else number, endless())
    gate.wait_for(1)
    # The one that finds no room has been read.
    assert wait_until(lambda: read[0] == CALLS_AHEAD + 1, PATIENCE)
    gate.open()
    assert [next(results) for _ in range(5000)] == list(range(1, 5001))


def test_large_arguments_leave_room_for_two_calls_per_worker(open_pool: Any, gate: Gate) -> None:
    pool = open_pool(1)
    hold, read = gate.hold(), []

    def blocks() -> Iterator[bytes]:
        for number in range(5):
            read.append(number)
            yield bytes(40 * 2**20)

    results = pool.imap(lambda block: hold(len(block)), blocks())
    gate.wait_for(1)
    assert wait_until(lambda: len(read) == 3, PATIENCE)  # two are under way, the third finds no room
    gate.open()
    assert list(results) == [40 * 2**20] * 5
    assert read == [*range(5)]


# Results


def test_a_result_tells_whether_it_is_there(pool: Pool, gate: Gate) -> None:
    result = pool.apply_async(gate.hold(), ("late",))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    assert result.wait(0.01) is None  # type: ignore[func-returns-value]
    assert not result.ready()
    gate.open()
    result.wait(PATIENCE)
    assert result.ready()
    assert result.successful()
    assert result.get(0) == "late"


def test_a_map_is_there_when_all_of_it_is_and_raises_the_first_error(pool: Pool, gate: Gate) -> None:
    hold = gate.hold()

    def invert_or_hold(value: int) -> Any:
        return hold(value) if value > 1 else 1 / value

    result = pool.map_async(invert_or_hold, [0, 2], chunksize=1)
    gate.wait_for(1)
    result.wait(0.05)
    assert not result.ready()
    gate.open()
    with pytest.raises(ZeroDivisionError):
        result.get(PATIENCE)
    assert not result.successful()


def test_callbacks_get_the_result_or_the_error(pool: Pool) -> None:
    got: list[Any] = []
    failed: list[BaseException] = []
    results: list[Any] = [
        pool.apply_async(double, (4,), callback=got.append, error_callback=failed.append),
        pool.apply_async(invert, (0,), callback=got.append, error_callback=failed.append),
        pool.map_async(double, [1, 2], callback=got.append, error_callback=failed.append),
        pool.starmap_async(power, [("a", 2)], callback=got.append, error_callback=failed.append),
    ]
    for result in results:
        result.wait(PATIENCE)
    assert sorted(got, key=str) == [8, [2, 4]]
    assert {type(error) for error in failed} == {ZeroDivisionError, TypeError}


def test_a_callback_may_use_the_pool(pool: Pool) -> None:
    results: list[Any] = []
    called = threading.Event()

    def again(value: int) -> None:
        results.extend([pool.executor.status().calls.failed, pool.apply_async(double, (value,))])
        called.set()

    pool.apply_async(double, (1,), callback=again)
    assert called.wait(PATIENCE)
    assert results[1].get(PATIENCE) == 4


def test_a_callback_that_raises_harms_nobody(pool: Pool) -> None:
    def wrong(_: object) -> None:
        raise SystemExit("of a callback")

    result = pool.apply_async(double, (1,), callback=wrong)
    assert result.get(PATIENCE) == 2
    assert pool.map_async(double, [1, 2], callback=wrong).get(PATIENCE) == [2, 4]
    assert pool.apply(double, (3,)) == 6


# Errors


def test_an_error_carries_the_remote_traceback_as_the_standard_librarys_does(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        pool.map(invert, [1, 0])
    cause = caught.value.__cause__
    assert type(cause) is vars(stdlib)["RemoteTraceback"]
    assert "return 1 / value" in vars(cause)["tb"]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_iterator_that_raises_ends_its_map_alone(pool: Pool, chunksize: int) -> None:
    with pytest.raises(LookupError, match="no more videos") as caught:
        pool.map(double, fails_at(3), chunksize)
    assert caught.value.__cause__ is None
    results = pool.imap(double, fails_at(4), chunksize)
    assert [next(results) for _ in range(4)] == [0, 2, 4, 6]
    with pytest.raises(LookupError):
        next(results)
    assert pool.apply(double, (1,)) == 2


def test_an_iterator_that_leaves_python_leaves_the_pool(pool: Pool) -> None:
    def leaves() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        pool.map(double, leaves(), 1)
    assert pool.apply(double, (1,)) == 2


def test_an_unordered_map_gives_what_was_before_the_error(open_pool: Any) -> None:
    pool = open_pool(1)
    results = pool.imap_unordered(double, fails_at(5))
    assert sorted(next(results) for _ in range(5)) == [0, 2, 4, 6, 8]
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_what_cannot_be_pickled_raises_what_pickle_raised_with_a_note_that_names_it(pool: Pool) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            raise KeyError("cannot be pickled")

    odd: Any = Odd()
    for call in (lambda: pool.apply(double, (odd,)), lambda: list(pool.imap(double, [odd]))):
        with pytest.raises(KeyError, match="cannot be pickled") as caught:
            call()
        assert any("argument 1" in note for note in caught.value.__notes__)
    lock = threading.Lock()
    with pytest.raises(TypeError) as caught_at_function:
        pool.map(lambda _: lock, [1, 2])
    assert any("lock" in note for note in caught_at_function.value.__notes__)
    assert pool.map(double, [1]) == [2]


def test_a_result_that_cannot_be_pickled_is_named(pool: Pool) -> None:
    def locks() -> Any:
        import threading

        return threading.Lock()

    failed: list[Any] = []
    with pytest.raises(ResultNotPicklable, match="lock") as caught:
        pool.apply_async(locks, error_callback=failed.append).get(PATIENCE)
    assert failed == [caught.value]
    assert isinstance(caught.value, NotPicklable)
    assert isinstance(caught.value, vars(stdlib)["MaybeEncodingError"])
    assert "lock" in caught.value.exc
    assert caught.value.value
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.exc) == (type(caught.value), str(caught.value), caught.value.exc)


def test_a_crash_costs_the_call_alone(pool: Pool) -> None:
    # Where multiprocessing.Pool waits for ever.
    with pytest.raises(BrokenExecutor):
        pool.apply(os._exit, (3,))
    assert pool.apply(double, (1,)) == 2


def test_nothing_of_a_map_is_kept(pool: Pool) -> None:
    class Large:
        pass

    items = [Large() for _ in range(10)]
    known = [weakref.ref(item) for item in items]
    known += [weakref.ref(result) for result in pool.map(lambda item: item, items)]
    del items

    def gone() -> bool:
        gc.collect()
        return all(reference() is None for reference in known)

    assert wait_until(gone, PATIENCE)


def test_a_million_items_cost_little_more_than_their_chunks(pool: Pool) -> None:
    begin = time.monotonic()
    assert sum(pool.map(double, range(1_000_000))) == 999_999_000_000
    assert time.monotonic() - begin < 20
