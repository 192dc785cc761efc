"""Sizes that are ``"auto"``: what the first calls use is what is asked for from then on."""

from __future__ import annotations

from typing import Any

import pytest

from jobpool.core.scaling.auto_size import TRIALS, generous
from jobpool.core.settings import CoreSettings
from jobpool.model.errors import RequestRefused
from jobpool.model.job import EndingKind
from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.simulation import Simulation

GIB = 2**30
NODES = NodeShape(count=40, cores=16, threads_per_core=2, memory=Memory(64 * GIB))
LIMITS = Limits(partitions=(Partition(name="main", default=True, max_time=Duration(86400), nodes=(NODES,)),))
ALL = ("cores", "memory", "walltime")


def memory(text: str) -> Memory:
    return Memory.parse(text)


def pool(names: tuple[str, ...] = ALL, *, max_workers: int = 20, limits: Limits = LIMITS, **more: Any) -> Simulation:
    request = Request()
    settings = CoreSettings(
        pool="t",
        max_workers=max_workers,
        auto=names,
        trial=generous(request, names, limits),
        limits=limits,
        retry=Retry(memory_growth=2),
        **more,
    )
    return Simulation(settings)


def asked(sim: Simulation) -> list[tuple[int, Memory | None, Duration | None, int]]:
    return [(a.request.cores, a.request.memory, a.request.walltime, a.count) for a in sim.submits]


def finish(sim: Simulation) -> None:
    sim.shut_down()
    assert sim.run(1e6, until=lambda: sim.finished is not None)
    assert not sim.errors
    assert not sim.queue


@pytest.mark.parametrize(
    ("names", "node", "most", "wanted"),
    [
        (ALL, NODES, 86400, (4, "16 GiB", 8 * 3600)),
        (ALL, NodeShape(count=1, cores=2, threads_per_core=1, memory=Memory(6 * GIB)), 600, (2, "5.75 GiB", 600)),
        (("memory",), NODES, 86400, (1, "16 GiB", None)),
        (("walltime",), NODES, 3600, (1, None, 3600)),
    ],
)
def test_what_is_tried_is_the_most_generous_that_the_site_allows(
    names: tuple[str, ...], node: NodeShape, most: int, wanted: tuple[int, str | None, int | None]
) -> None:
    limits = Limits(partitions=(Partition(name="p", default=True, max_time=Duration(most), nodes=(node,)),))
    tried = generous(Request(workers_per_job=4), names, limits)
    cores, size, walltime = wanted
    assert (tried.cores, tried.memory, tried.walltime) == (cores, size and memory(size), walltime)
    assert tried.workers_per_job == 1


def test_a_few_generous_jobs_first_then_what_the_calls_use() -> None:
    sim = pool()
    sim.uses["f"] = (1.9, memory("1 GiB"))
    calls = sim.submit(1000, seconds=60)
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    tried, *later = asked(sim)
    assert tried == (4, memory("16 GiB"), 8 * 3600.0, TRIALS)
    assert {entry[:2] for entry in later} == {(2, memory("1.3125 GiB"))}  # 5 calls: 1.26 times what they used
    assert sum(entry[3] for entry in later) == 20
    assert later[0][2] == 3600.0 + 5 * 60  # an hour of calls, and the start
    assert sim.most_running <= 20
    assert [text for text in sim.notices if "1 GiB, and kept 1.9 CPUs busy" in text]
    finish(sim)
    assert all(sim.runs[id] == 1 for id in calls)


def test_jobs_to_try_with_are_let_go_when_others_are_there() -> None:
    sim = pool(max_workers=10)
    sim.uses["f"] = (1.0, memory("1 GiB"))
    sim.submit(1000, seconds=60)
    assert sim.run(3600, until=lambda: len(sim.results) > 100)
    memories = [agent.job.request.memory for agent in sim.agents if not agent.draining]
    assert len(memories) == 10
    assert memory("16 GiB") not in memories
    finish(sim)


def test_they_serve_while_the_others_wait() -> None:
    sim = pool(max_workers=10)
    sim.uses["f"] = (1.0, memory("1 GiB"))
    calls = sim.submit(100, seconds=60)
    assert sim.run(600, until=lambda: len(sim.submits) > 1)
    sim.start_delay = 1e9
    assert sim.run(100 * 60 / TRIALS + 600, until=lambda: len(sim.results) == len(calls))
    finish(sim)


def test_no_others_are_asked_for_when_those_to_try_with_have_all_that_is_left() -> None:
    sim = pool()
    sim.uses["f"] = (1.0, memory("1 GiB"))
    calls = sim.submit(TRIALS + 2, seconds=600)
    assert sim.run(1e4, until=lambda: len(sim.results) == len(calls))
    assert len(sim.submits) == 1
    assert sim.run(1e4, until=lambda: not sim.queue)  # they end when they have been idle for long
    finish(sim)


def test_the_first_of_long_calls_is_enough_after_a_while() -> None:
    sim = pool()
    sim.uses["f"] = sim.uses["g"] = (1.0, memory("1 GiB"))
    sim.submit(1, seconds=60, function="f")
    sim.submit(500, seconds=20_000, function="g")
    assert sim.run(600, until=lambda: len(sim.submits) > 1)
    assert asked(sim)[1][:2] == (1, memory("1.4375 GiB"))  # one call: 1.4 times


def test_a_size_that_is_too_small_is_corrected() -> None:
    sim = pool(("memory",))
    sim.uses |= {"small": (1.0, memory("100 MiB")), "large": (1.0, memory("3 GiB"))}
    calls = sim.submit(50, seconds=60, function="small") + sim.submit(200, seconds=60, function="large")
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    finish(sim)
    twice = [id for id in calls if sim.runs[id] > 1]
    assert 0 < len(twice) <= 60  # those that ran when it was found out, and until larger jobs came
    assert any((entry[1] or 0) >= 3 * GIB for entry in asked(sim)[1:])


def test_calls_that_need_more_than_what_is_tried_get_it() -> None:
    sim = pool()
    sim.uses["f"] = (1.0, memory("20 GiB"))
    calls = sim.submit(100, seconds=60)
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    assert sum(sim.runs[id] > 1 for id in calls) <= 2 * TRIALS
    assert [text for text in sim.notices if "2 calls needed more than their jobs had" in text]
    finish(sim)


def test_walltimes_grow_with_the_calls() -> None:
    sim = pool(("walltime",), max_workers=4)
    sim.submit(5, seconds=10, function="f")
    calls = sim.submit(40, seconds=4000, function="g")
    assert sim.run(1e6, until=lambda: sim.ended(calls[-1]) and len(sim.results) == 45)
    finish(sim)


def test_jobs_to_try_with_that_are_refused_end_the_calls() -> None:
    sim = pool()
    sim.faults.refuse_all = "Invalid account"
    calls = sim.submit(10, seconds=60)
    assert sim.run(600, until=lambda: len(sim.errors) == len(calls))
    assert all(isinstance(error, RequestRefused) for error in sim.errors.values())


def test_what_was_found_is_given_up_for_what_was_tried_when_it_is_refused() -> None:
    sim = pool(max_workers=10)
    sim.uses["f"] = (1.0, memory("1 GiB"))
    calls = sim.submit(100, seconds=60)
    assert sim.run(600, until=lambda: len(sim.results) >= 4)
    sim.faults.refuse_all = "too small for this partition"
    assert sim.run(600, until=lambda: any("too small for this partition" in text for text in sim.notices))
    sim.faults.refuse_all = ""
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    assert asked(sim)[-1][:2] == (4, memory("16 GiB"))
    finish(sim)


def test_jobs_to_try_with_that_are_lost_are_asked_for_again() -> None:
    sim = pool()
    sim.uses["f"] = (1.0, memory("1 GiB"))
    calls = sim.submit(30, seconds=60)
    assert sim.run(100, until=lambda: len(sim.agents) == TRIALS)
    for agent in list(sim.agents):
        sim.end(agent.job, EndingKind.NODE_FAILED, "NODE_FAIL")
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    finish(sim)


def test_scale_counts_while_it_is_tried_and_after() -> None:
    from jobpool.core import events as ev

    sim = pool()
    sim.feed(ev.ScaleAsked(sim.clock.now, 3))
    assert sim.run(100, until=lambda: len(sim.agents) == 3)
    sim.uses["f"] = (1.0, memory("1 GiB"))
    calls = sim.submit(60, seconds=60)
    assert sim.run(1e5, until=lambda: len(sim.results) == len(calls))
    assert sim.most_running == 3
    sim.feed(ev.ScaleAsked(sim.clock.now, None))
    finish(sim)
