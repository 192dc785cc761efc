"""What a function uses, measured call by call."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jobpool.model.errors import ConfigError
from jobpool.model.request import Request
from jobpool.sizing.proposal import Proposal, propose
from jobpool.sizing.sizing import Growth, Measured, Spread, growth

__all__ = ["FailedSample", "Measurements"]


@dataclass(frozen=True, slots=True)
class FailedSample:
    """A sample with which the function raised."""

    sample: int
    """Its place among the samples, from 0."""
    error: BaseException
    """What it raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What a function uses, measured with a few samples.

    Figures are of the whole process tree of a call. A :class:`Spread` has ``least``, ``median`` and ``most``.
    """

    function: str
    """Its qualified name."""
    calls: tuple[Measured, ...]
    """Each call, in the order in which they ran."""
    failed: tuple[FailedSample, ...]
    """The samples with which it raised."""
    node: str
    """Where they ran."""
    tried: Request
    """What they ran with."""
    now: Request
    """The pool's own request."""
    max_workers: int
    """The pool's: calls that run at once, at most."""

    @property
    def wall(self) -> Spread:
        """Seconds of one call."""
        return Spread.of(call.wall for call in self.calls)

    @property
    def cpu(self) -> Spread:
        """CPU seconds of one call."""
        return Spread.of(call.cpu for call in self.calls)

    @property
    def cpus(self) -> Spread:
        """CPUs used on average over a call."""
        return Spread.of(call.cpus for call in self.calls)

    @property
    def peak_cpus(self) -> Spread:
        """CPUs used over the busiest quarter of a second of a call."""
        return Spread.of(call.peak_cpus for call in self.calls)

    @property
    def memory(self) -> Spread:
        """Bytes at the peak of a call, as its limit counts: shared pages once, and mapped files not."""
        return Spread.of(call.peak for call in self.calls)

    @property
    def threads(self) -> Spread:
        """Threads at once, of all processes."""
        return Spread.of(call.threads for call in self.calls)

    @property
    def read(self) -> Spread | None:
        """Bytes read by a call, from a disk or a cache. None: the kernel does not say."""
        known = [call.read for call in self.calls if call.read is not None]
        return Spread.of(known) if known else None

    @property
    def written(self) -> Spread | None:
        """Bytes written by a call. None: the kernel does not say."""
        known = [call.written for call in self.calls if call.written is not None]
        return Spread.of(known) if known else None

    @property
    def growth(self) -> Growth:
        """How much more memory a worker holds after each call: ``growth.leaks``, ``growth.each``."""
        return growth(self.calls)

    def request(self, calls: int | None = None, max_workers: int | None = None) -> Proposal:
        """Propose what to ask for. ``print`` it, or use it: ``JobPoolExecutor(**proposal.keywords())``.

        Args:
            calls: How many calls there will be, for the walltime. Default: not known; then a job serves for an hour.
            max_workers: How many shall run at once. Default: the pool's.

        Raises:
            ConfigError: A number below 1.
        """
        for name, value in (("calls", calls), ("max_workers", max_workers)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"request({name}={value!r}): it must be a whole number, at least 1")
        workers = max_workers or self.max_workers
        return propose(self.calls, tried=self.tried, now=self.now, total=calls, max_workers=workers)

    def as_data(self) -> dict[str, Any]:
        """Return all of it as plain data: bytes and seconds."""
        names = ("wall", "cpu", "cpus", "peak_cpus", "memory", "threads", "read", "written")
        spreads = {name: getattr(self, name) for name in names}
        return {
            "function": self.function,
            "node": self.node,
            **{name: None if spread is None else asdict(spread) for name, spread in spreads.items()},
            "growth": {"each": int(self.growth.each), "steps": self.growth.steps, "leaks": self.growth.leaks},
            "calls": [asdict(call) for call in self.calls],
            "failed": [{"sample": entry.sample, "error": repr(entry.error)} for entry in self.failed],
        }
