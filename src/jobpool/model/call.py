"""A call: what is sent to a worker, what comes back, and what the call used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from jobpool.model.bounded import Byte, Count, Rows, Seconds, SignalNumber
from jobpool.model.units import Memory

if TYPE_CHECKING:
    from jobpool.model.call_options import CallOptions

    _Terms = CallOptions | None
else:
    _Terms = Any  # for the decoder: the field is empty in every message, and its type is none that it could read

__all__ = ["Call", "Death", "Outcome", "Usage"]


class Usage(msgspec.Struct, array_like=True, frozen=True, kw_only=True, gc=False):
    """What one call used."""

    wall: Seconds
    """Seconds from the call's start to its end."""
    cpu: Seconds
    """CPU seconds of the call and of the child processes it waited for."""
    peak_memory: Memory
    """Bytes: peak resident memory of the worker while the call ran."""
    threads: Count
    """Threads of the worker process when the call ended."""

    def as_data(self) -> dict[str, float]:
        """Return the same as numbers: seconds and bytes."""
        memory = int(self.peak_memory)
        return {"wall": self.wall, "cpu": self.cpu, "peak_memory": memory, "threads": self.threads}


class Call(msgspec.Struct, array_like=True, gc=False):
    """One call: an id, the function's key, and the pickled arguments, which only the worker unpickles.

    Or calls for several items of a map, its rows: they have successive ids from ``id`` on, and share one payload.
    Server and agent may cut the rows in two without reading the payload.

    A call has this one form in every process and in the messages between them. The process that receives it owns it.
    """

    id: Count
    """The client's own id between client and server; with the client's number in it from the server on."""
    function: str
    """Content hash of the pickled function; the server knows the pickle."""
    payload: bytes
    request: str = ""
    """Key of the request; empty: the pool's own. The server sets it."""
    skip: Rows = 0
    """Rows at the beginning of the payload that do not belong to this call."""
    rows: Rows = 0
    """The number of rows. 0: a single call, with a payload of another format."""
    terms: _Terms = None
    """The options of the call, for the server alone: no message carries them. None: none were given."""
    timeout: Seconds | None = None
    """Seconds that the call may run."""

    @property
    def expected_time(self) -> float | None:
        """Seconds that the call is expected to run, if the user said so."""
        return None if self.terms is None else self.terms.expected_time

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
        rest = Call(self.id + at, self.function, self.payload, self.request, skip, rows, self.terms, self.timeout)
        return Call(self.id, self.function, self.payload, self.request, self.skip, at, self.terms, self.timeout), rest


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What a worker sent back for one call: its result or its own exception, pickled, which only the client opens.

    It has this one form in every process and in the messages between them, as :class:`Call`.
    """

    call: Count
    ok: bool
    """True for rows, whose payload holds results and exceptions."""
    payload: bytes
    usage: Usage | None = None
    log: bytes = b""
    """The last 64 KiB of what the call wrote to stdout and stderr."""
    rows: Rows = 0
    """How many rows, from ``call`` on, it is of; the others of that call run on. 0: it is of a single call."""
    failures: Rows = 0
    """How many of the calls raised."""
    words: str = ""
    """What the first of them raised, in one line: the server opens no payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a worker (a child process) died."""

    exit_code: Byte | None = None
    signal: SignalNumber | None = None
    out_of_memory: bool = False
    """The kernel's counters say that the job's cgroup killed a process for memory just then; or see ``limit``."""
    limit: Count | None = None
    """Bytes: the agent killed it itself, since its process tree held more than this limit of each worker."""
    child: bool = False
    """Not the worker was killed for memory, but a process that the call had started."""
    innocent: bool = False
    """Perhaps not the call's fault: it was below its worker's limit when the kernel killed for others in the job, or
    would have been below it in a fresh worker, or another job, without what earlier calls had left; or its worker was
    killed for another call, which had ended just before."""
    timed_out: bool = False
    """Its call ran for longer than its own ``timeout``, and the agent killed it."""
    peak_memory: Count = 0
    """Bytes, as the meter saw it last. 0: not known."""
    files: Count = 0
    """Bytes of files in memory that fill most of the job's, and that its end did not free. 0: they do not."""
    kills: Count = 0
    """How often the kernel has killed in the job for memory, until now."""
    tail: str = ""
    """The last lines of its stderr."""
