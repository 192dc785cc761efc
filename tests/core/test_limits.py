"""A request that the site would refuse, or let wait for ever, is told before anything is queued."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check

GIB = 2**30
SMALL = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * GIB))
BIG = NodeShape(count=1, cores=32, threads_per_core=2, memory=Memory(256 * GIB))
GPU = NodeShape(count=1, cores=16, threads_per_core=2, memory=Memory(64 * GIB), gpus=4)
SHORT = Partition(name="short", default=True, max_time=Duration.parse("1 h"), nodes=(SMALL,))
LONG = Partition(name="long", max_time=Duration.parse("2 d"), nodes=(SMALL, BIG, GPU))
LIMITS = Limits(partitions=(SHORT, LONG, Partition(name="off", up=False, nodes=(SMALL,))))
OK = Request(cores=2, memory=Memory(8 * GIB), walltime=Duration.parse("1 h"))


@pytest.mark.parametrize(
    "request_",
    [
        OK,
        replace(OK, partition="long", walltime=Duration.parse("2 d")),
        replace(OK, partition="short,long", walltime=Duration.parse("5 h")),  # one of them will do
        replace(OK, partition="long", gpus=4),
        replace(OK, cores=2, workers_per_job=8, memory=Memory(7 * GIB)),
    ],
)
def test_what_fits(request_: Request) -> None:
    assert check(request_, LIMITS) == []


@pytest.mark.parametrize(
    ("request_", "setting", "nearest", "words"),
    [
        (replace(OK, partition="lnog"), "partition", None, "there are: long, off, short"),
        (replace(OK, partition="off"), "partition", None, "is down"),
        (replace(OK, walltime=Duration.parse("5 h")), "walltime", Duration.parse("1 h"), "at most 1 h"),
        (replace(OK, cores=17), "cores", 16, "at most 16 cores"),
        (replace(OK, cores=5, workers_per_job=4), "cores", 4, "20 cores (4 workers)"),
        (replace(OK, gpus=1), "gpus", 0, "they have none"),
        (replace(OK, memory=Memory(64 * GIB)), "memory", Memory(64 * GIB - 2**28), "63.75 GiB for each worker"),
        (replace(OK, partition="long", memory=Memory(200 * GIB), gpus=1), "cores", None, "together"),
    ],
)
def test_what_does_not(request_: Request, setting: str, nearest: object, words: str) -> None:
    (problem,) = check(request_, LIMITS)
    assert (problem.setting, problem.nearest) == (setting, nearest)
    assert words in problem.text


def test_all_problems_are_told_at_once() -> None:
    problems = check(replace(OK, cores=99, gpus=9, walltime=Duration.parse("9 d"), memory=Memory(999 * GIB)), LIMITS)
    assert [problem.setting for problem in problems] == ["walltime", "cores", "gpus", "memory"]


def test_the_proposal_fits() -> None:
    asked = replace(OK, memory=Memory(100 * GIB), workers_per_job=3, cores=1)
    (problem,) = check(asked, LIMITS)
    assert isinstance(problem.nearest, Memory)
    assert check(replace(asked, memory=problem.nearest), LIMITS) == []


def test_what_is_not_known_is_not_guessed() -> None:
    assert check(replace(OK, partition="any", cores=10_000), Limits()) == []
    assert check(replace(OK, cores=10_000), Limits(partitions=(Partition(name="p", default=True),))) == []
    assert check(replace(OK, cores=10_000), Limits(partitions=(replace(SHORT, default=False),))) == []
