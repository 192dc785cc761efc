"""``"auto"``: the pool's first calls run in a few large jobs, and show what to request from then on.

::

    trying ── FIRST calls came back, or PATIENCE passed since the first ──► sized ──┐
                                                     ▲                              │ twice as many calls, or
                                                     └──────────────────────────────┘ several that it was too small for

The jobs for the first calls have a request of their own (``TRIAL``), and take calls from the queue of the pool's own
request. When the size is known, each of them runs calls until another job replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobpool.core.histograms import FunctionStatistics
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check
from jobpool.sizing.proposal import LEAST
from jobpool.sizing.sizing import BUSY, job_seconds, margin, round_memory, round_time

__all__ = ["GENEROUS", "GROWTH", "OWN", "TRIAL", "TRIALS", "AutoSize", "generous", "sized", "words"]

OWN = ""
"""Key of the pool's own request."""

TRIAL = "trial"
"""Key of the request that the first calls are tried with."""

TRIALS = 4
"""Jobs to try with. Generous ones wait longer in the queue, and hold what others could use."""

FIRST = 5
"""Calls that tell enough to ask for jobs like them, with a wide margin."""

PATIENCE = 60.0
"""Seconds after the first result in which others come; where calls differ so much, the first is a beginning."""

OUTGROWN = 2
"""Calls that the size was too small for; one may be an exception, and is run again in a larger job in any case."""

OUTGROWN_SHARE = 0.05
"""Part of the calls since the last look that is too much to be run twice."""

NEARLY = 0.9
"""Part of a walltime. A call that takes longer will find few jobs that have the time for it."""

GENEROUS = ((4, 16 * 2**30), (2, 8 * 2**30), (2, 4 * 2**30), (1, 4 * 2**30))
"""Cores and bytes to try with: the first that the site allows. More would wait longer, and few functions need it; a
call that is killed for memory runs again with twice as much."""

GROWTH = 2.0
"""Memory that a call gets, times what it had, when it was too little, and nobody said otherwise (``Retry``)."""

LONG = Duration(8 * 3600)
"""Walltime to try with, where the site allows it: a working day."""


def generous(request: Request, names: Sequence[str], limits: Limits) -> Request:
    """Return what to try with: the most generous request that the site allows in place of what is ``"auto"``."""
    for cores, memory in GENEROUS:
        wishes: dict[str, Any] = {"cores": cores, "memory": Memory(memory), "walltime": LONG}
        wish = replace(request, workers_per_job=1, **{name: wishes[name] for name in names})
        if (allowed := _nearest(wish, names, limits)) is not None:
            return allowed
    return request


def _nearest(request: Request, names: Iterable[str], limits: Limits) -> Request | None:
    """Return the nearest request to this one that the site allows, with other values for ``names`` alone."""
    for problem in check(request, limits):
        if problem.setting in names and problem.nearest is not None:
            changes: dict[str, Any] = {problem.setting: problem.nearest}
            request = replace(request, **changes)
    return None if check(request, limits) else request


def sized(used: FunctionStatistics, *, now: Request, tried: Request, names: Sequence[str], limits: Limits) -> Request:
    """Return what calls like these need.

    Args:
        used: What they used; at least one.
        now: What is asked for now.
        tried: What was tried with; from ``now`` once more is known, since then the calls have no more cores than these.
        names: What is ``"auto"``.
        limits: The site's.
    """
    longest, mean, most = used.wall.largest, used.wall.mean or 0.0, used.memory.largest
    found: dict[str, Any] = {}
    if "memory" in names and most:
        room = margin(used.memory.count, _spread(used.memory.quantile(0), most))
        found["memory"] = max(LEAST, round_memory(most * room))
    if "cores" in names:
        found["cores"] = min(tried.cores, max(1, int((used.cpus or 0.0) / (BUSY * tried.threads_per_core))))
    if "walltime" in names:
        room = margin(used.wall.count, _spread(used.wall.quantile(0), longest))
        # An hour at least: calls with other inputs may take far longer than the first ones did.
        found["walltime"] = round_time(job_seconds(longest * room, mean, None))
    known = {name: getattr(tried, name) for name in names}
    return _nearest(replace(now, **found), names, limits) or replace(now, workers_per_job=1, **known)


def words(used: FunctionStatistics, found: Request, names: Sequence[str], *, outgrown: int) -> str:
    """Say what was found. ``outgrown``: so many calls needed more than what was asked for before."""
    asked = ", ".join(f"{name}={getattr(found, name)}" for name in names)
    if outgrown >= OUTGROWN:
        return f"{outgrown} calls needed more than their jobs had: new jobs are requested with {asked} from now on"
    memory, wall = Memory(int(used.memory.largest)), used.wall.largest
    took = f"{Duration(round(wall, 1 if wall < 10 else 0))}"
    return (
        f"{used.wall.count} calls took up to {took} and {memory}, and kept {used.cpus or 0.0:.2g} CPUs busy: "
        f"new jobs are requested with {asked} from now on"
    )


def _spread(least: float | None, most: float) -> float:
    return (most - (least or 0.0)) / most if most > 0 else 0.0


@dataclass(slots=True)
class AutoSize:
    """Where the search for the size of the pool's own calls is. Without ``names`` there is none."""

    names: tuple[str, ...] = ()
    trying: bool = field(init=False)
    keys: list[str] = field(default_factory=lambda: [OWN])
    """The requests of the sizes that were found, one after the other."""
    first: float | None = None
    """When the first call came back."""
    next_look: int = FIRST
    """Calls, all in all, after which to look again."""
    looked_at: int = 0
    """Calls that had come back at the last look."""
    outgrown: list[Request] = field(default_factory=list)
    """What calls needed since then that the size was too small for."""

    def __post_init__(self) -> None:
        self.trying = bool(self.names)

    @property
    def active_key(self) -> str:
        """The request whose jobs are asked for, for the pool's own calls."""
        return TRIAL if self.trying else self.keys[-1]

    def serves_own(self, key: str) -> bool:
        """Whether jobs of this request serve the pool's own calls."""
        return key == TRIAL or key in self.keys

    def outgrows(self, key: str, grown: Request) -> None:
        """Note that a call needs more than the size that is asked for now."""
        if self.names and key == self.active_key:
            self.outgrown.append(grown)

    def due(self, calls: int, now: float) -> bool:
        """Whether it is time to look at what calls used, of which so many came back."""
        if not self.names or not (calls or self.outgrown):
            return False
        self.first = now if self.first is None else self.first
        late = self.trying and now - self.first >= PATIENCE
        too_small = len(self.outgrown) >= max(OUTGROWN, OUTGROWN_SHARE * (calls - self.looked_at))
        return late or too_small or calls >= self.next_look

    def looked(self, calls: int) -> None:
        """Note that so many calls had come back at a look."""
        self.trying = False
        self.looked_at, self.next_look = calls, max(FIRST, 2 * calls)
        self.outgrown.clear()

    def next_key(self) -> str:
        """Return the key for a size that takes the place of the one before."""
        key = f"auto {len(self.keys) + 1}"
        self.keys.append(key)
        return key

    def raised(self, request: Request, found: Request | None, longest: float) -> Request:
        """Return the request with more memory and walltime, where calls were seen to need more; never with less.

        Args:
            request: What is asked for now.
            found: What calls that came back need.
            longest: Seconds of the longest of them.
        """
        known = [*self.outgrown, *([] if found is None else [found])]
        changes: dict[str, Any] = {}
        if "memory" in self.names and request.memory is not None:
            changes["memory"] = max([request.memory, *(grown.memory or 0 for grown in known)])
        if "walltime" in self.names and request.walltime is not None:
            if longest <= NEARLY * request.walltime:
                known = self.outgrown
            changes["walltime"] = max([request.walltime, *(grown.walltime or 0 for grown in known)])
        return replace(request, **changes)
