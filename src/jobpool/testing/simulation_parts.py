"""What a simulated cluster is made of: its clock, its faults, its jobs and agents."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jobpool.core import events as ev
from jobpool.core.events import JobKey
from jobpool.model.call import Call
from jobpool.model.job import Ending, Hold, JobId, JobState, Seen
from jobpool.model.request import Request

__all__ = ["FakeClock", "Faults", "SimulatedAgent", "SimulatedJob", "seen_of"]


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Go on by some seconds."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds}")
        self.now += seconds


@dataclass(slots=True)
class Faults:
    """What goes wrong, until it is set back."""

    answers: deque[ev.SubmitRefused | ev.SubmitDoubtful | None] = field(default_factory=deque)
    """Answers to the next submits; times and names are filled in. None: it is taken. Empty: all are taken."""
    doubtful_exist: bool = True
    """Whether the jobs of a doubtful submit exist."""
    refuse_all: str = ""
    """Words of a permanent refusal of every submit."""
    most_jobs: int | None = None
    """Submits that would make more jobs than this in the queue are refused for now."""
    deaf: bool = False
    """Neither polls nor cancels are carried out (a frozen controller)."""
    accounting: bool = True
    listing_age: float = 0.0
    """Seconds: the queue shows a listing that is made anew when it is so old, as a site's cache does."""
    blind: bool = False
    """The queue shows no job that lives."""
    forgetful: bool = False
    """The queue does not show ended jobs."""
    script_fails: bool = False
    """Job scripts end with code 1 before the agent connects."""
    bad_node: str = ""
    """Job scripts end with code 1 on this node."""
    held: str = ""
    """New jobs are held, for this reason."""
    hopeless: bool = False
    """They are since they could not be started."""
    never_connect: bool = False
    """Agents never connect, and the scripts run on."""
    twice: float = 0.0
    """Probability that an event is delivered a second time, later."""
    no_checkpoints: bool = False
    """Calls that could leave a checkpoint do not manage to."""
    jitter: float = 0.0
    """Seconds by which events of different sources may be late."""


@dataclass(slots=True, eq=False)
class SimulatedJob:
    """One job in the queue."""

    key: JobKey
    id: JobId
    request: Request
    state: JobState = JobState.PENDING
    reason: str = "Priority"
    hold: Hold | None = None
    """It does not start before it is released."""
    node: str | None = None
    ending: Ending | None = None
    agent: SimulatedAgent | None = None
    ends: float | None = None
    """When its walltime ends, since it runs."""
    stopped_at: float = 0.0
    """When it was suspended last."""
    puzzling: bool = False
    """The queue shows it in a state that nobody knows."""
    run: int = 0
    """Counts requeues, so that what was planned for an earlier run does not happen in a later one."""


@dataclass(slots=True, eq=False)
class SimulatedAgent:
    """The agent of a job: workers, what they run, and what waits at them."""

    job: SimulatedJob
    pid: int
    workers: int
    connected: bool = True
    draining: bool = False
    running: dict[int, Call] = field(default_factory=dict)
    """Worker -> call, or one of several rows."""
    since: dict[int, float] = field(default_factory=dict)
    """Worker -> when that began."""
    bundles: deque[deque[Call]] = field(default_factory=deque)
    """Bundles that wait."""
    current: dict[int, deque[Call]] = field(default_factory=dict)
    """Worker -> the rest of its bundle."""
    cut: dict[int, Call] = field(default_factory=dict)
    """Worker -> the rows behind the one that runs."""
    last_sent: float = 0.0
    stopped_at: float | None = None
    """Since when it stands still: it hears nothing, says nothing, and its workers do nothing."""
    stood_still: float = 0.0
    """Seconds that it stood still before."""
    heard_of: float = 0.0
    """When the server would have heard of it, or of its suspension, last."""
    put_off: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What became due meanwhile: how many seconds after it goes on, and what."""


def seen_of(job: SimulatedJob) -> Seen:
    """Return the job as a poll shows it."""
    words = job.ending.message if job.ending is not None else f"{job.state.name} {job.reason or 'None'}"
    return Seen(
        id=job.id,
        name=job.key.submission,
        index=job.key.element,
        state=JobState.UNKNOWN if job.puzzling and job.ending is None else job.state,
        message=words,
        reason=job.reason,
        hold=job.hold if job.state is JobState.PENDING else None,
        node=job.node,
        ending=job.ending,
    )
