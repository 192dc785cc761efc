"""One round of the chaos test on a simulated cluster: a pool made at random, and all that may happen to one.

A round follows from its number alone. To play one again, and see what was done in it; or many others::

    .venv/bin/python tests/chaos/rounds.py 4711
    .venv/bin/python tests/chaos/rounds.py 20000 --count 100000
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from world import World

from jobpool.core import events as ev
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Death
from jobpool.model.call_options import PLAIN, CallOptions
from jobpool.model.errors import (
    CallCrashed,
    CallOutOfMemory,
    CallTimedOut,
    JobLost,
    JobPoolError,
    JobsFailed,
    PoolBroken,
    RequestRefused,
)
from jobpool.model.job import EndingKind, JobState
from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing.fake.dialects import DIALECTS, SLURM
from jobpool.testing.simulation import Faults, SimulatedAgent, SimulatedJob

__all__ = ["Round", "play"]

REFUSED = ev.SubmitRefused(0.0, "", "QOSMaxSubmitJobPerUserLimit", temporary=True)
DOUBTFUL = ev.SubmitDoubtful(0.0, "", "Socket timed out on send/recv operation")

ENDINGS = [kind for kind in EndingKind if kind is not EndingKind.LOST]

CRASHES = [Death(signal=11, tail="Segmentation fault"), Death(exit_code=3), Death(signal=9)]
MEMORY_KILLS = [
    Death(signal=9, out_of_memory=True, peak_memory=2**31),
    Death(signal=9, out_of_memory=True, limit=2**30),
    Death(signal=9, out_of_memory=True, innocent=True),
]

CAUSES: dict[type[JobPoolError], frozenset[str]] = {
    CallCrashed: frozenset({"kill a worker"}),
    CallOutOfMemory: frozenset({"kill a worker", "end a job", "lose a host"}),
    CallTimedOut: frozenset({"kill a worker", "end a job", "lose a host", "walltime"}),
    JobLost: frozenset(
        {
            "end a job",
            "requeue a job",
            "lose a host",
            "cut an agent off",
            "lose a job",
            "trouble in an agent",
            "stand still",
            "suspend a job",
            "hold a job",
            "walltime",
        }
    ),
    JobsFailed: frozenset({"little patience"}),
    RequestRefused: frozenset({"refuse for good"}),
    PoolBroken: frozenset({"shut down", "trouble in an agent"}),
}
"""What must have happened in a round in which calls end like this."""

SPOKEN = (SLURM, *DIALECTS.values(), SLURM, SLURM, SLURM)
"""What the batch system of a round is like, by the number of the round."""

LATE = 40.0
"""Seconds after which a controller that was frozen may still take a submit."""

LONG = 4 * 3600.0
"""Seconds of the simulated clock in which everything has come to its end, once the cluster is well again."""


class Round:
    """One pool's life."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._random = random.Random(number)
        self._choose = self._random.choice
        self.did: list[str] = []
        self._causes: set[str] = set()
        self._requests = [""]
        self._singles: set[int] = set()
        self._scaled = 0
        self._twice = self._shut = self._doubtful_end = self._unsure = False
        dialect = SPOKEN[number % len(SPOKEN)]
        self.did.append(f"dialect={dialect.name}")
        self.world = World(self._settings(), seed=number, dialect=dialect)

    # ------------------------------------------------------------------------------------------------- the story

    def play(self) -> None:
        """Live through it. Raises ``AssertionError`` for a promise that was broken."""
        self._submit()
        for _ in range(self._random.randint(3, 14)):
            self._choose(WEIGHTED)(self)
            self.world.run(self._choose([0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 12.0]))
            self._look()
        self._recover()
        assert self.world.settle(LONG), f"calls without an end: {self.world.open_calls[:5]}, {self._view()}"
        self._look_at_calls()
        if not self._shut:
            self.world.shut_down()
        self._look_at_the_end()

    def _settings(self) -> CoreSettings:
        choose = self._choose
        walltime = choose([None, None, Duration(20), Duration(90), Duration(600)])
        if walltime is not None:
            self._causes.add("walltime")
        if patient := self._random.random() < 0.9:
            failed_starts = 1000
        else:
            failed_starts = 3
            self._causes.add("little patience")
        self.did.append(f"walltime={walltime} patient={patient}")
        partition = Partition(name="short", default=True, max_time=Duration(1000))
        request = Request(workers_per_job=choose([1, 1, 2, 3]), walltime=walltime, memory=Memory(2**30))
        auto = choose([(), (), ("memory",), ("memory", "walltime")])
        self.did.append(f"auto={auto}")
        return CoreSettings(
            pool="t",
            request=request,
            auto=auto,
            trial=replace(request, workers_per_job=1, memory=Memory(2**32)) if auto else None,
            limits=Limits(
                max_array_size=choose([None, 1, 2]),
                max_jobs=choose([None, None, 2]),
                partitions=choose([(), (partition,)]),
            ),
            max_workers=self._random.randint(1, 6),
            min_workers=choose([0, 0, 1]),
            idle_timeout=choose([3.0, 30.0]),
            retry=Retry(lost=choose([0, 2, 10]), crashed=choose([0, 2]), memory_growth=choose([None, 2.0])),
            failed_starts=failed_starts,
            connect_timeout=30.0,
            backoff_last=60.0,
        )

    def _recover(self) -> None:
        """Make the cluster well again, and let nothing be held for its own sake."""
        world = self.world
        world.run(LATE if world.late and not self._shut else 0.0)
        world.faults = Faults()
        world.heal()
        if not self._shut:
            world.feed(ev.ScaleAsked(world.clock.now, None))
        world.feed(ev.DaskDemand(world.clock.now, 0))
        for agent in world.agents:
            world.feed(ev.SlotsTaken(world.clock.now, agent.job.key, 0))

    def _note(self, what: str, *details: object) -> None:
        self._causes.add(what)
        self.did.append(f"{self.world.clock.now - 1000:8.3f} {what} {' '.join(map(str, details))}")

    # -------------------------------------------------------------------------------------------- what users do

    def _submit(self) -> None:
        count, seconds = self._choose([1, 3, 12]), self._choose([0.0, 0.001, 0.1, 1.0, 3.0, 15.0])
        request, function = self._choose(self._requests), self._choose("fgh")
        terms = self._choose(
            [PLAIN, PLAIN, CallOptions(expected_time=Duration(seconds)), CallOptions(retry=Retry(lost=1, crashed=1))]
        )
        self._note("submit", count, seconds, repr(request), function)
        if not self._shut:
            self._singles |= set(
                self.world.submit(count, seconds=seconds, request=request, function=function, terms=terms)
            )

    def _map(self) -> None:
        count, seconds = self._choose([1, 3, 40]), self._choose([0.0, 0.001, 0.1, 0.1, 1.0, 3.0])
        request, function = self._choose(self._requests), self._choose("fgh")
        self._note("map", count, seconds, repr(request), function)
        if not self._shut:
            self.world.submit_rows(count, seconds=seconds, request=request, function=function)

    def _ask_for_other_workers(self) -> None:
        key = f"r{len(self._requests)}"
        request = Request(workers_per_job=self._choose([1, 2]), memory=Memory(2**31 + len(self._requests) * 2**20))
        self._note("another request", key)
        self._requests.append(key)
        self.world.add_request(key, request)

    def _cancel(self) -> None:
        if calls := self.world.open_calls:
            some = self._random.sample(calls, min(len(calls), self._choose([1, 4])))
            self._note("cancel", some)
            self.world.cancel(some)

    def _scale(self) -> None:
        if not self._shut:
            workers = self._choose([None, 0, 2, self.world.settings.max_workers])
            self._scaled = max(self._scaled, workers or 0)
            self._note("scale", workers)
            self.world.feed(ev.ScaleAsked(self.world.clock.now, workers))

    def _use_dask(self) -> None:
        tasks = self._choose([0, 2])
        self._note("tasks of Dask", tasks)
        self.world.feed(ev.DaskDemand(self.world.clock.now, tasks))
        for agent in self.world.agents:
            self.world.feed(ev.SlotsTaken(self.world.clock.now, agent.job.key, min(tasks, 1)))

    def _leave_checkpoints(self) -> None:
        self._note("checkpoints of f")
        self.world.checkpointing.add("f")
        self.world.faults.no_checkpoints = self._choose([True, False])

    def _shut_down(self) -> None:
        cancel_waiting, kill = self._choose([(False, False), (True, False), (True, True)])
        self._note("shut down", cancel_waiting, kill)
        self._shut = True
        faults, world = self.world.faults, self.world
        hidden = world.unseen or world.past or faults.listing_age or faults.blind
        ill = faults.deaf or bool(world.lost_cancels or hidden or faults.answers)
        self._doubtful_end |= ill
        self.world.shut_down(cancel_waiting=cancel_waiting, kill=kill)

    # ---------------------------------------------------------------------------------- what the cluster does

    def _trouble_with_submits(self) -> None:
        faults = self.world.faults
        answers = [self._choose([None, REFUSED, DOUBTFUL]) for _ in range(self._random.randint(1, 3))]
        faults.answers, faults.doubtful_exist = deque(answers), self._choose([True, False])
        self.world.command_seconds = self._choose([0.05, 0.05, 2.0, 9.0])
        self.world.late = self._choose([0.0, 3.0, LATE])
        self._doubtful_end |= self._shut
        kinds = [type(answer).__name__ for answer in answers]
        told = (faults.doubtful_exist, self.world.late, self.world.command_seconds)
        self._note("trouble with submits", kinds, *told)

    def _refuse_for_good(self) -> None:
        if self._random.random() < 0.2:
            self._note("refuse for good")
            self.world.faults.refuse_all = "Invalid account"

    def _trouble_with_the_queue(self) -> None:
        faults, world = self.world.faults, self.world
        faults.deaf, faults.forgetful = self._choose([True, False, False]), self._choose([True, False])
        faults.accounting, faults.jitter = self._choose([True, False]), self._choose([0.0, 0.3, 4.0])
        world.past, world.unseen = self._choose([True, False, False]), self._choose([0.0, 0.0, 0.3])
        faults.listing_age, faults.blind = self._choose([0.0, 0.0, 60.0]), self._choose([True, False, False, False])
        hidden = bool(world.unseen or world.past or faults.listing_age or faults.blind)
        # Not with the ones above: a job that was cancelled and is not shown counts as gone.
        world.lost_cancels = 0.0 if hidden else self._choose([0.0, 0.0, 0.7])
        ill = faults.deaf or hidden or bool(world.lost_cancels)
        self._doubtful_end |= ill and self._shut
        self._unsure |= ill
        told = (faults.deaf, faults.forgetful, faults.accounting, faults.jitter, faults.listing_age, faults.blind)
        self._note("trouble with the queue", *told, world.past, world.unseen, world.lost_cancels)

    def _trouble_with_jobs(self) -> None:
        faults = self.world.faults
        faults.script_fails, faults.never_connect = self._choose([True, False]), self._choose([True, False, False])
        faults.most_jobs = self._choose([None, 1, 3])
        self._note("trouble with jobs", faults.script_fails, faults.never_connect, faults.most_jobs)

    def _be_well(self) -> None:
        self._note("all is well")
        self.world.faults = Faults(twice=self.world.faults.twice)
        self.world.heal()

    def _repeat_messages(self) -> None:
        if self._random.random() < 0.2:
            self._note("messages come twice")
            self._twice = True
            self.world.faults.twice = 0.3

    # ------------------------------------------------------------------------------------- what happens to jobs

    def _end_a_job(self) -> None:
        if job := self._job():
            kind = self._choose(ENDINGS)
            self._note("end a job", job.id, kind.name)
            self.world.end(job, kind, kind.name)

    def _requeue_a_job(self) -> None:
        if job := self._job():
            self._note("requeue a job", job.id)
            self.world.requeue(job)

    def _puzzle(self) -> None:
        if job := self._job():
            job.puzzling = not job.puzzling
            self._note("unknown state", job.id, job.puzzling)

    def _kill_a_worker(self) -> None:
        if agent := self._agent():
            death = self._choose([*CRASHES, *MEMORY_KILLS])
            self._note("kill a worker", agent.job.id, death)
            self.world.kill_worker(agent, death)

    def _lose_a_host(self) -> None:
        if agent := self._agent():
            kind = self._choose([None, *ENDINGS])
            after = self._choose([0.0, 5.0, 60.0])
            self._note("lose a host", agent.job.id, kind, after)
            self.world.vanish(agent, kind, noticed_after=after)

    def _cut_an_agent_off(self) -> None:
        if agent := self._agent():
            how = self._choose(["ends", "never ends", "comes back"])
            seconds = self._choose([0.5, 5.0, 15.0, 60.0])
            self._note("cut an agent off", agent.job.id, how, seconds)
            # It may run on for as long as its job may, when nobody can cancel that.
            self._unsure |= how != "ends" or seconds > self.world.settings.loss_grace
            if how == "comes back":
                self.world.cut_off_for(agent, seconds)
            else:
                self.world.cut_off(agent, ends_after=seconds if how == "ends" else None)

    def _lose_a_job(self) -> None:
        if agent := self._agent():
            self._note("lose a job", agent.job.id)
            self.world.kill_agent_quietly(agent)

    def _trouble_in_an_agent(self) -> None:
        if agent := self._agent():
            fatal = PoolBroken("another Python") if self._random.random() < 0.1 else None
            self._note("trouble in an agent", agent.job.id, fatal)
            self.world.feed(ev.AgentTrouble(self.world.clock.now, agent.job.key, "it cannot work", fatal))

    def _hold_a_job(self) -> None:
        if jobs := [job for job in self.world.queue if job.state is JobState.PENDING and job.hold is None]:
            job, hopeless = self._choose(jobs), self._random.random() < 0.2
            self._note("hold a job", job.id, "hopeless" if hopeless else "")
            self.world.hold(job, self._choose(["JobHeldUser", "JobHeldAdmin"]), hopeless=hopeless)

    def _release_a_job(self) -> None:
        if jobs := [job for job in self.world.queue if job.hold is not None]:
            job = self._choose(jobs)
            self._note("release a job", job.id)
            self.world.release(job)

    def _suspend_a_job(self) -> None:
        if jobs := [job for job in self.world.queue if job.state is JobState.RUNNING]:
            job, announced = self._choose(jobs), self._choose([True, False])
            seconds = self._choose([0.5, 20.0, 330.0, 3600.0])
            self._note("suspend a job", job.id, announced, seconds)
            self.world.suspend(job, announced=announced)
            self.world.later(seconds, lambda: self.world.resume(job))

    def _stand_still(self) -> None:
        if agent := self._agent():
            seconds = self._choose([5.0, 60.0, 90.0, 120.0, 400.0])
            self._note("stand still", agent.job.id, seconds)
            self.world.stand_still(agent)
            self.world.later(seconds, lambda: self.world.go_on(agent))

    def _wait(self) -> None:
        seconds = self._choose([60.0, 120.0, 400.0])
        self._note("wait", seconds)
        self.world.tick_seconds = 5.0
        self.world.run(seconds)
        self.world.tick_seconds = 1.0

    def _job(self) -> SimulatedJob | None:
        return self._choose(self.world.queue) if self.world.queue else None

    def _agent(self) -> SimulatedAgent | None:
        agents = [agent for agent in self.world.agents if agent.connected and agent.stopped_at is None]
        return self._choose(agents) if agents else None

    # ---------------------------------------------------------------------------------------- what must be true

    def _look(self) -> None:
        view = self.world.core.snapshot()
        assert view.calls.running <= len(self.world.open_calls) + len(self.world.cancelled)
        most = max(self.world.settings.max_workers, self._scaled)
        if self.world.settings.auto:
            most *= 2  # the size that was found may be like that of a call which has grown
        assert self._sloppy or all(count <= most for count in self.world.most.values()), (self.world.most, most)

    @property
    def _sloppy(self) -> bool:
        """Whether a call may have run at two places at once, for want of a better knowledge."""
        return self._twice or self._unsure or bool(self.world.hung_up)

    def _look_at_calls(self) -> None:
        world = self.world
        assert not world.results.keys() & world.errors.keys()
        without_effect = [id for id in world.results if not world.effects[id]]
        assert not without_effect, f"results of calls that never ran to their end: {without_effect[:5]}"
        for id, error in world.errors.items():
            assert CAUSES[type(error)] & self._causes, f"call {id} failed without a cause: {error!r}"
            if id in self._singles:
                self._look_at_patience(id, error)
        assert self._sloppy or not world.overlaps, f"ran at two places at once: {world.overlaps[:5]}"
        left = world.told_running - world.cancelled
        assert not left, f"told to run, and never told otherwise: {left}"

    def _look_at_patience(self, id: int, error: JobPoolError) -> None:
        retry = self.world.terms[id].retry or self.world.settings.retry
        limits: dict[type, int] = {JobLost: retry.lost, CallCrashed: retry.crashed}
        least = limits.get(type(error), 0) + 1
        if type(error) in (JobLost, CallCrashed):
            assert self.world.runs[id] >= least, f"given up after {self.world.runs[id]} of {least} runs: {error!r}"

    def _look_at_the_end(self) -> None:
        world = self.world
        assert world.run(600, until=lambda: world.finished is not None), f"it does not end: {self._view()}"
        world.run(60)  # jobs that were on their way
        assert world.finished is not None
        assert not world.queue or self._doubtful_end, f"jobs left: {world.queue}"
        assert self._sloppy or {job.id for job in world.queue} <= set(world.finished.left), "a job left without a name"
        assert not world.agents or world.queue
        assert not world.core.handle(ev.Tick(world.clock.now))
        counts = world.core.snapshot().calls
        assert (counts.waiting, counts.running) == (0, 0)

    def _view(self) -> str:
        return str(self.world.core.snapshot())


WEIGHTED: list[Callable[[Round], None]] = [
    do
    for do, weight in (
        (Round._submit, 4),
        (Round._map, 4),
        (Round._ask_for_other_workers, 1),
        (Round._cancel, 2),
        (Round._scale, 1),
        (Round._use_dask, 1),
        (Round._leave_checkpoints, 1),
        (Round._shut_down, 1),
        (Round._trouble_with_submits, 2),
        (Round._refuse_for_good, 1),
        (Round._trouble_with_the_queue, 3),
        (Round._trouble_with_jobs, 1),
        (Round._be_well, 3),
        (Round._repeat_messages, 1),
        (Round._end_a_job, 4),
        (Round._requeue_a_job, 3),
        (Round._puzzle, 1),
        (Round._kill_a_worker, 4),
        (Round._lose_a_host, 2),
        (Round._cut_an_agent_off, 2),
        (Round._lose_a_job, 1),
        (Round._trouble_in_an_agent, 1),
        (Round._hold_a_job, 2),
        (Round._release_a_job, 1),
        (Round._suspend_a_job, 2),
        (Round._stand_still, 2),
        (Round._wait, 1),
    )
    for _ in range(weight)
]


def play(number: int) -> str | None:
    """Play a round. Returns what broke in it and how to see that again, or None."""
    round = Round(number)
    try:
        round.play()
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        did = "\n".join(round.did)
        again = f".venv/bin/python {sys.argv[0] if __name__ == '__main__' else 'tests/chaos/rounds.py'} {number}"
        return f"round {number} broke a promise; again: {again}\n{did}\n{traceback.format_exc()}"
    return None


def main() -> int:
    """Play rounds for a person."""
    parser = argparse.ArgumentParser(description="Play rounds of the chaos test on a simulated cluster.")
    parser.add_argument("number", type=int, help="the number of the first round")
    parser.add_argument("--count", type=int, default=1, help="how many; of a single one it is told what was done")
    options = parser.parse_args()
    broken = 0
    for number in range(options.number, options.number + options.count):
        if (told := play(number)) is not None:
            broken += 1
            print(told)
    if options.count == 1 and not broken:
        round = Round(options.number)
        round.play()
        print("\n".join(round.did), "\nall promises were kept", sep="")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
