"""Bad nodes: which are avoided, which are not, and that enough are left."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from jobpool.core import events as ev
from jobpool.core.jobs.bad_nodes import FORGET, BadNodes
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Death
from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import JobsFailed
from jobpool.model.job import Ending, EndingKind
from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Memory
from jobpool.testing.simulation import Simulation

REQUEST = Request()
EMPTY = Ending(kind=EndingKind.FAILED, message="FAILED NonZeroExitCode 1:0")


def cluster(count: int) -> Limits:
    shape = NodeShape(count=count, cores=4, threads_per_core=1, memory=Memory(2**34))
    return Limits(partitions=(Partition(name="p", default=True, nodes=(shape,)),))


def crash(nodes: BadNodes, name: str, *calls: int) -> bool:
    """Let calls crash on a node; say whether it is avoided then."""
    return [nodes.crashed(name, call, REQUEST, 0.0) for call in calls][-1]


def test_a_node_where_several_calls_crash_is_avoided() -> None:
    nodes = BadNodes(cluster(4))
    nodes.served("good")
    assert not crash(nodes, "bad", 1, 2)
    assert crash(nodes, "bad", 3)
    assert nodes.avoided(0.0) == ("bad",)
    assert not crash(nodes, "bad", 4)  # said once


def test_one_bad_call_is_no_bad_node() -> None:
    nodes = BadNodes(cluster(4))
    nodes.served("good")
    assert not crash(nodes, "a", 1, 1, 1)
    assert not crash(nodes, "b", 1, 1, 1)
    assert not crash(nodes, "a", 2, 3)  # the first one's strike was taken back
    assert crash(nodes, "a", 4)


def test_a_result_takes_the_strikes_away() -> None:
    nodes = BadNodes(cluster(4))
    nodes.served("good")
    crash(nodes, "a", 1, 2)
    nodes.served("a")
    assert not crash(nodes, "a", 3, 4)


def test_where_every_node_fails_none_is_avoided() -> None:
    nodes = BadNodes(cluster(4))
    for number in range(40):
        name = f"n{number % 4}"
        assert not nodes.lost(name, number, EMPTY, REQUEST, 0.0, proven=False) or number < 4
        crash(nodes, name, 1000 + number)
    assert nodes.avoided(0.0) == ()


def test_a_node_that_eats_jobs_is_avoided_before_anything_else_is_known() -> None:
    nodes = BadNodes(cluster(4))
    assert not nodes.lost("hole", 1, EMPTY, REQUEST, 0.0, proven=False)
    assert nodes.lost("hole", 2, EMPTY, REQUEST, 0.0, proven=False)


@pytest.mark.parametrize("kind", [EndingKind.CANCELLED, EndingKind.PREEMPTED, EndingKind.OUT_OF_MEMORY])
def test_what_is_not_a_nodes_fault_is_no_strike(kind: EndingKind) -> None:
    nodes = BadNodes(cluster(4))
    nodes.served("good")
    ending = Ending(kind=kind, message="")
    assert not any(nodes.lost("n1", job, ending, REQUEST, 0.0, proven=True) for job in range(10))


def test_half_of_the_nodes_are_left_at_least() -> None:
    nodes = BadNodes(cluster(5))
    nodes.served("good")
    for node in range(4):
        crash(nodes, f"n{node}", *range(10 * node, 10 * node + 5))
    assert len(nodes.avoided(0.0)) == 2


def test_the_only_node_is_not_avoided() -> None:
    for limits in (Limits(), cluster(1)):
        nodes = BadNodes(limits)
        nodes.served("here")
        assert not any(nodes.lost("here", job, EMPTY, REQUEST, 0.0, proven=False) for job in range(10))


def test_a_node_is_tried_again_after_a_while() -> None:
    nodes = BadNodes(cluster(4))
    nodes.served("good")
    crash(nodes, "bad", 1, 2, 3)
    assert nodes.avoided(FORGET - 1) == ("bad",)
    assert nodes.avoided(FORGET) == ()


def pool(**changes: Any) -> Simulation:
    return Simulation(CoreSettings(pool="t", limits=cluster(4), **changes))


def test_jobs_that_a_bad_node_ate_are_asked_for_elsewhere() -> None:
    sim = pool(max_workers=4)
    sim.faults.bad_node = "n0"
    calls = sim.submit(40, seconds=30.0)
    assert sim.settle()
    assert set(sim.results) == set(calls)
    assert [action.request.exclude for action in sim.submits][-1] == ("n0",)
    assert sum("new jobs avoid node n0" in notice for notice in sim.notices) == 1
    assert len(sim.submits) <= 4


@pytest.mark.parametrize("workers", [1, 4])
def test_jobs_that_find_no_way_to_the_server_are_given_up_after_two_nodes(workers: int) -> None:
    sim = pool(max_workers=workers)
    sim.join_delay = 1000.0
    calls = sim.submit(2 * workers)

    def no_way() -> None:
        for job in [job for job in sim.queue if job.node is not None]:
            sim.end(job, EndingKind.FAILED, "FAILED NonZeroExitCode 75:0", exit_code=UNREACHABLE)

    for _ in range(8):
        sim.run(45)
        no_way()
    error = sim.errors[calls[0]]
    assert isinstance(error, JobsFailed)
    assert "2 jobs in a row" in str(error)
    assert "addresses=" in error.details["advice"]
    assert len({job.node for job in sim.jobs.values()}) > 1  # it may have been the node's own fault
    assert len(sim.jobs) <= 2 * workers


def test_a_node_without_a_way_to_the_server_is_avoided_at_once() -> None:
    nodes = BadNodes(cluster(4))
    ending = Ending(kind=EndingKind.FAILED, message="FAILED NonZeroExitCode 75:0", exit_code=UNREACHABLE)
    assert nodes.lost("n1", 1, ending, REQUEST, 0.0, proven=False)
    assert nodes.strikes("n1") == 1
    assert not nodes.lost("n2", 2, ending, REQUEST, 0.0, proven=False)  # it is not the nodes


def refused(words: str) -> ev.SubmitRefused:
    return ev.SubmitRefused(0.0, "", words, temporary=False)


def test_when_no_other_node_will_do_the_bad_one_is_used_again() -> None:
    sim = pool(max_workers=1)
    sim.faults.bad_node = "n0"
    # The third submission stays away from the node, and a constraint allows this one only.
    sim.faults.answers = deque([None, None, refused("Requested node configuration is not available")])
    (call,) = sim.submit(1)
    assert sim.run(60, until=lambda: any("that avoid n0 are refused" in notice for notice in sim.notices))
    sim.faults.bad_node = ""
    assert sim.settle(600)
    assert call in sim.results
    assert [action.request.exclude for action in sim.submits] == [(), (), ("n0",), ()]


def test_what_is_refused_also_without_an_avoided_node_ends_the_pool() -> None:
    sim = pool(max_workers=1)
    sim.faults.bad_node = "n0"
    sim.faults.answers = deque([None, None, *[refused("Invalid account")] * 2])
    (call,) = sim.submit(1)
    assert sim.settle(600)
    assert "Invalid account" in str(sim.errors[call])
    assert len(sim.submits) == 4


def test_a_setup_that_fails_everywhere_avoids_nothing_and_is_bounded() -> None:
    sim = pool(max_workers=4)
    sim.faults.script_fails = True
    sim.submit(40)
    assert sim.settle()
    assert sim.broken
    assert not any("new jobs avoid" in notice for notice in sim.notices)
    assert sum(action.count for action in sim.submits) <= 8


def test_calls_that_crash_on_one_node_make_its_jobs_end_and_run_elsewhere() -> None:
    sim = pool(max_workers=4, retry=Retry(crashed=0))
    sim.submit(1)
    assert sim.settle()
    calls = sim.submit(40, seconds=30.0)
    assert sim.run(60, until=lambda: len(sim.told_running) == 4)
    for _ in range(3):
        bad = next(agent for agent in sim.agents if agent.job.node == "n1")
        assert sim.run(60, until=lambda bad=bad: bad.running)  # type: ignore[misc]
        sim.kill_worker(bad, Death(signal=7, tail="Bus error"))
        sim.run(0.1)
    assert any("new jobs avoid node n1" in notice for notice in sim.notices)
    assert sim.settle()
    assert len(set(calls) - set(sim.results)) == 3
    assert all(agent.job.node != "n1" for agent in sim.agents)
