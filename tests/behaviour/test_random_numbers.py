"""Random numbers of calls: those of a module's hidden generator differ, however its functions were imported."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from random import gauss
from secrets import choice
from typing import Any

import numpy as np
import pytest
from numpy.random import randn, shuffle
from sites import PATIENCE, Site

import jobpool
from jobpool import JobPoolExecutor, SameRandomNumbers

CALLS = 40

generator = np.random.default_rng(7)
seeds = np.random.SeedSequence(7)


def by_gauss(_: int) -> float:
    return gauss(0, 1)


def by_randn(_: int) -> float:
    return float(randn())


def by_shuffle(_: int) -> tuple[int, ...]:
    numbers = list(range(50))
    shuffle(numbers)
    return tuple(numbers)


def by_choice(_: int) -> int:
    return choice(range(10**9))


def by_closure() -> Any:
    from random import random as draw

    return lambda _: draw()


def from_own_generator(_: int) -> float:
    return float(generator.normal())


def from_seed(seed: np.random.SeedSequence) -> float:
    return float(np.random.default_rng(seed).normal())


def all_ways(pool: JobPoolExecutor) -> dict[str, list[Any]]:
    functions = {"gauss": by_gauss, "randn": by_randn, "shuffle": by_shuffle, "choice": by_choice, "cell": by_closure()}
    futures = {name: [pool.submit(function, n) for n in range(CALLS)] for name, function in functions.items()}
    futures["itself"] = [pool.submit(random.gauss, 0, 1) for _ in range(CALLS)]
    futures["argument"] = [pool.submit(_call, random.random) for _ in range(CALLS)]
    return {name: [future.result(PATIENCE) for future in some] for name, some in futures.items()}


def _call(function: Any) -> Any:
    return function()


def test_calls_draw_different_numbers(site: Site) -> None:
    with site.pool(4, workers_per_job=2) as pool:
        drawn = all_ways(pool)
    assert {name: len(set(values)) for name, values in drawn.items()} == dict.fromkeys(drawn, CALLS)


def test_fresh_workers_draw_different_numbers(site: Site) -> None:
    with site.pool(4, workers_per_job=4, max_tasks_per_child=1) as pool:
        assert len(set(pool.map(by_gauss, range(CALLS)))) == CALLS
        assert len({pool.submit(by_randn, n).result(PATIENCE) for n in range(4)}) == 4


def test_a_generator_of_ones_own_is_told_once(home: Path) -> None:
    with JobPoolExecutor(2, scheduler="local", workers_per_job=2) as pool:
        told = r"'from_own_generator' .*global variable 'generator', a numpy.*how-to-random-numbers"
        with pytest.warns(SameRandomNumbers, match=told) as warned:
            drawn = list(pool.map(from_own_generator, range(CALLS)))
        assert [Path(one.filename).name for one in warned] == [Path(__file__).name]
        assert len(set(drawn)) < CALLS or _one_worker_ran_all(drawn)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool.submit(from_own_generator, 1).result(PATIENCE)
            # Seeds for each call are what should be done instead; a generator as an argument begins as it is here.
            assert len({pool.submit(from_seed, seed).result(PATIENCE) for seed in seeds.spawn(10)}) == 10
            assert pool.submit(_call, random.Random(7).random).result(PATIENCE) == random.Random(7).random()


def _one_worker_ran_all(drawn: list[float]) -> bool:
    again = np.random.default_rng(7)
    return drawn == [float(again.normal()) for _ in drawn]


def test_one_worker_needs_no_warning(home: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rng = random.Random(3)
        with JobPoolExecutor(1, scheduler="local") as pool:
            assert pool.submit(lambda: rng.random()).result(PATIENCE) == random.Random(3).random()


def test_the_pool_class_tells_it_too(home: Path) -> None:
    rng = random.Random(5)
    with jobpool.Pool(2, scheduler="local") as pool, pytest.warns(SameRandomNumbers, match="'rng'"):
        pool.map(lambda _: rng.random(), range(4))
