"""A call: what is sent to a worker, with which options, and what the call used."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobpool.model.request import Retry
from jobpool.model.units import Duration, Memory

__all__ = ["PLAIN", "Call", "CallOptions", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call used."""

    wall: float
    """Seconds from the call's start to its end."""
    cpu: float
    """CPU seconds of the call and of the child processes it waited for."""
    peak_memory: Memory
    """Bytes: peak resident memory of the worker while the call ran."""
    threads: int
    """Threads of the worker process when the call ended."""

    def as_data(self) -> dict[str, float]:
        """Return the same as numbers: seconds and bytes."""
        memory = int(self.peak_memory)
        return {"wall": self.wall, "cpu": self.cpu, "peak_memory": memory, "threads": self.threads}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Options of a call, wherever it runs."""

    timeout: Duration | None = None
    """How long the call may run. Then its worker is killed."""
    expected_time: Duration | None = None
    """How long the call is expected to run. It is not started in a job that has less time left."""
    retry: Retry | None = None
    """None: the pool's."""


PLAIN = CallOptions()
"""The options of calls for which none were given."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: an id, the function's key, and the pickled arguments, which only the worker unpickles.

    Or calls for several items of a map, its rows: they have successive ids from ``id`` on, and share one payload.
    Server and agent may cut the rows in two without reading the payload.
    """

    id: int
    function: str
    """Content hash of the pickled function; the server knows the pickle."""
    payload: bytes = field(repr=False)
    request: str = ""
    """Key of the request; empty: the pool's own."""
    skip: int = 0
    """Rows at the beginning of the payload that do not belong to this call."""
    rows: int = 0
    """The number of rows. 0: a single call, with a payload of another format."""
    terms: CallOptions = PLAIN

    @property
    def timeout(self) -> float | None:
        """Seconds that the call may run."""
        return self.terms.timeout

    @property
    def expected_time(self) -> float | None:
        """Seconds that the call is expected to run, if the user said so."""
        return self.terms.expected_time

    @property
    def items(self) -> int:
        """The number of calls."""
        return self.rows or 1

    @property
    def ids(self) -> range:
        """The ids of all calls."""
        return range(self.id, self.id + self.items)

    def cut(self, at: int) -> tuple[Call, Call]:
        """Return the first ``at`` rows, and the rest."""
        skip, rows = self.skip + at, self.rows - at
        rest = Call(self.id + at, self.function, self.payload, self.request, skip, rows, self.terms)
        return Call(self.id, self.function, self.payload, self.request, self.skip, at, self.terms), rest
