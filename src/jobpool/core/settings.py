"""The numbers that the core decides by. Each has a unit and a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobpool.model.request import Request, Retry
from jobpool.model.site import Limits

__all__ = ["CoreSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """All that the core is told before the first event. Times are in seconds."""

    pool: str
    """Short id of the pool; submissions are named ``jp-{pool}-{run}-{n}``."""
    run: str = ""
    """Up to eight letters and digits that no other run has: a pool of this name may have run a minute ago, may run with
    another home, and the batch system remembers its jobs by name. Empty, for simulations: the name has no such part."""
    request: Request = field(default_factory=Request)
    """The pool's own request; its key is the empty text."""
    auto: tuple[str, ...] = ()
    """Which of ``cores``, ``memory`` and ``walltime`` of ``request`` are to be found with the first calls."""
    trial: Request | None = None
    """What these run with; None: there is no ``auto``."""
    limits: Limits = field(default_factory=Limits)
    array_size: int | None = None
    """Jobs in one submission at most, as the user wants it; None: as many as the site allows."""
    submits_at_once: int = 12
    """Submissions under way at most, for each request: each is a process here, and a connection at the batch system."""
    max_workers: int = 1
    """Calls that run at once at most, for each request."""
    min_workers: int = 0
    """Workers of the pool's own request that are held without work."""
    idle_timeout: float = 600.0
    """A job is kept this long without work: a queue may take longer than a pause between two cells of a notebook."""
    retry: Retry = field(default_factory=Retry)

    settle: float = 0.2
    """Demand should be steady this long before jobs are asked for: one submit command for a loop of submits."""
    settle_at_most: float = 1.0
    """Demand that keeps growing is not waited for longer than this."""

    poll_fast: float = 2.0
    """Between two polls after a change. Sites ask users not to poll more often than every few seconds."""
    poll_slow: float = 60.0
    """Between two polls when nothing changes. Agents report by themselves; only the reason of a waiting job is late."""
    poll_growth: float = 2.0
    poll_at_end: float = 0.15
    """First interval while the pool waits for its cancelled jobs to go: a person waits too."""

    connect_timeout: float = 300.0
    """A job that runs so long without its agent is given up. Imports from a slow shared file system take minutes."""
    proof: float = 60.0
    """An agent that stayed connected so long has shown that the setup works, also without a call."""
    loss_grace: float = 10.0
    """After an agent left, the batch system has this long to say why before its calls are decided."""
    absences: int = 3
    """Polls in a row that do not show a job before it counts as gone: controllers restart, caches lag."""
    absence_grace: float = 180.0
    """A job that waits or starts has so long besides, from the first of these polls on: a site's own squeue may show a
    listing that is a minute old. The accounting, where it knows the job as living, begins this time anew."""
    absence_grace_beside: float = 15.0
    """So long instead where the job is older than that and these polls show other jobs of the pool: a listing that is
    up to ``absence_grace`` old would show it, and a controller that has just started again shows none."""
    late_answer: float = 20.0
    """After so long of a shutdown the accounting is asked about jobs that the queue still shows."""
    failed_starts: int = 3
    """Jobs in a row that came to nothing before the pool stops asking."""
    cancel_again: float = 10.0
    """A cancelled job that is still there after this is cancelled again: the first command may have been lost."""
    shutdown_patience: float = 30.0
    """How long a shutdown waits for cancelled jobs to go: at least as long as the batch system gives them to end."""

    lookup_gap: float = 5.0
    """Between two look-ups of a doubtful submission: a thawing controller may take a waiting submit late."""
    lookups: int = 3
    """Look-ups in a row that were answered and did not show it before a doubtful submission counts as not there."""
    same_words: int = 3
    """Submits in a row that ended with the same words, which nobody knows, and left no job, before they count as no."""
    backoff_first: float = 15.0
    """Before asking again after a refusal that may lift, or after a job that came to nothing; doubles each time."""
    backoff_last: float = 300.0
    halving_gap: float = 1.0
    """Before asking for half as many jobs, when several at once were refused: a few quick steps find the limit."""
