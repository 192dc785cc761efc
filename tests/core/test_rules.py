"""A site whose batch system has no rules of its own, and what changes where it has some."""

from __future__ import annotations

import pytest

from jobpool.batch.slurm.rules import SlurmRules
from jobpool.model.request import Request
from jobpool.model.rules import Grant, Rules, Wish
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check, judge

GIB = 2**30
NODE = NodeShape(count=2, cores=8, threads_per_core=2, memory=Memory(32 * GIB), features=("fast",))
PARTITION = Partition(
    name="main",
    default=True,
    nodes=(NODE,),
    node_names="n[1-2]",
    max_time=Duration(3600),
    max_memory_per_cpu=Memory(GIB),
    default_memory_per_node=Memory(2 * GIB),
)
PLAIN, SLURM = Limits(partitions=(PARTITION,)), Limits(partitions=(PARTITION,), rules=SlurmRules())


@pytest.mark.parametrize(
    ("wish", "granted"),
    [
        (Wish(cpus_per_task=3, threads=1, memory=Memory(GIB)), Grant(cores=3, cpus=6, counted=3, memory=Memory(GIB))),
        (Wish(cpus_per_task=3), Grant(cores=2, cpus=4, counted=4, memory=Memory(2 * GIB))),
        (Wish(cpus_per_task=2, memory_per_cpu=Memory(GIB)), Grant(cores=1, cpus=2, counted=2, memory=Memory(2 * GIB))),
        (Wish(exclusive=True, memory=Memory(GIB)), Grant(cores=8, cpus=16, counted=16, memory=Memory(GIB))),
        (Wish(cpus_per_task=9, threads=1), None),
        (Wish(threads=4), None),
        (Wish(memory=Memory(33 * GIB)), None),
    ],
)
def test_whole_cores_are_given_as_many_as_are_asked_for(wish: Wish, granted: Grant | None) -> None:
    assert Rules().grant(wish, PARTITION, NODE) == granted


def test_memory_costs_cores_where_the_rules_say_so() -> None:
    request = Request(cores=1, memory=Memory(4 * GIB), walltime=Duration(600))
    assert any("is charged for" in note for note in judge(request, SLURM).notes)
    assert not any("is charged for" in note for note in judge(request, PLAIN).notes)


def test_what_cannot_be_read_is_told_and_not_compared() -> None:
    request = Request(constraint="slow", walltime=Duration(600), memory=Memory(GIB))
    (problem,) = check(request, SLURM)
    assert problem.setting == "constraint"
    verdict = judge(request, PLAIN)
    assert verdict.ok
    assert any("constraint='slow'" in text for text in verdict.unknown)


def test_nodes_that_are_excluded_are_read_as_that_batch_system_writes_them() -> None:
    request = Request(exclude=("n[1-2]",), walltime=Duration(600), memory=Memory(GIB))
    (problem,) = check(request, SLURM)
    assert problem.setting == "exclude"
    listed = Limits(partitions=(Partition(name="main", default=True, node_names="a, b"),))
    assert [problem.setting for problem in check(Request(exclude=("a", "b")), listed)] == ["exclude"]


@pytest.mark.parametrize("option", ["--part=other -H", "-Hpother", "#SBATCH -p other # long", "--partition other"])
def test_options_of_ones_own_are_read_as_sbatch_reads_them(option: str) -> None:
    request = Request(job_extra=(option,), walltime=Duration(600), memory=Memory(GIB))
    (problem,) = check(request, SLURM)
    assert "no partition 'other'" in problem.text
    assert check(request, PLAIN) == []
