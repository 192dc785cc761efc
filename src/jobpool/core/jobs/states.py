"""The states that a job may be in, and what may be observed of it: the nouns of ``jobs``."""

from __future__ import annotations

from msgspec import Struct

from jobpool.core.events import Hello
from jobpool.model.job import Ending, Hold, JobId, JobState, Seen

__all__ = [
    "Accepted",
    "Closing",
    "Draining",
    "Dropped",
    "Ended",
    "Faded",
    "Joined",
    "Left",
    "Missed",
    "Observation",
    "Pending",
    "Retired",
    "Serving",
    "Sighted",
    "Silent",
    "Starting",
    "State",
    "Stopped",
    "Submitting",
    "Told",
    "Vouched",
    "Waited",
    "WentOn",
]

# -------------------------------------------------------------------------------------------------- states


class Submitting(Struct, frozen=True):
    """The submit command is under way, or nobody knows what came of it."""

    since: float


class Pending(Struct, frozen=True):
    """It waits in the queue."""

    since: float
    reason: str = ""
    hold: Hold | None = None
    """It is held, and somebody has to act."""


class Starting(Struct, frozen=True):
    """Its script runs; the agent has not connected yet."""

    since: float


class Serving(Struct, frozen=True):
    """Its agent is connected and takes calls."""

    since: float
    pid: int
    deadline: float | None = None
    fading: bool = False
    """Soon it will have too little time for the calls that wait, so another job is needed in its place."""


class Draining(Struct, frozen=True):
    """Its agent is connected, ends after its running calls, and begins no others."""

    since: float
    pid: int
    deadline: float | None
    why: str
    ours: bool = True
    """We want it to end, or its time is over (true); something ends it, and it may come back (false)."""


class Silent(Struct, frozen=True):
    """Its agent left, and the batch system is being asked why. The calls it had are not decided yet."""

    since: float
    last_word: str = ""
    deadline: float | None = None
    ours: bool = False
    """It was to end before it left."""


class Closing(Struct, frozen=True):
    """It was cancelled by us, and may still be in the queue. ``ending`` is what is known of the cause."""

    since: float
    """When it was cancelled last."""
    ending: Ending
    ours: bool
    """It is no longer needed (true), or it came to nothing (false)."""


class Ended(Struct, frozen=True):
    """It will not run again."""

    at: float
    ending: Ending
    ours: bool = False


State = Submitting | Pending | Starting | Serving | Draining | Silent | Closing | Ended

# -------------------------------------------------------------------------------------------- observations


class Accepted(Struct, frozen=True):
    """The batch system took it under this id. None: it took it, and the id will be seen in a poll."""

    time: float
    id: JobId | None


class Sighted(Struct, frozen=True):
    """A poll showed it. ``late``: the poll was asked before the last change of the job, so it tells of the past."""

    time: float
    seen: Seen
    late: bool = False


class Missed(Struct, frozen=True):
    """A poll for its submission was answered and did not show it. ``beside``: it showed other jobs of the pool."""

    time: float
    beside: bool = False


class Told(Struct, frozen=True):
    """The accounting, the job's exit file, or the agent before it ever served, says how the job ended."""

    time: float
    ending: Ending


class Vouched(Struct, frozen=True):
    """The accounting knows it as living. It may be behind the queue, or ahead of a listing that is not fresh."""

    time: float
    state: JobState


class Joined(Struct, frozen=True):
    """Its agent connected."""

    time: float
    hello: Hello


class Stopped(Struct, frozen=True):
    """Its agent was told that it is being suspended."""

    time: float


class WentOn(Struct, frozen=True):
    """Its agent goes on after it stood still. ``deadline``: when its walltime ends now."""

    time: float
    deadline: float | None


class Left(Struct, frozen=True):
    """The connection to its agent ended. ``pid`` 0: whichever agent it was."""

    time: float
    last_word: str = ""
    pid: int = 0


class Retired(Struct, frozen=True):
    """We told its agent to end after the running calls, or it said that it does (``ours``: since its time is over)."""

    time: float
    why: str
    ours: bool = True


class Faded(Struct, frozen=True):
    """Soon it will have too little time for the calls that wait."""

    time: float


class Dropped(Struct, frozen=True):
    """We cancel it. ``ours``: because it is not needed; else ``ending`` tells what is wrong with it."""

    time: float
    ending: Ending
    ours: bool = True


class Waited(Struct, frozen=True):
    """Time passed."""

    time: float


Observation = (
    Accepted | Sighted | Missed | Told | Vouched | Joined | Stopped | WentOn | Left | Retired | Faded | Dropped | Waited
)
