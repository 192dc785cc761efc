"""Constraints, read as SLURM 22.05 was seen to read them, and nodes that have all of what is asked for together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.slurm.constraint import read_constraint
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Memory
from jobpool.site.check import check, choose_partition, judge

GIB = 2**30
FAST = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * GIB), features=("fast", "ib"))
LARGE = NodeShape(count=1, cores=4, threads_per_core=2, memory=Memory(256 * GIB), features=("old",))
MIXED = Partition(name="mixed", default=True, nodes=(FAST, LARGE))
LIMITS = Limits(rules=SlurmRules(), partitions=(MIXED,))


@pytest.mark.parametrize(
    ("constraint", "features", "holds"),
    [
        ("a", "a", True),
        ("a&b", "a", False),
        ("a,b", "a b", True),
        ("a|b", "b", True),
        ("a|b&c", "a", False),  # from left to right: (a|b)&c
        ("a|(b&c)", "a", True),
        ("a*1", "a", True),
        ("a*2", "a", False),
        ("[a|b]&c", "b c", True),
        ("[a*1&b*1]", "a b", False),  # two nodes
        ("[(a&b)*1]", "a b", True),
        ("a-1.x:y", "a-1.x:y", True),
    ],
)
def test_what_a_constraint_means(constraint: str, features: str, holds: bool) -> None:
    read = read_constraint(constraint)
    assert read is not None
    assert read.holds(frozenset(features.split())) == holds


@pytest.mark.parametrize("text", ["!a", "{a|b}", "a b", "a|(", "a)", "a&", "", "a**2", "(" * 3000 + "a" + ")" * 3000])
def test_what_cannot_be_read_is_not_guessed(text: str) -> None:
    assert read_constraint(text) is None
    verdict = judge(Request(constraint=text or None), LIMITS)
    assert verdict.ok
    assert len(verdict.unknown) == bool(text)


@given(st.text("ab!*12()[]{}&|, ", max_size=40))
def test_any_text_can_be_read_or_not(text: str) -> None:
    if (read := read_constraint(text)) is not None:
        read.holds(frozenset("ab"))


@pytest.mark.parametrize(
    ("request_", "setting", "words"),
    [
        (
            Request(cores=8, constraint="old"),
            "cores",
            "larger than any node of partition 'mixed' with constraint='old'",
        ),
        (
            Request(memory=Memory(100 * GIB), constraint="fast"),
            "memory",
            "with constraint='fast' gives; at most 64 GiB",
        ),
        (Request(cores=8, memory=Memory(100 * GIB)), "cores", "has 8 cores, 100.25 GiB memory, 0 GPUs together"),
        (
            Request(cores=8, memory=Memory(100 * GIB), constraint="fast|old"),
            "cores",
            "constraint='fast|old' has 8 cores",
        ),
        (Request(constraint="fast&old"), "constraint", "has 'fast&old'; there are nodes with: fast,ib; old"),
        (Request(constraint="fast|nowhere"), "constraint", "has the feature 'nowhere'; there are: fast, ib, old"),
        (Request(threads_per_core=4, constraint="old"), "threads_per_core", "with constraint='old' have 2"),
    ],
)
def test_no_single_node_has_it(request_: Request, setting: str, words: str) -> None:
    (problem,) = check(request_, LIMITS)
    assert problem.setting == setting
    assert words in problem.text
    if problem.nearest is not None:
        nearest: dict[str, Any] = {problem.setting: problem.nearest}
        assert check(replace(request_, **nearest), LIMITS) == []


def test_a_node_that_has_it_all_is_found() -> None:
    for fits in (
        Request(cores=4, memory=Memory(100 * GIB), constraint="old"),
        Request(cores=8, memory=Memory(8 * GIB), constraint="old|fast&ib"),
    ):
        assert check(fits, LIMITS) == []


def test_a_feature_of_another_partition_may_stand_behind_an_or() -> None:
    other = Partition(name="other", nodes=(replace(FAST, features=("new",)),))
    limits = Limits(rules=SlurmRules(), partitions=(MIXED, other))
    assert check(Request(constraint="fast|new"), limits) == []
    assert [problem.setting for problem in check(Request(constraint="new"), limits)] == ["constraint"]


# -------------------------------------------------------------------------------------------------------- whole nodes

WHOLE = replace(MIXED, name="whole", nodes=(FAST,), whole_nodes="OverSubscribe=EXCLUSIVE", default=False, tier=9)


def test_one_core_in_a_partition_of_whole_nodes_is_charged_as_a_node_and_the_cure_is_told() -> None:
    request = Request(cores=1, memory=Memory(6 * GIB), partition="whole")
    limits = Limits(rules=SlurmRules(), partitions=(WHOLE,))
    (note,) = judge(request, limits, max_workers=100).notes
    assert "has a whole node (OverSubscribe=EXCLUSIVE): 16 cores are taken and charged, 1 of them used" in note
    assert note.endswith("workers_per_job=10 shares a node among them")  # what 64 GiB hold
    assert judge(replace(request, workers_per_job=10), limits, max_workers=100).ok
    assert judge(request, limits, max_workers=3).notes[0].endswith("workers_per_job=3 shares a node among them")
    assert judge(replace(request, cores=16), limits, max_workers=100).notes == ()


def test_an_exclusive_job_is_charged_the_same_anywhere() -> None:
    (note,) = judge(Request(job_extra=("--exclusive",), constraint="old"), LIMITS, max_workers=8).notes
    assert "each job has a whole node (--exclusive): 4 cores are taken" in note
    assert judge(Request(job_extra=("--exclusive=user",)), LIMITS, max_workers=8).notes == ()


def test_auto_does_not_take_a_whole_node_for_a_core() -> None:
    limits = Limits(rules=SlurmRules(), partitions=(replace(MIXED, idle_cpus=99), replace(WHOLE, idle_cpus=99)))
    assert choose_partition(Request(partition="auto"), limits).partition == "mixed"
    assert choose_partition(Request(partition="auto", cores=16), limits).partition == "whole"
