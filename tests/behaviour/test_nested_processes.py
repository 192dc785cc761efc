"""A call may use ``multiprocessing`` as a script may: with functions and classes of the user's script."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from dataclasses import dataclass

import pytest
from sites import PATIENCE

from jobpool import JobPoolExecutor


@dataclass
class Point:
    x: int


def moved(point: Point) -> Point:
    return Point(point.x + 1)


def fail(number: int) -> None:
    raise LookupError(number)


def by_pool(method: str, count: int) -> list[Point]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        points = pool.map(moved, [Point(number) for number in range(count)])
    assert all(type(point) is Point for point in points)
    return points


def by_executor(count: int) -> list[int]:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        error = pool.submit(fail, 3).exception()
        assert isinstance(error, LookupError)
        return list(pool.map(lambda number: 2 * number, range(count)))


class Settings:
    scale = 1


prepared = None


def prepare(value: int) -> None:
    global prepared
    prepared = Settings.scale = value


def seen(number: int) -> tuple[int | None, int]:
    return prepared, number * Settings.scale


def by_initialized(method: str) -> list[tuple[int | None, int]]:
    with multiprocessing.get_context(method).Pool(1, initializer=prepare, initargs=(5,)) as pool:
        return pool.map(seen, range(3))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_an_initializer_sets_in_a_pool_in_a_call(pool: JobPoolExecutor, method: str) -> None:
    assert pool.submit(by_initialized, method).result(PATIENCE) == [(5, 0), (5, 5), (5, 10)]
    assert pool.submit(seen, 1).result(PATIENCE) == (None, 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_multiprocessing_in_a_call(pool: JobPoolExecutor, method: str) -> None:
    assert pool.submit(by_pool, method, 3).result(PATIENCE) == [Point(1), Point(2), Point(3)]


def test_a_process_pool_in_a_call(pool: JobPoolExecutor) -> None:
    assert pool.submit(by_executor, 3).result(PATIENCE) == [0, 2, 4]
