"""Whatever happens, in any order: no call is lost, none ends twice, no job is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobpool.core import events as ev
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Death
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.job import EndingKind
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.testing.simulation import Faults, SimulatedAgent, SimulatedJob, Simulation

MAX_WORKERS = 5

ENDINGS = [kind for kind in EndingKind if kind is not EndingKind.LOST]
REFUSED = ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
DOUBTFUL = ev.SubmitDoubtful(0.0, "", "Socket timed out on send/recv operation")
DEATHS = [Death(signal=11, tail="Segmentation fault"), Death(exit_code=3), Death(signal=9, out_of_memory=True)]


class AnyOrderOfEvents(RuleBasedStateMachine):
    """A pool, its user, and a cluster where everything goes wrong."""

    @initialize(
        seed=st.integers(0, 1000),
        per_job=st.integers(1, 3),
        array=st.sampled_from([None, 1, 2]),
        walltime=st.sampled_from([None, Duration(20), Duration(600)]),
    )
    def start(self, seed: int, per_job: int, array: int | None, walltime: Duration | None) -> None:
        request = Request(workers_per_job=per_job, walltime=walltime, memory=Memory.parse("1 GiB"))
        chosen = CoreSettings(
            pool="t",
            request=request,
            limits=Limits(max_array_size=array),
            max_workers=MAX_WORKERS,
            idle_timeout=30.0,
            failed_starts=1000,  # giving up has its own tests; here everything has to come to an end by work
        )
        self.sim = Simulation(chosen, seed=seed)
        self.sim.checkpointing.add("g")
        self.shut = self.was_deaf = False
        self.sim.submit(8, seconds=5.0)

    @precondition(lambda self: not self.shut)
    @rule(
        count=st.sampled_from([1, 3, 40]),
        seconds=st.sampled_from([0.0, 0.001, 0.1, 3.0, 15.0]),
        f=st.sampled_from("fg"),
        expected=st.sampled_from([None, None, 5.0, 15.0, 1000.0]),
    )
    def submit(self, count: int, seconds: float, f: str, expected: float | None) -> None:
        terms = PLAIN if expected is None else CallOptions(expected_time=Duration(expected))
        self.sim.submit(count, seconds=seconds, function=f, terms=terms)

    @precondition(lambda self: not self.shut)
    @rule(
        count=st.sampled_from([1, 3, 40]),
        seconds=st.sampled_from([0.0, 0.001, 0.1, 3.0, 15.0]),
        f=st.sampled_from("fg"),
    )
    def submit_rows(self, count: int, seconds: float, f: str) -> None:
        self.sim.submit_rows(count, seconds=seconds, function=f)

    @rule(which=st.lists(st.integers(0, 100), max_size=5))
    def cancel(self, which: list[int]) -> None:
        calls = self.sim.open_calls
        if calls:
            self.sim.cancel({calls[number % len(calls)] for number in which})

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.5, 2.0, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.sim.run(seconds)

    @precondition(lambda self: not self.shut)
    @rule(count=st.sampled_from([40, 400]), seconds=st.sampled_from([0.001, 0.1, 2.0]))
    def all_goes_well_for_a_while(self, count: int, seconds: float) -> None:
        self.sim.faults = Faults(twice=self.sim.faults.twice)
        self.sim.submit(count, seconds=seconds)
        self.sim.run(5.0)

    @precondition(lambda self: not self.shut)
    @rule(workers=st.sampled_from([None, 0, 2, MAX_WORKERS]))
    def scale(self, workers: int | None) -> None:
        self.sim.feed(ev.ScaleAsked(self.sim.clock.now, workers))

    @rule(tasks=st.sampled_from([0, 2]))
    def dask(self, tasks: int) -> None:
        self.sim.feed(ev.DaskDemand(self.sim.clock.now, tasks))
        for agent in self.sim.agents:
            self.sim.feed(ev.SlotsTaken(self.sim.clock.now, agent.job.key, min(tasks, 1)))

    @rule(answers=st.lists(st.sampled_from([None, REFUSED, DOUBTFUL]), max_size=3), exist=st.booleans())
    def trouble_with_submits(self, answers: list[ev.SubmitRefused | ev.SubmitDoubtful | None], exist: bool) -> None:
        self.sim.faults.answers = deque(answers)
        self.sim.faults.doubtful_exist = exist

    @rule(
        deaf=st.booleans(), forgetful=st.booleans(), accounting=st.booleans(), jitter=st.sampled_from([0.0, 0.3, 4.0])
    )
    def trouble_with_answers(self, deaf: bool, forgetful: bool, accounting: bool, jitter: float) -> None:
        faults = self.sim.faults
        self.was_deaf |= deaf and self.shut
        faults.deaf, faults.forgetful, faults.accounting, faults.jitter = deaf, forgetful, accounting, jitter

    @rule(none=st.booleans())
    def trouble_with_checkpoints(self, none: bool) -> None:
        self.sim.faults.no_checkpoints = none

    @rule(script_fails=st.booleans(), never_connect=st.booleans(), most=st.sampled_from([None, 1, 3]))
    def trouble_with_jobs(self, script_fails: bool, never_connect: bool, most: int | None) -> None:
        faults = self.sim.faults
        faults.script_fails, faults.never_connect, faults.most_jobs = script_fails, never_connect, most

    @rule(number=st.integers(0, 20), kind=st.sampled_from(ENDINGS))
    def end_a_job(self, number: int, kind: EndingKind) -> None:
        self._some_job(number, lambda job: self.sim.end(job, kind, kind.name))

    @rule(number=st.integers(0, 20))
    def requeue_a_job(self, number: int) -> None:
        self._some_job(number, self.sim.requeue)

    @rule(number=st.integers(0, 20), hopeless=st.booleans())
    def hold_a_job(self, number: int, hopeless: bool) -> None:
        self._some_job(number, lambda job: self.sim.hold(job, hopeless=hopeless))

    @rule(number=st.integers(0, 20))
    def release_a_job(self, number: int) -> None:
        self._some_job(number, self.sim.release)

    @rule(number=st.integers(0, 20), announced=st.booleans())
    def suspend_a_job(self, number: int, announced: bool) -> None:
        self._some_job(number, lambda job: self.sim.suspend(job, announced=announced))

    @rule(number=st.integers(0, 20))
    def resume_a_job(self, number: int) -> None:
        self._some_job(number, self.sim.resume)

    @rule(number=st.integers(0, 20), puzzling=st.booleans())
    def show_a_job_in_an_unknown_state(self, number: int, puzzling: bool) -> None:
        def puzzle(job: SimulatedJob) -> None:
            job.puzzling = puzzling

        self._some_job(number, puzzle)

    @rule(number=st.integers(0, 20), death=st.sampled_from(DEATHS))
    def kill_a_worker(self, number: int, death: Death) -> None:
        self._some_agent(number, lambda agent: self.sim.kill_worker(agent, death))

    @rule(number=st.integers(0, 20))
    def crash_an_agent(self, number: int) -> None:
        self._some_agent(number, self.sim.crash_agent)

    @rule(number=st.integers(0, 20))
    def cut_an_agent_off(self, number: int) -> None:
        self._some_agent(number, self.sim.cut_off)

    @rule(number=st.integers(0, 20))
    def lose_a_job_without_a_trace(self, number: int) -> None:
        self._some_agent(number, self.sim.kill_agent_quietly)

    @rule(number=st.integers(0, 20))
    def an_agent_cannot_work(self, number: int) -> None:
        self._some_agent(
            number, lambda agent: self.sim.feed(ev.AgentTrouble(self.sim.clock.now, agent.job.key, "wrong Python"))
        )

    @rule(cancel_waiting=st.booleans(), kill=st.booleans())
    def shut_down(self, cancel_waiting: bool, kill: bool) -> None:
        self.shut = True
        self.was_deaf |= self.sim.faults.deaf
        self.sim.shut_down(cancel_waiting=cancel_waiting, kill=kill)

    def _some_job(self, number: int, do: Callable[[SimulatedJob], None]) -> None:
        if jobs := self.sim.queue:
            do(jobs[number % len(jobs)])
            self.sim.run(0.3)

    def _some_agent(self, number: int, do: Callable[[SimulatedAgent], None]) -> None:
        if agents := [agent for agent in self.sim.agents if agent.connected and agent.stopped_at is None]:
            do(agents[number % len(agents)])
            self.sim.run(0.3)

    @invariant()
    def only_so_many_run_at_once(self) -> None:
        if hasattr(self, "sim"):
            assert self.sim.most_running <= MAX_WORKERS or self.sim.faults.twice or self.sim.hung_up

    @invariant()
    def the_view_is_plain_data(self) -> None:
        if hasattr(self, "sim"):
            view = self.sim.core.snapshot()
            assert view.calls.running <= MAX_WORKERS or self.sim.faults.twice or self.sim.hung_up
            assert view.as_data()["phase"] == view.phase

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        sim = self.sim
        twice = sim.faults.twice
        sim.faults = Faults()
        if not self.shut:
            sim.feed(ev.ScaleAsked(sim.clock.now, None))
        sim.feed(ev.DaskDemand(sim.clock.now, 0))
        for job in sim.queue:
            sim.release(job)
            sim.resume(job)
        for agent in sim.agents:
            sim.feed(ev.SlotsTaken(sim.clock.now, agent.job.key, 0))
        assert sim.settle(4 * 3600), f"calls without an end: {sim.open_calls[:5]}, {sim.core.snapshot()}"
        assert not (sim.results.keys() & sim.errors.keys())
        if not self.shut:
            sim.shut_down()
        assert sim.run(600, until=lambda: sim.finished is not None)
        sim.run(60)  # jobs that were on their way
        assert sim.finished is not None
        assert {job.id for job in sim.queue} <= set(sim.finished.left), f"jobs left: {sim.queue}"
        assert not sim.queue or self.was_deaf
        assert not sim.core.handle(ev.Tick(sim.clock.now))
        if not twice and not sim.hung_up:
            assert not sim.overlaps, f"ran at two places at once: {sim.overlaps}"
        event(f"submissions: {min(len(sim.submits), 10)}")


class MessagesTwice(AnyOrderOfEvents):
    """The same, and every message may come a second time, later."""

    @rule(twice=st.sampled_from([0.1, 0.9]))
    def repeat(self, twice: float) -> None:
        self.sim.faults.twice = twice


_EXAMPLES = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
)
AnyOrderOfEvents.TestCase.settings = _EXAMPLES
MessagesTwice.TestCase.settings = _EXAMPLES
TestAnyOrderOfEvents = pytest.mark.timeout(600)(AnyOrderOfEvents.TestCase)
TestMessagesTwice = pytest.mark.timeout(600)(MessagesTwice.TestCase)
