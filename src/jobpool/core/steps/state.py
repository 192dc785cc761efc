"""The state of one pool, and what follows when a job or a call changes. One owner: the :class:`~.engine.Core`.

Everything that several kinds of events share meets here::

    observe(job) ─► store ─┬─► its agent takes no more calls
                           ├─► it is cancelled, its agent stopped
                           ├─► its calls are decided: again, or given up      (recovery)
                           └─► it came to nothing: back off, or give up       (staffing)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from jobpool.core import events as ev
from jobpool.core.calls.scheduler import Calls
from jobpool.core.events import Action, JobKey
from jobpool.core.jobs.bad_nodes import BadNodes
from jobpool.core.jobs.job_table import JobTable
from jobpool.core.jobs.machine import (
    Closing,
    Dropped,
    Ended,
    Job,
    Observation,
    Pending,
    Retired,
    Serving,
    Silent,
    Starting,
    advance,
)
from jobpool.core.jobs.polling import Polling
from jobpool.core.record.record import Record
from jobpool.core.record.timeline import AGAIN, KILLED
from jobpool.core.recovery.decide import GiveUp, History, Loss, LossPlace, RunAgain, cancelled_and_lost, decide
from jobpool.core.scaling.auto_size import OWN, TRIAL, TRIALS, AutoSize
from jobpool.core.scaling.policy import Demand
from jobpool.core.scaling.request_state import RequestState, jobs_failed
from jobpool.core.settings import CoreSettings
from jobpool.model.call import Death
from jobpool.model.call_options import CallOptions
from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import JobPoolError
from jobpool.model.job import Ending, EndingKind, JobId
from jobpool.model.request import Request

__all__ = ["NOT_NEEDED", "OWN", "PoolState"]

NOT_NEEDED = Ending(kind=EndingKind.CANCELLED, words="not needed any more", source="agent")

_WHOLE = 0.9
"""A call that ran for this part of its job's serving time had the walltime to itself."""


class PoolState:
    """All that the core knows, and the changes that have consequences."""

    def __init__(self, settings: CoreSettings, now: float) -> None:
        self.settings = settings
        self.now = now
        self.fleet = JobTable(settings)
        self.calls = Calls()
        self.inquiry = Polling(settings, now)
        self.nodes = BadNodes(settings.limits)
        self.staff: dict[str, RequestState] = {}
        self.held: int | None = None
        """``scale(n)``."""
        self.tasks = 0
        """Tasks of Dask graphs that want a worker."""
        self.accounting = True
        """Whether the batch system has any, as far as is known."""
        self.accounting_asked = False
        """Its answer is awaited: its database may take longer than the queue, and is asked one question at a time."""
        self.record = Record(now)
        self.finishing = False
        """The pool ends when its calls have."""
        self.closing: float | None = None
        """Since when the jobs are being cancelled, for good."""
        self.cancelled_all = now
        """When they were cancelled all together the last time."""
        self.finished = False
        self.told_suspended = False
        self.broken = False
        self.done = self.failed = 0
        self.wake: float | None = None
        """When jobs are to be asked for."""
        self.notices: deque[str] = deque(maxlen=20)
        self.cancels: dict[JobId, None] = {}
        """Jobs to cancel at the end of this step."""
        self.out: list[Action] = []
        self.auto = AutoSize(settings.auto)
        self.add_request(OWN, settings.request)
        if settings.trial is not None:
            self.add_request(TRIAL, settings.trial)

    # ------------------------------------------------------------------------------------------------------ jobs

    def observe_key(self, key: JobKey, observation: Observation) -> None:
        """Tell a job something, if it did not end."""
        if (job := self.fleet.jobs.get(key)) is not None:
            self.observe(job, observation)

    def observe(self, job: Job, observation: Observation) -> None:
        """Tell a job something."""
        after = advance(job, observation, self.settings)
        if after is not job:
            self.store(job, after)

    def store(self, before: Job, after: Job) -> None:
        """Keep a job's change, and do what follows from it."""
        self.fleet.put(after)
        self.record.job(before, after, self.now)
        if type(before.state) is not type(after.state):
            self.inquiry.hurry(self.now)
        if (before.suspended is None) is not (after.suspended is None):
            self._suspend(after)
        if not isinstance(after.state, Serving) or after.suspended is not None:
            self.calls.close(after.key)
        if not after.supplies:
            self.calls.leave(after.key)
        if isinstance(after.state, Silent) and before.connected:
            self.inquiry.hurry(self.now, at_once=True)
        if isinstance(after.state, Closing):
            self._cancel_job(before, after, after.state)
        if not after.holds_calls and self.calls.holds(after.key):
            self.decide_calls(after, _ending(after))
        if after.over and not before.over:
            self._mourn(after)
        if isinstance(after.state, Ended) and after.state.ending.source == "absence" and not before.over:
            self._suspect(after)
        unwanted = self.closing is not None or self.staff[after.request].broken is not None
        if unwanted and isinstance(after.state, Pending | Starting):
            self.observe(after, Dropped(self.now, NOT_NEEDED))

    def _suspend(self, job: Job) -> None:
        """Give no calls to a job that is suspended, until it goes on."""
        self.inquiry.hurry(self.now)
        if job.suspended is None:
            if isinstance(job.state, Serving):
                self.calls.reopen(job.key, job.state.deadline, self.now)
        elif not self.told_suspended:
            self.told_suspended = True
            where = f" on {job.node}" if job.node else ""
            text = f"job {job.id}{where} is suspended by the batch system; it keeps its calls, and goes on when it is"
            self.notice(f"{text} resumed (so does each job that the status shows as suspended)", warning=True)

    def _cancel_job(self, before: Job, after: Job, state: Closing) -> None:
        if before.connected:
            self.out.append(ev.StopAgent(after.key, state.ending.words, drain=False))
        again = isinstance(before.state, Closing) and before.state.since == state.since
        if after.id is not None and (not again or before.id is None):
            self.cancels[after.id] = None

    def _suspect(self, job: Job) -> None:
        """Cancel a job that is only known not to be shown any more: the queue may be wrong, and show it again."""
        self.fleet.ghosts[job.key.submission] = None
        if job.id is not None:
            self.cancels[job.id] = None

    def flush_cancels(self) -> None:
        """Cancel all jobs that were given up in this step, in one command."""
        if self.cancels:
            self.out.append(ev.CancelJobs(ids=tuple(self.cancels)))
            self.cancels.clear()

    def _mourn(self, job: Job) -> None:
        """Draw the lesson from a job's end."""
        state, staff = job.state, self.staff[job.request]
        if job.proven:
            staff.served()
        if not isinstance(state, Closing | Ended) or state.ours or job.id is None:
            return
        unreachable = state.ending.exit_code == UNREACHABLE and not job.proven
        bad = self.nodes.lost(job.node, job.key, state.ending, staff.request, self.now, proven=job.proven)
        if bad:
            self._avoid(job.node, state.ending.words)
            staff.failures = staff.failures if unreachable else 0  # they were the node's
        if self.closing is not None or staff.broken:
            return
        # A node without a way to the server is avoided at once, and counts all the same: the next one will tell.
        if job.node in self.nodes.avoided(self.now) and not (bad and unreachable):
            return
        failing, pause = staff.lost(job, state.ending, self.now, self.settings)
        if pause:
            self.notice(pause, warning=True)
        if not failing:
            return
        if any(other.connected for other in self.fleet.of(job.request)):
            self.notice(f"jobs come to nothing while others serve: {state.ending.words}", warning=True)
        else:
            self.give_up(job.request, jobs_failed(job, state.ending, staff.failures), job.key)

    def blame_node(self, job: Job, call: int, words: str) -> None:
        """Note that a call's worker died on this job's node."""
        if self.nodes.crashed(job.node, call, self.staff[job.request].request, self.now):
            self._avoid(job.node, words)

    def _avoid(self, node: str | None, words: str) -> None:
        """Let the jobs on a bad node end when their calls have. Later ones are asked for elsewhere."""
        failed = f"{self.nodes.strikes(node or '')} calls or jobs in a row failed there"
        self.notice(f"node {node} is avoided from now on: {failed}; the last one: {words}", warning=True)
        for job in list(self.fleet.jobs.values()):
            if job.node == node and isinstance(job.state, Serving):
                self.observe(job, Retired(self.now, "its node fails"))
                self.out.append(ev.StopAgent(job.key, "its node fails", drain=True))

    # ----------------------------------------------------------------------------------------------------- calls

    def cancel_calls(self, ids: Iterable[int]) -> None:
        """Forget these calls, and stop them where they are."""
        self.retract(self.calls.cancel(ids))

    def cancel_waiting(self, ids: Iterable[int]) -> None:
        """Forget these calls, but for rows that run now: those behind them are asked back, to be forgotten then."""
        harmless, asked = self.calls.unwant(ids)
        self.cancel_calls(harmless)
        self.out += map(ev.TakeBack, asked)

    def retract(self, at_agents: dict[JobKey, list[int]]) -> None:
        """Tell the agents to drop these calls."""
        for key, ids in at_agents.items():
            if (job := self.fleet.jobs.get(key)) is not None and job.connected:
                self.out.append(ev.Retract(key, tuple(ids)))

    def tell_again(self, ids: tuple[int, ...]) -> None:
        """Tell the clients that these calls, which ran, wait again."""
        if ids:
            self.out.append(ev.TellAgain(ids))

    def decide_calls(self, job: Job, ending: Ending) -> tuple[int, ...]:
        """Decide on the calls that a lost job had. Returns their ids."""
        held = self.calls.lose(job.key, self.now)
        alone = sum(call.started for call in held) == 1
        losses = []
        for call in held:
            whole = call.share >= _WHOLE
            loss = Loss(cause=ending, started=call.started, alone=alone, whole=whole, items=call.items)
            losses.append((call.id, loss, call.history, call.terms))
        self.recover(job, losses)
        return tuple(id for call in held for id in range(call.id, call.id + call.items))

    def recover(self, job: Job, losses: list[tuple[int, Loss, History, CallOptions]]) -> None:
        """Run these calls again, or give them up."""
        staff = self.staff[job.request]
        place = LossPlace(job.id, job.node, staff.request, self.settings.limits)
        again: list[tuple[int, History]] = []
        moved: dict[int, str] = {}
        told: list[int] = []
        for id, loss, history, terms in losses:
            retry = terms.retry or self.settings.retry
            verdict = GiveUp(staff.broken) if staff.broken else decide(loss, history, place, retry)
            if isinstance(verdict, RunAgain) and loss.started and self.calls.is_unwanted(id):
                verdict = GiveUp(cancelled_and_lost(loss, place))  # who cancelled it waits for the one that ran
            match verdict:
                case RunAgain(history=history, request=request):
                    self.note_cut(job.key, id, AGAIN, _cause(loss.cause))
                    again.append((id, history))
                    if request is not None:
                        moved[id] = self._grown(request, place)
                        self.auto.outgrows(job.request, request)
                    if loss.started:
                        told.append(id)
                        self.record.again[_cause(loss.cause)] += 1
                case GiveUp(error=error):
                    self.note_cut(job.key, id, KILLED, str(error))
                    self.calls.cancel([id], failed=True)
                    self.fail(range(id, id + loss.items), error, job.key)
                case _:
                    assert_never(verdict)
        self.calls.again(again, self.now, moved)
        self.tell_again(tuple(told))

    def note_cut(self, job: JobKey, id: int, outcome: str, words: str) -> None:
        """Note for the report that a call did not come to its end in this job, if it began."""
        if (begun := self.calls.begun(id)) is not None:
            self.record.cut(job, *begun, outcome, words, self.now)

    def _grown(self, request: Request, place: LossPlace) -> str:
        """Return the key of a grown request, which is taken into service when it is new."""
        alike = [key for key, staff in self.staff.items() if staff.request == request and not staff.broken]
        # Jobs of a size that is being found serve all of the pool's own calls; smaller ones do, too.
        key = next((key for key in alike if not (self.settings.auto and self.auto.serves_own(key))), None)
        if key is None:
            key = f"grown {len(self.staff)}"
            self.add_request(key, request)
            changes = _difference(place.request, request)
            self.notice(f"a call needed more than its job had, and runs again with {changes}")
        return key

    def fail(self, ids: Iterable[int], error: JobPoolError, job: JobKey | None = None) -> None:
        """End these calls with this error."""
        if ids := tuple(ids):
            self.failed += len(ids)
            self.record.gave_up(str(error).partition("\n")[0][:300], len(ids), self.now)
            self.out.append(ev.Fail(ids, error, job))

    def prove(self, key: JobKey, *, fruitful: bool = False) -> None:
        """Note that a job works, and whether a call came back from it."""
        job = self.fleet.jobs.get(key)
        if job is None or (job.proven and (job.fruitful or not fruitful)):
            return
        self.fleet.put(replace(job, proven=True, fruitful=job.fruitful or fruitful))
        self.staff[job.request].served(fruitful=fruitful)

    def demand(self, key: str, *, all: bool = False) -> Demand:
        """Return what is wanted of a request, beside the calls of jobs that end; with ``all``, together with them."""
        own = key == self.auto.hiring
        if not own and self.auto.serves_own(key):
            return Demand(calls=0, max_workers=self.staff[key].max_workers)
        calls = self.calls.demand(self.line(key), all=all)
        return Demand(
            calls=min(calls, TRIALS) if key == TRIAL else calls,
            tasks=self.tasks if own else 0,
            min_workers=self.settings.min_workers if own and not self.finishing else 0,
            max_workers=self.staff[key].max_workers,
            held=self.held if own and not self.finishing else None,
        )

    def line(self, key: str) -> str:
        """Return the request whose calls the jobs of a request serve."""
        return OWN if self.auto.serves_own(key) else key

    def asked(self, key: str) -> Request:
        """Return what is asked for, for the calls of a request."""
        found = key == OWN and not self.auto.trying
        return self.staff[self.auto.keys[-1] if found else key].request

    def set_ceiling(self) -> None:
        """Bound how many calls of the pool's own run at once."""
        self.calls.set_ceiling(OWN, self.demand(self.auto.hiring).ceiling)

    def look(self) -> None:
        """Note how many workers are there and busy."""
        step = self.record.series.at(self.now)
        step.looks += 1
        for request in self.staff:
            workers, busy, waiting = self.calls.load(request)
            step.workers += workers
            step.busy += busy
            step.waiting += waiting

    def add_request(self, key: str, request: Request, max_workers: int | None = None) -> None:
        """Take a request into service. One that is known already is ignored."""
        if key not in self.staff:
            most = self.settings.max_workers if max_workers is None else max_workers
            self.staff[key] = RequestState(request, most)
            self.calls.open_line(key, most)

    # ------------------------------------------------------------------------------------------------- giving up

    def give_up(self, request: str, error: JobPoolError, job: JobKey | None = None) -> None:
        """Ask for no more jobs for this request, and fail the calls that wait for one."""
        if request == self.auto.hiring != OWN:  # there is no other way to run the pool's own calls
            self.staff[request].broken = error
            request = OWN
        staff = self.staff[request]
        staff.broken = error
        self.fail_waiting(request, error, job)
        for other in self.fleet.of(request):
            if not other.connected:
                self.observe(other, Dropped(self.now, NOT_NEEDED))
        if all(other.broken for other in self.staff.values()):
            self._break(error)

    def fail_waiting(self, request: str, error: JobPoolError, job: JobKey | None = None) -> None:
        """Fail the calls that wait for a worker of this request."""
        plain, owing = self.calls.clear(request)
        self.fail(plain, error, job)
        for ids, owed in owing:
            self.fail(ids, owed, job)

    def break_all(self, error: JobPoolError, job: JobKey) -> None:
        """Fail everything with this error: the pool cannot go on."""
        for staff in self.staff.values():
            staff.broken = staff.broken or error
        ids = self.calls.ids()
        self.calls.cancel(ids, failed=True)
        self.fail(ids, error, job)
        for other in list(self.fleet.jobs.values()):
            self.observe(other, Dropped(self.now, NOT_NEEDED))
        self._break(error)

    def _break(self, error: JobPoolError) -> None:
        if not self.broken:
            self.broken = True
            self.out.append(ev.BreakPool(error))

    def notice(self, text: str, *, warning: bool = False) -> None:
        """Tell a user something, once."""
        if text not in self.notices:
            self.notices.append(text)
            self.out.append(ev.Notice(text, warning))


def _difference(before: Request, after: Request) -> str:
    changes = (("memory", before.memory, after.memory), ("walltime", before.walltime, after.walltime))
    return ", ".join(f"{name}={new} (before: {old or 'not set'})" for name, old, new in changes if old != new)


def _cause(cause: Ending | Death) -> str:
    """Say in a word or two what a call was lost by."""
    if isinstance(cause, Ending):
        return f"its job: {cause.kind.value}"
    if cause.timed_out:
        return "its own timeout"
    return "its worker: out of memory" if cause.out_of_memory else "its worker: crashed"


def _ending(job: Job) -> Ending:
    """Return why a job has no agent any more."""
    if isinstance(job.state, Closing | Ended):
        return job.state.ending
    words = f"the batch system put the job back into the queue: {job.words}"
    return Ending(kind=EndingKind.PREEMPTED, words=words, node=job.node, source="queue")
