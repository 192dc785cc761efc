"""The state of one pool, and what follows from a change of a job or a call. :class:`~.engine.Core` owns it.

What several kinds of events share is here::

    observe(job) ─► store ─┬─► send no more calls to the job's agent
                           ├─► cancel the job, stop its agent
                           ├─► decide on its calls: run again, or give up             (core.recovery)
                           └─► if it ended without a result: back off, or give up     (core.scaling)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from jobpool.core import actions as act
from jobpool.core.actions import Action
from jobpool.core.calls.agent_reports import AgentReports
from jobpool.core.calls.agent_table import AgentTable
from jobpool.core.calls.call_table import CallTable
from jobpool.core.calls.fitting import Fitting
from jobpool.core.calls.scheduler import Scheduler
from jobpool.core.events import JobKey
from jobpool.core.jobs.bad_nodes import BadNodes
from jobpool.core.jobs.job_table import JobTable
from jobpool.core.jobs.machine import (
    Closing,
    Dropped,
    Ended,
    JobEntry,
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

NOT_NEEDED = Ending(kind=EndingKind.CANCELLED, message="not needed any more", source="agent")

_WHOLE = 0.9
"""A call that ran for this part of its job's serving time had the walltime to itself."""


class PoolState:
    """Everything that the core knows, and the changes that have consequences."""

    def __init__(self, settings: CoreSettings, now: float) -> None:
        self.settings = settings
        self.now = now
        self.job_table = JobTable(settings)
        fitting = Fitting()
        self.calls = CallTable()
        self.agents = AgentTable(self.calls.queues, fitting)
        self.scheduler = Scheduler(self.calls, fitting)
        self.reports = AgentReports(self.calls, self.agents, fitting)
        self.polling = Polling(settings, now)
        self.nodes = BadNodes(settings.limits)
        self.request_states: dict[str, RequestState] = {}
        self.held: int | None = None
        """The ``n`` of ``scale(n)``."""
        self.tasks = 0
        """Tasks of Dask graphs that need a worker."""
        self.accounting = True
        """Whether the batch system has an accounting, as far as is known."""
        self.accounting_asked = False
        """Whether a question to the accounting is not answered yet. Its database may be slow: one question at a
        time."""
        self.record = Record(now)
        self.finishing = False
        """Whether the pool ends as soon as its calls have ended."""
        self.closing: float | None = None
        """Since when all jobs are being cancelled."""
        self.cancelled_all = now
        """When all jobs were cancelled in one command for the last time."""
        self.finished = False
        self.told_suspended = False
        self.broken = False
        self.done = self.failed = 0
        self.wake: float | None = None
        """When to request jobs."""
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
        """Apply an observation to a job, if the job has not ended."""
        if (job := self.job_table.jobs.get(key)) is not None:
            self.observe(job, observation)

    def observe(self, job: JobEntry, observation: Observation) -> None:
        """Apply an observation to a job."""
        after = advance(job, observation, self.settings)
        if after is not job:
            self.store(job, after)

    def store(self, before: JobEntry, after: JobEntry) -> None:
        """Store a changed job, and do what follows from the change."""
        self.job_table.put(after)
        self.record.job(before, after, self.now)
        if type(before.state) is not type(after.state):
            self.polling.hurry(self.now)
        if (before.suspended is None) is not (after.suspended is None):
            self._suspend(after)
        if not isinstance(after.state, Serving) or after.suspended is not None:
            self.agents.close(after.key)
        if not after.supplies:
            self.agents.leave(after.key)
        if isinstance(after.state, Silent) and before.connected:
            self.polling.hurry(self.now, at_once=True)
        if isinstance(after.state, Closing):
            self._cancel_job(before, after, after.state)
        if not after.holds_calls and after.key in self.agents:
            self.decide_calls(after, _ending(after))
        if after.over and not before.over:
            self._learn_from_end(after)
        if isinstance(after.state, Ended) and after.state.ending.source == "absence" and not before.over:
            self._suspect(after)
        unwanted = self.closing is not None or self.request_states[after.request].broken is not None
        if unwanted and isinstance(after.state, Pending | Starting):
            self.observe(after, Dropped(self.now, NOT_NEEDED))

    def _suspend(self, job: JobEntry) -> None:
        """Send no calls to a suspended job until it is resumed."""
        self.polling.hurry(self.now)
        if job.suspended is None:
            if isinstance(job.state, Serving):
                self.agents.reopen(job.key, job.state.deadline, self.now)
        elif not self.told_suspended:
            self.told_suspended = True
            where = f" on {job.node}" if job.node else ""
            text = (
                f"the batch system has suspended job {job.id}{where}; the job keeps its calls, and continues when it is"
            )
            self.notice(
                f"{text} resumed (the same holds for each job that the status shows as suspended)", warning=True
            )

    def _cancel_job(self, before: JobEntry, after: JobEntry, state: Closing) -> None:
        if before.connected:
            self.out.append(act.StopAgent(after.key, state.ending.message, drain=False))
        again = isinstance(before.state, Closing) and before.state.since == state.since
        if after.id is not None and (not again or before.id is None):
            self.cancels[after.id] = None

    def _suspect(self, job: JobEntry) -> None:
        """Cancel a job that is missing from the queue without other evidence of its end: the queue may show it
        again."""
        self.job_table.ghosts[job.key.submission] = None
        if job.id is not None:
            self.cancels[job.id] = None

    def flush_cancels(self) -> None:
        """Cancel all jobs that were given up in this step, in one command."""
        if self.cancels:
            self.out.append(act.CancelJobs(ids=tuple(self.cancels)))
            self.cancels.clear()

    def _learn_from_end(self, job: JobEntry) -> None:
        """Learn from the end of a job: avoid its node, back off, or give up its request."""
        state, request_state = job.state, self.request_states[job.request]
        if job.proven:
            request_state.served()
        if not isinstance(state, Closing | Ended) or state.ours or job.id is None:
            return
        unreachable = state.ending.exit_code == UNREACHABLE and not job.proven
        bad = self.nodes.lost(job.node, job.key, state.ending, request_state.request, self.now, proven=job.proven)
        if bad:
            self._avoid(job.node, state.ending.message)
            request_state.failures = request_state.failures if unreachable else 0  # the node caused them
        if self.closing is not None or request_state.broken:
            return
        # A node that cannot reach the server is avoided at once, and its failure counts: the next node may reach it.
        if job.node in self.nodes.avoided(self.now) and not (bad and unreachable):
            return
        failing, pause = request_state.lost(job, state.ending, self.now, self.settings)
        if pause:
            self.notice(pause, warning=True)
        if not failing:
            return
        if any(other.connected for other in self.job_table.of(job.request)):
            self.notice(
                f"new jobs end before they can run a call, while others run calls; the last: {state.ending.message}",
                warning=True,
            )
        else:
            self.give_up(job.request, jobs_failed(job, state.ending, request_state.failures), job.key)

    def blame_node(self, job: JobEntry, call: int, words: str) -> None:
        """Note that a call's worker died on this job's node."""
        if self.nodes.crashed(job.node, call, self.request_states[job.request].request, self.now):
            self._avoid(job.node, words)

    def _avoid(self, node: str | None, words: str) -> None:
        """Let the jobs on a bad node end after their running calls, and request later jobs on other nodes."""
        failed = f"{self.nodes.strikes(node or '')} calls or jobs in a row failed there"
        self.notice(f"new jobs avoid node {node} from now on: {failed}; the last one: {words}", warning=True)
        for job in list(self.job_table.jobs.values()):
            if job.node == node and isinstance(job.state, Serving):
                self.observe(job, Retired(self.now, "calls or jobs fail on its node"))
                self.out.append(act.StopAgent(job.key, "calls or jobs fail on its node", drain=True))

    # ----------------------------------------------------------------------------------------------------- calls

    def cancel_calls(self, ids: Iterable[int]) -> None:
        """Forget these calls, and let the agents that have them stop them."""
        self.retract(self.calls.cancel(ids))

    def cancel_waiting(self, ids: Iterable[int]) -> None:
        """Forget these calls, except rows of which one runs: their agent has to return the rows that have not begun.

        The returned rows are forgotten then.
        """
        harmless, asked = self.calls.unwant(ids)
        self.cancel_calls(harmless)
        self.out += map(act.TakeBack, asked)

    def retract(self, at_agents: dict[JobKey, list[int]]) -> None:
        """Let the agents drop these calls."""
        for key, ids in at_agents.items():
            if (job := self.job_table.jobs.get(key)) is not None and job.connected:
                self.out.append(act.Retract(key, tuple(ids)))

    def tell_again(self, ids: tuple[int, ...]) -> None:
        """Tell the clients that these calls, which ran, wait again."""
        if ids:
            self.out.append(act.TellAgain(ids))

    def decide_calls(self, job: JobEntry, ending: Ending) -> tuple[int, ...]:
        """Decide on the calls that a lost job had. Return their ids."""
        held = self.agents.remove(job.key, self.now)
        alone = sum(call.started for call in held) == 1
        losses = []
        for call in held:
            whole = call.share >= _WHOLE
            loss = Loss(cause=ending, started=call.started, alone=alone, whole=whole, items=call.items)
            losses.append((call.id, loss, call.history, call.terms))
        self.recover(job, losses)
        return tuple(id for call in held for id in range(call.id, call.id + call.items))

    def recover(self, job: JobEntry, losses: list[tuple[int, Loss, History, CallOptions]]) -> None:
        """Run these calls again, or give them up."""
        request_state = self.request_states[job.request]
        place = LossPlace(job.id, job.node, request_state.request, self.settings.limits)
        again: list[tuple[int, History]] = []
        moved: dict[int, str] = {}
        told: list[int] = []
        for id, loss, history, terms in losses:
            retry = terms.retry or self.settings.retry
            verdict = GiveUp(request_state.broken) if request_state.broken else decide(loss, history, place, retry)
            if isinstance(verdict, RunAgain) and loss.started and self.calls.is_unwanted(id):
                # The client that cancelled the rows waits for the one that ran.
                verdict = GiveUp(cancelled_and_lost(loss, place))
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
        self.reports.run_again(again, self.now, moved)
        self.tell_again(tuple(told))

    def note_cut(self, job: JobKey, id: int, outcome: str, words: str) -> None:
        """Note for the report that a call began in this job, and did not end there."""
        if (begun := self.calls.begun(id)) is not None:
            self.record.cut(job, *begun, outcome, words, self.now)

    def _grown(self, request: Request, place: LossPlace) -> str:
        """Return the key of a grown request. A new one is added to the pool."""
        alike = [
            key
            for key, request_state in self.request_states.items()
            if request_state.request == request and not request_state.broken
        ]
        # Jobs of an "auto" size run all of the pool's own calls, even if the size is smaller than this request.
        key = next((key for key in alike if not (self.settings.auto and self.auto.serves_own(key))), None)
        if key is None:
            key = f"grown {len(self.request_states)}"
            self.add_request(key, request)
            changes = _difference(place.request, request)
            self.notice(f"a call needed more than its job had; it runs again with {changes}")
        return key

    def fail(self, ids: Iterable[int], error: JobPoolError, job: JobKey | None = None) -> None:
        """End these calls with this error."""
        if ids := tuple(ids):
            self.failed += len(ids)
            self.record.gave_up(str(error).partition("\n")[0][:300], len(ids), self.now)
            self.out.append(act.Fail(ids, error, job))

    def prove(self, key: JobKey, *, fruitful: bool = False) -> None:
        """Note that a job runs calls, and whether one of its calls has ended."""
        job = self.job_table.jobs.get(key)
        if job is None or (job.proven and (job.fruitful or not fruitful)):
            return
        self.job_table.put(replace(job, proven=True, fruitful=job.fruitful or fruitful))
        self.request_states[job.request].served(fruitful=fruitful)

    def demand(self, key: str, *, all: bool = False) -> Demand:
        """Return the demand for a request, without the calls of jobs that are about to end; with ``all``, including
        these."""
        own = key == self.auto.active_key
        if not own and self.auto.serves_own(key):
            return Demand(calls=0, max_workers=self.request_states[key].max_workers)
        calls = self.calls.demand(self.queue_key(key), all=all)
        return Demand(
            calls=min(calls, TRIALS) if key == TRIAL else calls,
            tasks=self.tasks if own else 0,
            min_workers=self.settings.min_workers if own and not self.finishing else 0,
            max_workers=self.request_states[key].max_workers,
            held=self.held if own and not self.finishing else None,
        )

    def queue_key(self, key: str) -> str:
        """Return the key of the queue from which the jobs of a request take calls."""
        return OWN if self.auto.serves_own(key) else key

    def asked(self, key: str) -> Request:
        """Return the request of the jobs that run the calls of this queue."""
        found = key == OWN and not self.auto.trying
        return self.request_states[self.auto.keys[-1] if found else key].request

    def set_ceiling(self) -> None:
        """Set how many of the pool's own calls may run at once."""
        self.calls.set_ceiling(OWN, self.demand(self.auto.active_key).ceiling)

    def sample_workers(self) -> None:
        """Note for the record how many workers are connected and busy."""
        step = self.record.series.at(self.now)
        step.looks += 1
        for request in self.request_states:
            workers, busy, waiting = self.calls.load(request)
            step.workers += workers
            step.busy += busy
            step.waiting += waiting

    def add_request(self, key: str, request: Request, max_workers: int | None = None) -> None:
        """Add a request to the pool. A key that is known already is ignored."""
        if key not in self.request_states:
            most = self.settings.max_workers if max_workers is None else max_workers
            self.request_states[key] = RequestState(request, most)
            self.calls.open_queue(key, most)

    # ------------------------------------------------------------------------------------------------- giving up

    def give_up(self, request: str, error: JobPoolError, job: JobKey | None = None) -> None:
        """Request no more jobs for this request, and fail the calls that wait for one."""
        if request == self.auto.active_key != OWN:  # there is no other way to run the pool's own calls
            self.request_states[request].broken = error
            request = OWN
        request_state = self.request_states[request]
        request_state.broken = error
        self.fail_waiting(request, error, job)
        for other in self.job_table.of(request):
            if not other.connected:
                self.observe(other, Dropped(self.now, NOT_NEEDED))
        if all(other.broken for other in self.request_states.values()):
            self._break(error)

    def fail_waiting(self, request: str, error: JobPoolError, job: JobKey | None = None) -> None:
        """Fail the calls that wait for a worker of this request."""
        plain, owing = self.calls.clear(request)
        self.fail(plain, error, job)
        for ids, owed in owing:
            self.fail(ids, owed, job)

    def break_all(self, error: JobPoolError, job: JobKey) -> None:
        """Fail all calls with this error: the pool cannot continue."""
        for request_state in self.request_states.values():
            request_state.broken = request_state.broken or error
        ids = self.calls.ids()
        self.calls.cancel(ids, failed=True)
        self.fail(ids, error, job)
        for other in list(self.job_table.jobs.values()):
            self.observe(other, Dropped(self.now, NOT_NEEDED))
        self._break(error)

    def _break(self, error: JobPoolError) -> None:
        if not self.broken:
            self.broken = True
            self.out.append(act.BreakPool(error))

    def notice(self, text: str, *, warning: bool = False) -> None:
        """Show a message to the users, once."""
        if text not in self.notices:
            self.notices.append(text)
            self.out.append(act.Notice(text, warning))


def _difference(before: Request, after: Request) -> str:
    changes = (("memory", before.memory, after.memory), ("walltime", before.walltime, after.walltime))
    return ", ".join(f"{name}={new} (before: {old or 'not set'})" for name, old, new in changes if old != new)


def _cause(cause: Ending | Death) -> str:
    """Return in a few words why a call was lost."""
    if isinstance(cause, Ending):
        return f"its job: {cause.kind.value}"
    if cause.timed_out:
        return "its own timeout"
    return "its worker: out of memory" if cause.out_of_memory else "its worker: crashed"


def _ending(job: JobEntry) -> Ending:
    """Return why a job has no agent any more."""
    if isinstance(job.state, Closing | Ended):
        return job.state.ending
    words = f"the batch system put the job back into the queue: {job.message}"
    return Ending(kind=EndingKind.PREEMPTED, message=words, node=job.node, source="queue")
