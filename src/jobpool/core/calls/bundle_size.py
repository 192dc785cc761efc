"""The size of a bundle: how many calls are sent together, from the measured durations of each function."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BUNDLE_BYTES", "BUNDLE_CALLS", "BUNDLE_ROWS", "BUNDLE_WORK", "NEED_MARGIN", "SHORT", "SPLIT_WORK", "STUCK",
    "BundleSize",
]  # fmt: skip

BUNDLE_WORK = 0.200
"""Seconds of work in a bundle: two hundred times the cost of its message at both ends, and longer than an agent waits
before it reports, so that the next bundle arrives in time. The calls of a bundle can be taken back."""

BUNDLE_CALLS = 1000
"""Maximum calls in a bundle: from this number on, a message costs less than 1 us per call."""

BUNDLE_ROWS = 100_000
"""Maximum calls in a bundle of rows of a map, which add only a few bytes to a message."""

BUNDLE_BYTES = 4 * 2**20
"""Maximum payload of a bundle, unless one call has more: larger messages save nothing and delay other messages."""

SPLIT_WORK = 0.005
"""Seconds of work that are not divided further among workers at the end: a message would cost more than it saves."""

SHORT = 1.0
"""Calls with a mean of at most this many seconds may wait at a busy worker. For longer calls, the few milliseconds of
transport do not matter, and a call that waits behind a long one could run on the next free worker."""

STUCK = 0.050
"""Seconds without a result after which a bundle is stuck: one of its calls takes much longer than expected. The calls
behind it are taken back when a worker is free for them."""

_SURE = 0.001
"""Seconds of work in a report below which the next bundle may be four times larger instead of twice: a wrong estimate
would cost little."""

_MEMORY = 200
"""Calls that the mean covers: enough to be stable, few enough to follow a change of the inputs."""

NEED_MARGIN = 1.1
"""A call is expected to take at most this factor times the longest call so far: it may be longer, or its node
busier."""


@dataclass(slots=True)
class BundleSize:
    """What is known of one function's duration, and how many of its calls make a bundle."""

    mean: float | None = None
    """Seconds per call. None: no call came back yet."""
    cap: int = 1
    """Maximum calls in a bundle. It doubles with each report: the first calls may differ from the others."""
    longest: float = 0.0
    """Seconds of the longest call. It decays to the mean over ``_MEMORY`` shorter calls."""
    _count: int = 0

    def learn(self, total: float, calls: int, longest: float | None = None) -> None:
        """Add ``calls`` calls that took ``total`` seconds together, and one of them ``longest``."""
        self._count = min(_MEMORY, self._count + calls)
        mean = total / calls
        weight = min(1.0, calls / self._count)
        self.mean = mean if self.mean is None else self.mean + weight * (mean - self.mean)
        faded = self.longest - (self.longest - self.mean) * min(1.0, calls / _MEMORY)
        self.longest = max(faded, self.mean, longest or 0.0)
        self.cap = min(BUNDLE_ROWS, self.cap * (4 if total < _SURE else 2))

    def calls_in(self, seconds: float) -> int:
        """Return how many calls are expected to fit into this time."""
        return BUNDLE_ROWS if not self.mean else max(0, int(seconds / self.mean + 1e-9))

    @property
    def need(self) -> float:
        """Seconds that a worker should have left for a call. 0: not known."""
        return self.longest * NEED_MARGIN

    @property
    def short(self) -> bool:
        """Whether calls of the function may wait at a busy worker."""
        return self.mean is not None and self.mean <= SHORT
