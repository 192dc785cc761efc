"""How many calls travel together: measured durations per function, and the size of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BUNDLE_BYTES", "BUNDLE_CALLS", "BUNDLE_ROWS", "BUNDLE_WORK", "NEED_MARGIN", "SHORT", "SPLIT_WORK", "STUCK",
    "BundleSize",
]  # fmt: skip

BUNDLE_WORK = 0.200
"""Seconds of work in a bundle: two hundred times what its message costs at both ends, and more than the time for which
an agent holds its news, so that the next one is there when it is over. What it holds can be taken back."""

BUNDLE_CALLS = 1000
"""Calls in a bundle at most: beyond it, a message costs less than 1 us per call already."""

BUNDLE_ROWS = 100_000
"""Calls in a bundle at most when they are rows of a map, which cost a message nothing but their few bytes."""

BUNDLE_BYTES = 4 * 2**20
"""Payload of a bundle at most, unless one call has more: larger messages gain nothing and hold up the others."""

SPLIT_WORK = 0.005
"""Seconds of work that are not split further to share the tail: a message would cost more than it saves."""

SHORT = 1.0
"""Calls with a mean of at most this many seconds may wait at a busy worker. For longer ones the way of some
milliseconds does not matter, and a call that waits behind a long one could have run on the next free worker."""

STUCK = 0.050
"""Seconds without an answer after which a bundle is stuck: it has a call that is much longer than was expected. Those
behind it are taken back when a worker is free for them."""

_SURE = 0.001
"""Seconds of work in an answer below which the next bundle may be four times larger and not twice: a wrong guess would
cost little."""

_MEMORY = 200
"""Calls that the mean remembers: enough to be steady, few enough to follow a change of the inputs."""

NEED_MARGIN = 1.1
"""A call is expected to take so many times the longest of those before it: the next one may be longer still, or its
node busier."""


@dataclass(slots=True)
class BundleSize:
    """What is known of one function's duration."""

    mean: float | None = None
    """Seconds per call; None: none came back yet."""
    cap: int = 1
    """Calls in a bundle at most. Doubles with each answer: the first calls may not be like the rest."""
    longest: float = 0.0
    """Seconds of the longest call; sinks to the mean as it becomes one of ``_MEMORY`` that were shorter."""
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
        """Seconds that a worker should have left for one; 0: nothing is known."""
        return self.longest * NEED_MARGIN

    @property
    def short(self) -> bool:
        """Whether its calls may wait at a busy worker."""
        return self.mean is not None and self.mean <= SHORT
