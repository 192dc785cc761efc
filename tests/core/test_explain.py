"""What a node gives for what is asked, and what a call sees there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobpool.batch.slurm.allocation import grant
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.explain import explain

GIB, MIB = 2**30, 2**20
NODE = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * GIB))
PLAIN_NODE = replace(NODE, threads_per_core=1)
PARTITION = Partition(
    name="p",
    default=True,
    max_time=Duration(7200),
    default_time=Duration(3600),
    default_memory_per_cpu=Memory(1000 * MIB),
    nodes=(NODE,),
)
LIMITED = replace(PARTITION, max_memory_per_cpu=Memory(2000 * MIB))


@pytest.mark.parametrize(
    ("wish", "cores", "cpus", "mebibytes"),
    # Each line is what SLURM 22.05 did: sbatch with these options on nodes of 2 x 8 cores with 2 threads.
    [
        ({}, 1, 2, 2000),
        ({"cpus_per_task": 3}, 2, 4, 4000),
        ({"cpus_per_task": 4}, 2, 4, 4000),
        ({"cpus_per_task": 4, "threads": 1}, 4, 8, 4000),
        ({"tasks": 3}, 2, 4, 4000),
        ({"tasks": 2, "cpus_per_task": 3}, 3, 6, 6000),
        ({"tasks": 5, "cpus_per_task": 3}, 8, 16, 16000),
        ({"tasks": 2, "cpus_per_task": 3, "threads": 1}, 6, 12, 6000),
        ({"cpus_per_task": 3, "memory_per_cpu": Memory(1000 * MIB)}, 2, 4, 4000),
        ({"exclusive": True}, 16, 32, 32000),
        ({"cpus_per_task": 4, "memory": Memory(0)}, 2, 4, 65536),
    ],
)
def test_what_a_node_gives(wish: dict[str, Any], cores: int, cpus: int, mebibytes: int) -> None:
    given = grant(Wish(**wish), PARTITION, NODE)
    assert given is not None
    assert (given.cores, given.cpus, given.memory) == (cores, cpus, Memory(mebibytes * MIB))


@pytest.mark.parametrize(
    ("wish", "cpus", "mebibytes"),
    [
        ({"memory": Memory(9000 * MIB)}, 6, 9000),
        ({"memory": Memory(64000 * MIB)}, 32, 64000),
        ({"memory_per_cpu": Memory(9000 * MIB)}, 6, 10800),
        ({"memory_per_cpu": Memory(9000 * MIB), "threads": 1}, 10, 9000),
        ({"memory_per_cpu": Memory(2500 * MIB)}, 2, 2500),
    ],
)
def test_what_a_limit_on_memory_per_cpu_makes_of_it(wish: dict[str, Any], cpus: int, mebibytes: int) -> None:
    given = grant(Wish(**wish), LIMITED, NODE)
    assert given is not None
    assert (given.cpus, given.memory) == (cpus, Memory(mebibytes * MIB))


@pytest.mark.parametrize(
    "wish",
    [{"cpus_per_task": 33}, {"cpus_per_task": 17, "threads": 1}, {"threads": 4}, {"memory": Memory(65 * GIB)}],
)
def test_what_no_such_node_gives(wish: dict[str, Any]) -> None:
    assert grant(Wish(**wish), PARTITION, NODE) is None


def on(node: NodeShape, *, confined: bool | None = True, **asked: Any) -> Any:
    limits = Limits(rules=SlurmRules(), partitions=(replace(PARTITION, nodes=(node,)),), confined=confined)
    return explain(Request(**asked), limits, system="slurm", directives=(), max_workers=4)


@pytest.mark.parametrize(
    ("node", "asked", "cpus", "cores", "threads", "job_cores"),
    [
        (NODE, {"cores": 3}, 6, 3, 3, 3),
        (NODE, {"cores": 3, "workers_per_job": 2}, 6, 3, 3, 6),
        (NODE, {"cores": 3, "bind": "threads"}, 3, 3, 3, 3),
        (NODE, {"cores": 3, "threads_per_core": 2}, 6, 3, 6, 3),
        (NODE, {"cores": 3, "workers_per_job": 2, "bind": None}, 12, 6, 3, 6),
        (PLAIN_NODE, {"cores": 3}, 3, 3, 3, 3),
        (PLAIN_NODE, {"cores": 3, "bind": None}, 3, 3, 3, 3),
    ],
)
def test_what_a_call_sees(
    node: NodeShape, asked: dict[str, Any], cpus: int, cores: int, threads: int, job_cores: int
) -> None:
    (there,) = on(node, **asked).nodes
    assert (there.call.cpus, there.call.cores, there.call.threads) == (cpus, cores, threads)
    assert there.job.cores == job_cores
    assert there.call.cpu_count == 16 * node.threads_per_core


def test_where_jobs_are_not_kept_apart_a_call_may_run_anywhere() -> None:
    found = on(NODE, cores=3, confined=False)
    assert (found.nodes[0].call.cpus, found.nodes[0].call.bound, found.nodes[0].call.threads) == (32, False, 3)
    assert any("does not keep jobs to their cores" in note for note in found.notes)
    # A job that has the whole node is bound there, too.
    assert on(NODE, cores=8, workers_per_job=2, confined=False).nodes[0].call.cpus == 16
    assert any("not known whether" in note for note in on(NODE, confined=None).notes)


def test_without_threads_per_core_a_job_has_half_of_the_cores() -> None:
    (there,) = on(NODE, cores=4, job_skip=("--threads-per-core",)).nodes
    assert (there.job.cores, there.job.cpus, there.call.cpus, there.call.bound) == (2, 4, 4, False)


def test_memory_and_deadline_of_a_call() -> None:
    (asked,) = on(NODE, memory=Memory(8 * GIB), walltime=Duration(600), workers_per_job=2).nodes
    assert (asked.call.memory, asked.call.deadline) == (Memory(8 * GIB), Duration(600))
    assert asked.job.memory == Memory(16 * GIB + 256 * MIB)
    found = on(NODE)
    (left_open,) = found.nodes
    assert (left_open.call.memory, left_open.call.deadline) == (None, Duration(3600))
    assert any("no call is stopped" in note for note in found.notes)
    assert any("a job gets 1 h" in note for note in found.notes)


def test_nodes_that_differ_are_told_apart_and_those_too_small_left_out() -> None:
    small = NodeShape(count=9, cores=2, threads_per_core=1, memory=Memory(8 * GIB))
    limits = Limits(
        rules=SlurmRules(), partitions=(replace(PARTITION, nodes=(small, NODE, replace(NODE, count=1), PLAIN_NODE)),)
    )
    found = explain(Request(cores=3), limits, system="slurm", directives=(), max_workers=1)
    assert [node.shape for node in found.nodes] == [NODE, PLAIN_NODE]


def test_a_request_that_would_be_refused_says_so() -> None:
    found = on(NODE, cores=17)
    assert found.nodes == ()
    assert "at most 16 cores" in found.problems[0]
