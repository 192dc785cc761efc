"""Endings that a job's own exit file tells, where the queue forgets at once and there is no accounting."""

from __future__ import annotations

from enginekit import actions, pool, serving, states

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.model.errors import JobsFailed
from jobpool.model.job import Ending, EndingKind, JobId
from jobpool.testing.simulation import Simulation
from jobpool.testing.simulation_parts import SimulatedJob

UNREADY: dict[JobId, Ending] = {}


def forgetful(sim: Simulation) -> Simulation:
    sim.faults.forgetful = True
    return sim


def told(job: SimulatedJob, **facts: object) -> dict[JobId, Ending]:
    return {job.id: Ending(**{"kind": EndingKind.FAILED, "source": "exit file", **facts})}  # type: ignore[arg-type]


def test_a_file_that_comes_late_still_tells_how_the_job_ended() -> None:
    sim = forgetful(pool(max_workers=1))
    answers = [UNREADY, UNREADY]
    account = sim._account

    def late(names: tuple[str, ...]) -> None:
        if answers:
            answers.pop()
            sim.later(0.1, lambda: sim.feed(ev.Accounted(sim.clock.now, names, {})))
        else:
            account(names)

    sim._account = late  # type: ignore[method-assign]
    sim.faults.script_fails = True
    (id,) = sim.submit(1)
    assert sim.settle(1200)
    assert isinstance(sim.errors[id], JobsFailed)
    assert sim.errors[id].details["ending"] == "failed"  # and not "lost"
    assert not answers


def test_a_file_that_never_comes_leaves_a_job_lost_and_its_calls_run_again() -> None:
    sim = forgetful(pool(max_workers=1))
    sim._account = lambda names: sim.later(0.1, lambda: sim.feed(ev.Accounted(sim.clock.now, names, {})))  # type: ignore[method-assign]
    (id,) = sim.submit(1, seconds=50.0)
    serving(sim, 1)
    sim.run(1)
    (agent,) = sim.agents
    sim.crash_agent(agent)
    sim.end(agent.job, EndingKind.FAILED, "gone")
    assert sim.settle(300)
    assert sim.runs[id] == 2
    assert [view for view in sim.core.snapshot().jobs if "not in the queue any more" in view.reason]


def test_the_exit_file_of_a_job_that_the_queue_shows_is_that_of_a_run_before() -> None:
    sim = forgetful(pool(max_workers=1))
    sim.start_delay = 1e6
    sim.submit(1)
    assert sim.run(10, until=lambda: states(sim) == ["pending"])
    (job,) = sim.queue
    sim.feed(ev.Accounted(sim.clock.now, (job.key.submission,), dict(told(job))))
    assert states(sim) == ["pending"]
    assert not actions(sim, act.CancelJobs)
