"""The batch system's answers: to a submit, to a poll, and of the accounting."""

from __future__ import annotations

from collections.abc import Sequence

from jobpool.core import actions as act
from jobpool.core import events as ev
from jobpool.core.events import JobKey
from jobpool.core.jobs.job_table import Doubt, Submission
from jobpool.core.jobs.machine import Accepted, Closing, JobEntry, Pending, Vouched
from jobpool.core.scaling.policy import Backoff
from jobpool.core.scaling.request_state import request_refused
from jobpool.core.steps.auto_size import fall_back
from jobpool.core.steps.state import PoolState
from jobpool.model.errors import JobPoolError
from jobpool.model.job import EndingKind

__all__ = ["accounted", "jobs_submitted", "poll", "poll_failed", "polled", "submit_doubtful", "submit_refused"]

_OUT_OF_DATE = (
    "the queue does not show all jobs that the accounting knows as waiting or running: its listing is out of date, "
    "and the pool waits for them"
)


def jobs_submitted(pool: PoolState, event: ev.JobsSubmitted) -> None:
    """Take the ids of a submission."""
    submission = pool.job_table.submissions.get(event.submission)
    if submission is None:  # looked up in vain before, or told twice
        keys = {JobKey(event.submission, element): id for element, id in enumerate(event.ids)}
        pool.cancels.update({id: None for key, id in keys.items() if key not in pool.job_table.ended})
        return
    submission.answered, submission.doubt = True, None
    request_state = pool.request_states[submission.request]
    request_state.backoff, request_state.puzzle = request_state.backoff.accepted(submission.count), ("", 0)
    for element, id in enumerate(event.ids):
        pool.observe_key(JobKey(event.submission, element), Accepted(pool.now, id))
    pool.job_table.forget(submission)  # those beyond the ids: the batch system took fewer
    pool.polling.hurry(pool.now)


def submit_refused(pool: PoolState, event: ev.SubmitRefused) -> None:
    """Ask later, go on with fewer, or give up."""
    submission = pool.job_table.submissions.get(event.submission)
    if submission is None or submission.answered:
        return
    if event.error is None:
        _refused(pool, submission, event.words, temporary=event.temporary)
    else:
        pool.job_table.forget(submission)
        _no_job_would_work(pool, submission.request, event.error)


def _refused(pool: PoolState, submission: Submission, words: str, *, temporary: bool) -> None:
    pool.job_table.forget(submission)
    request_state = pool.request_states[submission.request]
    avoided = pool.nodes.avoided(pool.now)
    if avoided and not temporary:
        # Perhaps no other node would do (nodelist=, a constraint): a bad one is better than none.
        pool.nodes.pardon()
        request_state.backoff = request_state.backoff.longer(pool.now, pool.settings)
        why = f"jobs that avoid {', '.join(avoided)} are refused; then they are asked for there too: {words}"
        pool.notice(request_state.pausing(why, pool.now), warning=True)
    elif temporary:
        before = request_state.backoff
        request_state.backoff = before.refused(submission.count, pool.now, pool.settings)
        said = request_state.pausing(f"the batch system takes no more now: {words}", pool.now)
        if request_state.backoff != before:  # of small submissions, many are refused at once
            pool.notice(said, warning=True)
    elif pool.job_table.supply(submission.request) or pool.job_table.held(submission.request):
        request_state.backoff = request_state.backoff.longer(pool.now + pool.settings.backoff_last, pool.settings)
        why = f"the batch system refused more jobs; going on with fewer: {words}"
        pool.notice(request_state.pausing(why, pool.now), warning=True)
    elif not (submission.request == pool.auto.active_key and fall_back(pool, words)) and not request_state.broken:
        pool.give_up(submission.request, request_refused(words))


def _no_job_would_work(pool: PoolState, request: str, error: JobPoolError) -> None:
    """Let the calls go on where workers are, and end those that wait when there are none."""
    if any(job.connected for job in pool.job_table.of(request)):
        # Asked again soon, for the time when these have ended: it costs a look at some files.
        pool.request_states[request].backoff = Backoff(pool.now + pool.settings.backoff_first)
        pool.notice(f"no more jobs are asked for; the calls go on in those that are there: {error}", warning=True)
    else:
        pool.give_up(request, error)


def submit_doubtful(pool: PoolState, event: ev.SubmitDoubtful) -> None:
    """Look the submission up before anything else is done about it."""
    submission = pool.job_table.submissions.get(event.submission)
    if submission is None or submission.answered:
        return
    submission.answered, submission.doubt = True, Doubt(event.words, event.unclear)
    if pool.job_table.seen(submission):
        _found(pool, submission)
    pool.polling.hurry(pool.now, at_once=True)


def _found(pool: PoolState, submission: Submission) -> None:
    """Take the submission for accepted: one job of it was seen, so all exist."""
    submission.doubt = None
    for job in pool.job_table.of_submission(submission):
        pool.observe(job, Accepted(pool.now, None))


def _not_found(pool: PoolState, submission: Submission, doubt: Doubt) -> None:
    pool.job_table.ghosts[submission.name] = None
    request_state = pool.request_states[submission.request]
    if doubt.unclear and request_state.puzzled(doubt.words) >= pool.settings.same_words:
        _refused(pool, submission, doubt.words, temporary=False)
        return
    pool.job_table.forget(submission)
    request_state.backoff = request_state.backoff.longer(pool.now, pool.settings)
    pool.notice(
        request_state.pausing(f"a submit command failed and left no job: {doubt.words}", pool.now), warning=True
    )


def poll(pool: PoolState) -> None:
    """Ask the batch system, when it is time."""
    ready = not pool.finished and not pool.polling.under_way and pool.now >= pool.polling.due
    if ready and pool.job_table.submissions and (names := pool.job_table.names()):
        pool.polling.ask(pool.now)
        pool.out.append(act.Poll(names))


def polled(pool: PoolState, event: ev.Polled) -> None:
    """Read what the batch system says of the jobs."""
    asked = pool.polling.answered()
    held_before = {job.key for job in pool.job_table.jobs.values() if job.hold is not None}
    kept_before = {job.key for job in pool.job_table.jobs.values() if not job.over}
    for key, observation in list(pool.job_table.read_poll(event, asked)):
        pool.observe_key(key, observation)
    _tell_holds(
        pool, [job for job in pool.job_table.jobs.values() if job.hold is not None and job.key not in held_before]
    )
    _tell_hopeless(pool, [job for job in pool.job_table.jobs.values() if job.key in kept_before and _is_hopeless(job)])
    for submission, doubt in list(pool.job_table.look_up(event, asked)):
        if doubt is None:
            _found(pool, submission)
        elif doubt.misses >= pool.settings.lookups:
            _not_found(pool, submission, doubt)
    pool.cancels.update(dict.fromkeys(pool.job_table.strays(event)))
    table = pool.job_table
    pool.polling.rest(pool.now, pressing=table.pressing, starting=table.starting, held=table.all_held)
    if pool.accounting and not pool.accounting_asked and (names := _to_account_for(pool)):
        pool.accounting_asked = True
        pool.out.append(act.AskAccounting(names))


def _tell_holds(pool: PoolState, held: Sequence[JobEntry]) -> None:
    """Tell of jobs that are held from now on: without a person nothing comes of them."""
    by_reason: dict[str, list[JobEntry]] = {}
    for job in held:
        assert isinstance(job.state, Pending)
        by_reason.setdefault(job.state.reason, []).append(job)
    for reason, (first, *others) in by_reason.items():
        assert first.hold is not None
        which = f"job {first.id} and {len(others)} more are" if others else f"job {first.id} is"
        words = f" ({reason})" if reason else ""
        pool.notice(f"{which} held{words} and will not start: {first.hold.advice}", warning=True)


def _is_hopeless(job: JobEntry) -> bool:
    """Say whether a job is cancelled since the batch system holds it for good."""
    return isinstance(job.state, Closing) and job.state.ending.kind is EndingKind.LAUNCH_FAILED


def _tell_hopeless(pool: PoolState, jobs: Sequence[JobEntry]) -> None:
    """Tell of jobs that the batch system could not start and holds: they are cancelled."""
    by_message: dict[str, list[JobEntry]] = {}
    for job in jobs:
        by_message.setdefault(job.message, []).append(job)
    for message, (first, *others) in by_message.items():
        which, it = (f"job {first.id} and {len(others)} more", "them") if others else (f"job {first.id}", "it")
        text = f"the batch system could not start {which} and holds {it} for good ({message}); the pool cancels {it}"
        pool.notice(text, warning=True)


def _to_account_for(pool: PoolState) -> tuple[str, ...]:
    """Return the submissions about which the accounting may know more than the queue shows."""
    if pool.closing is not None and pool.now - pool.closing >= pool.settings.late_answer:
        return tuple(pool.job_table.submissions)  # cancelled long ago: the listing may be an old one
    return pool.job_table.unexplained()


def poll_failed(pool: PoolState, words: str) -> None:
    """Note that the batch system does not answer. That says nothing of any job."""
    if pool.polling.failed(pool.now):
        pool.notice(f"the batch system does not answer; the calls go on: {words}", warning=True)


def accounted(pool: PoolState, event: ev.Accounted) -> None:
    """Read what the accounting says of jobs that the queue does not show."""
    pool.accounting_asked = False
    pool.accounting = pool.accounting and event.known is not None
    for key, observation in list(pool.job_table.read_account(event)):
        job = pool.job_table.jobs.get(key)
        if isinstance(observation, Vouched) and job is not None and job.absent > pool.settings.absences:
            pool.notice(_OUT_OF_DATE, warning=True)
        pool.observe_key(key, observation)
