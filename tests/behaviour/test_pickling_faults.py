"""Whatever goes wrong while something is pickled or made again, on either side, is one call's affair."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from sites import PATIENCE

from jobpool import JobPoolExecutor
from jobpool.model.errors import CallCrashed, NotPicklable, NotUnpicklable


def act(how: str) -> Any:
    if how == "raise":
        raise ValueError("spoiled")
    if how == "exit":
        sys.exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


class Fault(Exception):
    """Misbehaves when it is pickled, or when it is made again. An exception, so that it can be raised, too."""

    def __init__(self, when: str, how: str) -> None:
        super().__init__(when, how)
        self.when, self.how = when, how

    def __reduce__(self) -> Any:
        return act(self.how) if self.when == "pickle" else (act, (self.how,))

    def __call__(self) -> None:
        pass


def double(value: int) -> int:
    return 2 * value


def as_argument(pool: JobPoolExecutor, when: str, how: str) -> Future[Any]:
    return pool.submit(type, Fault(when, how))


def as_function(pool: JobPoolExecutor, when: str, how: str) -> Future[Any]:
    return pool.submit(Fault(when, how))


def as_result(pool: JobPoolExecutor, when: str, how: str) -> Future[Any]:
    return pool.submit(Fault, when, how)


def as_exception(pool: JobPoolExecutor, when: str, how: str) -> Future[Any]:
    def fails() -> None:
        raise Fault(when, how)

    return pool.submit(fails)


@pytest.mark.parametrize(
    ("submit", "when", "how", "expected"),
    [
        (as_argument, "pickle", "raise", NotPicklable),
        (as_argument, "unpickle", "raise", NotUnpicklable),
        (as_argument, "unpickle", "exit", NotUnpicklable),
        (as_argument, "unpickle", "kill", CallCrashed),
        (as_function, "pickle", "raise", NotPicklable),
        (as_function, "unpickle", "raise", NotUnpicklable),
        (as_function, "unpickle", "exit", NotUnpicklable),
        (as_function, "unpickle", "kill", CallCrashed),
        (as_result, "pickle", "raise", NotPicklable),
        (as_result, "pickle", "exit", SystemExit),
        (as_result, "pickle", "kill", CallCrashed),
        (as_result, "unpickle", "raise", NotUnpicklable),
        (as_result, "unpickle", "exit", NotUnpicklable),
        (as_exception, "pickle", "raise", NotPicklable),
        (as_exception, "pickle", "exit", NotPicklable),
        (as_exception, "pickle", "kill", CallCrashed),
        (as_exception, "unpickle", "raise", NotUnpicklable),
        (as_exception, "unpickle", "exit", NotUnpicklable),
    ],
)
def test_it_costs_its_call_alone(
    pool: JobPoolExecutor,
    submit: Callable[[JobPoolExecutor, str, str], Future[Any]],
    when: str,
    how: str,
    expected: type[BaseException],
) -> None:
    before = [pool.submit(double, number) for number in range(5)]
    faulty = submit(pool, when, how)
    after = [pool.submit(double, number) for number in range(5)]
    error = faulty.exception(PATIENCE)
    assert type(error) is expected
    assert isinstance(error, (BrokenProcessPool, pickle.PicklingError, SystemExit))
    if how == "raise":
        assert "spoiled" in str(error)
        assert error.__cause__ is not None
    assert [future.result(PATIENCE) for future in before + after] == 2 * [0, 2, 4, 6, 8]


def test_a_caller_that_exits_while_it_pickles_exits(pool: JobPoolExecutor) -> None:
    with pytest.raises(SystemExit):
        as_argument(pool, "pickle", "exit")
    assert pool.submit(double, 1).result(PATIENCE) == 2
