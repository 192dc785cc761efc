"""More memory and longer walltimes: what is asked for next, and when there is nothing more to ask for."""

from __future__ import annotations

from typing import Any

import pytest

from jobpool.core import events as ev
from jobpool.core.recovery.growth import longer, roomier
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Death
from jobpool.model.call_options import CallOptions
from jobpool.model.errors import CallOutOfMemory, CallTimedOut
from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.simulation import Simulation

GIB = 2**30
NODES = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * GIB))
LIMITS = Limits(
    partitions=(
        Partition(name="short", default=True, max_time=Duration(3600), default_time=Duration(1800), nodes=(NODES,)),
        Partition(name="endless", nodes=(NODES,)),
    )
)


def memory(text: str) -> Memory:
    return Memory.parse(text)


@pytest.mark.parametrize(
    ("asked", "used", "retry", "wanted"),
    [
        ("2 GiB", 2 * GIB, Retry(memory_growth=1.5), "3 GiB"),
        ("2 GiB", 3 * GIB, Retry(memory_growth=1.5), "4.5 GiB"),  # a burst that the kernel stopped
        (None, 2 * GIB, Retry(memory_growth=2), "4 GiB"),
        ("2 GiB", 0, Retry(memory_growth=4, max_memory="5 GiB"), "5 GiB"),
        ("40 GiB", 0, Retry(memory_growth=4), "63.75 GiB"),  # the node, less the agent's share
        ("2 GiB", 0, Retry(), None),
        ("5 GiB", 0, Retry(memory_growth=4, max_memory="5 GiB"), None),
        ("63.75 GiB", 0, Retry(memory_growth=4), None),
        (None, 0, Retry(memory_growth=4), None),
    ],
)
def test_the_next_memory(asked: str | None, used: int, retry: Retry, wanted: str | None) -> None:
    request = Request(memory=None if asked is None else memory(asked), workers_per_job=8)
    grown = roomier(request, used, retry, LIMITS)
    if wanted is None:
        assert grown is None
    else:
        assert grown is not None
        assert (grown.memory, grown.workers_per_job) == (memory(wanted), 1)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (Request(walltime=Duration(600)), 1200),
        (Request(walltime=Duration(2000)), 3600),
        (Request(walltime=Duration(3600)), None),
        (Request(), 3600),  # the partition's default, twice
        (Request(partition="endless", walltime=Duration(3600)), 7200),
        (Request(partition="endless"), None),  # nobody knows what it had
    ],
)
def test_the_next_walltime(request_: Request, wanted: float | None) -> None:
    grown = longer(request_, LIMITS)
    assert (None if grown is None else grown.walltime) == wanted


def test_a_machine_without_partitions_bounds_the_memory() -> None:
    limits = Limits(max_memory=memory("6 GiB"))
    grown = roomier(Request(memory=memory("4 GiB")), 0, Retry(memory_growth=2), limits)
    assert grown is not None
    assert grown.memory == memory("6 GiB")
    assert roomier(grown, 0, Retry(memory_growth=2), limits) is None


def test_nothing_is_guessed_where_no_limits_are_known() -> None:
    assert longer(Request(walltime=Duration(600)), Limits()) is None


def pool(**changes: Any) -> Simulation:
    return Simulation(CoreSettings(pool="t", limits=LIMITS, max_workers=2, **changes))


def running(sim: Simulation, *calls: int) -> bool:
    return sim.run(60, until=lambda: set(calls) <= sim.told_running)


def kill_for_memory(sim: Simulation, call: int) -> None:
    """Let the worker of a call be killed for memory."""
    agent, worker = next((a, w) for a in sim.agents for w, runs in a.running.items() if runs.id == call)
    death = Death(signal=9, out_of_memory=True, peak_memory=3 * GIB)
    del agent.running[worker]
    sim.feed(ev.WorkerDied(sim.clock.now, agent.job.key, call, death))


def asked(sim: Simulation) -> list[tuple[Memory | None, int]]:
    return [(action.request.memory, action.count) for action in sim.submits]


def test_only_the_call_that_needs_more_gets_a_larger_job() -> None:
    sim = pool(request=Request(memory=memory("2 GiB"), workers_per_job=2), retry=Retry(memory_growth=2))
    first, second = sim.submit(2, seconds=100)
    assert running(sim, first, second)
    kill_for_memory(sim, first)
    assert sim.settle()
    assert set(sim.results) == {first, second}
    assert sim.runs == {first: 2, second: 1}
    assert asked(sim) == [(memory("2 GiB"), 1), (memory("6 GiB"), 1)]


def test_a_call_whose_larger_job_is_refused_ends_with_what_it_owes() -> None:
    sim = pool(request=Request(memory=memory("2 GiB")), retry=Retry(memory_growth=2))
    call, other = sim.submit(2, seconds=100)
    assert running(sim, call, other)
    sim.faults.refuse_all = "QOSMaxMemoryPerJob"
    kill_for_memory(sim, call)
    assert sim.settle()
    assert isinstance(sim.errors[call], CallOutOfMemory)
    assert set(sim.results) == {other}


def test_a_call_that_never_ends_gets_a_longer_walltime_twice() -> None:
    sim = pool(request=Request(partition="endless", walltime=Duration(600)))
    (call,) = sim.submit(1, seconds=1e6)
    assert sim.settle(1e5)
    assert isinstance(sim.errors[call], CallTimedOut)
    assert [action.request.walltime for action in sim.submits] == [600.0, 1200.0, 2400.0]


def test_a_call_has_the_retry_of_its_own_terms() -> None:
    sim = pool(request=Request(memory=memory("2 GiB")))
    (call,) = sim.submit(1, seconds=100, terms=CallOptions(retry=Retry(memory_growth=2)))
    assert running(sim, call)
    kill_for_memory(sim, call)
    assert sim.settle()
    assert set(sim.results) == {call}


def test_requests_have_a_number_of_workers_each() -> None:
    sim = pool()
    sim.feed(ev.RequestAdded(sim.clock.now, "wide", Request(cores=2), 5))
    sim.submit(20, request="wide")
    sim.submit(20)
    assert sim.settle()
    assert sorted((action.request.cores, action.count) for action in sim.submits) == [(1, 2), (2, 5)]
