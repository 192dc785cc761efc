"""``joblib.parallel_config(backend="jobpool")``, and scikit-learn on it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from gates import Gate
from joblib import Parallel, delayed, parallel_config
from sites import PATIENCE, Site

from jobpool import ConfigError, JobPoolExecutor, NotPicklable, register_joblib
from jobpool.testing import wait_until


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The backend, for this test alone."""
    register_joblib()
    register_joblib()  # once more does no harm
    yield
    del joblib.parallel.BACKENDS["jobpool"]


@contextlib.contextmanager
def made(site: Site, **keywords: Any) -> Iterator[str]:
    """Use the backend with a pool of its own, whose name this gives; see that it ends with the block."""
    name = f"joblib-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with parallel_config(backend="jobpool", name=name, **{**site.keywords, **keywords}):
            yield name
    finally:
        gc.collect()  # after an error joblib leaves cycles
        assert wait_until(lambda: site.jobs_in_queue(name) == [], PATIENCE)


def double(value: int) -> int:
    return 2 * value


def pid(_: object = None) -> int:
    return os.getpid()


def invert(value: int) -> float:
    return 1 / value


# A pool of its own


def test_parallel_runs_on_a_pool_that_ends_with_the_block(site: Site) -> None:
    with made(site, n_jobs=2, memory="300 MiB") as name:
        assert Parallel()(delayed(double)(number) for number in range(50)) == [2 * number for number in range(50)]
        assert len(site.jobs_in_queue(name)) == 1
        pids = set(Parallel()(delayed(pid)() for _ in range(10)))
        assert os.getpid() not in pids
        assert pids & set(Parallel()(delayed(pid)() for _ in range(10)))  # the pool stayed


def test_the_request_is_checked_when_parallel_begins(site: Site) -> None:
    with made(site, n_jobs=2, memory="8G"), pytest.raises(ConfigError, match="memory"):
        Parallel()(delayed(double)(number) for number in range(3))
    with pytest.raises(TypeError, match="memory"):
        parallel_config(backend="jobpool", executor=object(), memory="1 GiB")


@pytest.mark.parametrize(
    ("keywords", "n_jobs", "effective"),
    [
        ({"max_workers": 6}, -1, 6),
        ({"max_workers": 6}, -2, 5),
        ({"max_workers": 6}, 4, 4),
        ({"max_workers": 6}, 8, 6),
        ({}, 8, 8),
        ({}, 1, 1),
        ({"max_workers": 1}, -1, 2),  # 1 would mean: in this process
    ],
)
def test_n_jobs_is_how_many_calls_run_at_once(
    site: Site, keywords: dict[str, int], n_jobs: int, effective: int
) -> None:
    with made(site, n_jobs=n_jobs, **keywords):
        assert joblib.effective_n_jobs(None) == effective


def test_a_pool_of_one_worker_runs_nothing_in_this_process(site: Site) -> None:
    with made(site, max_workers=1):
        pids = set(Parallel()(delayed(pid)() for _ in range(5)))
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_one_job_is_a_loop_here_as_joblib_says(site: Site) -> None:
    with made(site, n_jobs=1) as name:
        assert Parallel()(delayed(pid)() for _ in range(3)) == [os.getpid()] * 3
        assert site.jobs_in_queue(name) == []
    with made(site), pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(pid)() for _ in range(3))


def test_another_number_of_jobs_is_obeyed(site: Site, gate: Gate) -> None:
    with made(site, n_jobs=2):
        assert Parallel()(delayed(double)(number) for number in range(3)) == [0, 2, 4]
        # Three that wait for each other.
        meet = delayed(_meet)
        assert Parallel(n_jobs=3)(meet(str(gate.path), number) for number in range(3)) == [0, 1, 2]


def _meet(path: str, number: int) -> int:
    import time
    from pathlib import Path

    Path(path, f"arrived-{number}").touch()
    while len(list(Path(path).glob("arrived-*"))) < 3:
        time.sleep(0.01)
    return number


def test_an_error_in_a_call_comes_out_and_ends_the_pool_with_what_runs(site: Site, gate: Gate) -> None:
    hold = gate.hold()
    with made(site, n_jobs=2) as name:
        with pytest.raises(ZeroDivisionError) as caught:
            Parallel()(delayed(lambda number: hold() if number else 1 / number)(number) for number in range(1, -1, -1))
        assert "1 / number" in str(caught.value.__cause__)
        assert site.jobs_in_queue(name) == []
        del caught  # its traceback holds the Parallel, and so the pool
        assert Parallel()(delayed(double)(number) for number in range(3)) == [0, 2, 4]


def test_a_parallel_that_is_kept_goes_on_after_an_error(site: Site) -> None:
    def use_it() -> None:
        with Parallel() as parallel:
            with pytest.raises(ZeroDivisionError):
                parallel(delayed(invert)(number) for number in range(3))
            assert parallel(delayed(double)(number) for number in range(3)) == [0, 2, 4]

    with made(site, n_jobs=2):
        use_it()


def test_the_parameters_may_be_given_to_parallel_itself(site: Site) -> None:
    parallel = Parallel(n_jobs=2, backend="jobpool", memory="300 MiB", **site.keywords)
    assert os.getpid() not in parallel(delayed(pid)() for _ in range(3))
    assert parallel._backend._made.settings.request.memory == 300 * 2**20


def test_parallel_itself_may_be_given_a_pool(executor: JobPoolExecutor) -> None:
    before = executor.status().calls.done
    assert Parallel(n_jobs=2, backend="jobpool", executor=executor)(delayed(double)(1) for _ in range(3)) == [2] * 3
    assert executor.status().calls.done > before


# A pool that was there


@pytest.fixture
def backend(executor: JobPoolExecutor) -> Iterator[JobPoolExecutor]:
    """The backend on a pool of two workers."""
    with parallel_config(backend="jobpool", executor=executor):
        yield executor


def waiting(executor: JobPoolExecutor) -> int:
    """Return how many calls have not started."""
    return int(executor.status().calls.waiting)


def test_a_pool_that_is_given_stays_through_errors(backend: JobPoolExecutor) -> None:
    assert joblib.effective_n_jobs(None) == joblib.effective_n_jobs(8) == 2
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(invert)(number) for number in range(3))
    assert Parallel()(delayed(double)(number) for number in range(3)) == [0, 2, 4]
    assert backend.submit(double, 1).result(PATIENCE) == 2


def test_what_waits_is_cancelled_after_an_error(backend: JobPoolExecutor, gate: Gate) -> None:
    calls = [delayed(invert)(0), *[delayed(gate.hold())() for _ in range(20)]]
    with pytest.raises(ZeroDivisionError):
        Parallel(pre_dispatch="all", batch_size=1)(calls)
    assert wait_until(lambda: waiting(backend) == 0, PATIENCE)
    gate.open()
    assert Parallel()(delayed(double)(number) for number in range(3)) == [0, 2, 4]


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators(backend: JobPoolExecutor, return_as: str) -> None:
    results = Parallel(return_as=return_as)(delayed(double)(number) for number in range(20))
    assert iter(results) is results
    assert sorted(results) == [2 * number for number in range(20)]


def test_results_come_while_others_are_made(backend: JobPoolExecutor, gate: Gate) -> None:
    hold = gate.hold()
    results = Parallel(return_as="generator", batch_size=1)(
        delayed(hold if number == 1 else double)(number) for number in range(2)
    )
    assert next(results) == 0
    gate.open()
    assert list(results) == [1]


def test_a_generator_that_is_left_cancels_the_rest(backend: JobPoolExecutor, gate: Gate) -> None:
    hold = gate.hold()
    results = Parallel(return_as="generator", pre_dispatch="all", batch_size=1)(
        delayed(hold if number else double)(number) for number in range(20)
    )
    assert next(results) == 0
    gate.wait_for(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib says that calls were cancelled
        results.close()
    assert wait_until(lambda: waiting(backend) == 0, PATIENCE)
    gate.open()
    assert backend.submit(double, 1).result(PATIENCE) == 2


def test_a_timeout_is_raised(backend: JobPoolExecutor, gate: Gate) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.1)(delayed(gate.hold())() for _ in range(2))
    gate.open()


@pytest.mark.parametrize("at", [0, 15])
def test_what_cannot_travel_is_an_error_and_no_hang(backend: JobPoolExecutor, at: int) -> None:
    # The later ones are sent in a thread of the pool's, when earlier ones have ended.
    lock = threading.Lock()
    with pytest.raises(NotPicklable, match="lock"):
        Parallel(batch_size=1)(delayed(str)(lock if number == at else number) for number in range(20))


def test_small_calls_travel_in_batches(backend: JobPoolExecutor) -> None:
    before = backend.status().calls.done
    assert sum(Parallel()(delayed(double)(number) for number in range(5000))) == 24_995_000
    assert backend.status().calls.done - before < 1000


def test_nested_parallels_are_threads_in_the_worker(backend: JobPoolExecutor) -> None:
    def nest(number: int) -> tuple[int, set[int]]:
        inner = Parallel(n_jobs=2)(delayed(lambda: __import__("os").getpid())() for _ in range(4))
        return __import__("os").getpid(), set(inner)

    outer = Parallel()(delayed(nest)(number) for number in range(4))
    assert all({process} == inner for process, inner in outer)
    assert os.getpid() not in {process for process, _ in outer}


def test_shared_memory_stays_here(backend: JobPoolExecutor) -> None:
    seen: list[int] = []
    Parallel(n_jobs=2, require="sharedmem")(delayed(seen.append)(number) for number in range(3))
    assert sorted(seen) == [0, 1, 2]


def test_another_backend_inside(backend: JobPoolExecutor) -> None:
    with parallel_config(backend="threading", n_jobs=2):
        assert set(Parallel()(delayed(pid)() for _ in range(3))) == {os.getpid()}
    assert os.getpid() not in Parallel()(delayed(pid)() for _ in range(3))


# scikit-learn, imported where it is used: this takes seconds, and each of pytest's workers collects this file.


def search(**keywords: Any) -> Any:
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    features, labels = make_classification(60, random_state=0)
    grid = {"C": [0.01, 0.1, 1.0], "fit_intercept": [True, False]}
    return GridSearchCV(LogisticRegression(), grid, cv=3, **keywords).fit(features, labels)


def test_a_grid_search_finds_what_it_finds_here(backend: JobPoolExecutor) -> None:
    before = backend.status().calls.done
    there = search(n_jobs=-1)
    assert backend.status().calls.done > before
    with parallel_config(backend="sequential"):
        here = search()
    assert there.best_params_ == here.best_params_
    assert np.array_equal(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])


def test_a_grid_search_with_an_error_in_a_fit(backend: JobPoolExecutor) -> None:
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    features, labels = make_classification(60, random_state=0)
    grid = {"C": [1.0, -1.0]}
    with pytest.raises(ValueError, match="'C' parameter"):
        GridSearchCV(LogisticRegression(), grid, error_score="raise").fit(features, labels)


def test_a_forest_inside_of_a_cross_validation(backend: JobPoolExecutor) -> None:
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    features, labels = make_classification(60, random_state=0)
    forest = RandomForestClassifier(4, n_jobs=2, random_state=0)
    scores = cross_val_score(forest, features, labels, cv=3)
    with parallel_config(backend="sequential"):
        assert np.array_equal(scores, cross_val_score(forest, features, labels, cv=3))


# Without joblib


def printed(code: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_importing_jobpool_does_not_import_joblib() -> None:
    assert printed("import sys, jobpool, jobpool.faces.pool; print('joblib' in sys.modules)") == "False\n"


def test_where_joblib_is_missing_its_name_says_how_to_get_it() -> None:
    told = printed(
        "import sys; sys.modules['joblib'] = None\n"
        "from jobpool import *\n"
        "try:\n    register_joblib()\nexcept ImportError as error:\n    print(error)"
    )
    assert "pip install 'jobpool[joblib]'" in told
