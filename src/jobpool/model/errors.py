"""The exceptions of jobpool, with their evidence.

::

    JobPoolError
    ├── ConfigError (ValueError)            bad input, all problems at once, at the call that caused it
    │   └── BatchSystemUnavailable          an unknown batch system, or one that is not here
    ├── RequestRefused                      the batch system refuses, or would refuse, this request
    ├── PoolBroken (BrokenProcessPool)      the whole pool cannot continue
    │   ├── JobsFailed                      several jobs in a row could not run calls; no more are requested
    │   └── InitializerFailed               the initializer raised in a worker
    └── CallFailed                          one call ended without a result of its own
        ├── CallCrashed (BrokenProcessPool)     the worker process died while it ran the call
        ├── CallOutOfMemory (MemoryError)       the call was killed for memory
        ├── CallTimedOut (TimeoutError)         its job's walltime ended
        ├── JobLost (BrokenProcessPool)         its job ended while the call ran, and the call may not run again
        └── NotPicklable (PicklingError)        function, arguments or result cannot be pickled
            └── NotUnpicklable (BrokenProcessPool)  a pickle cannot be unpickled on the other side

Every exception here can be turned into plain data (:meth:`JobPoolError.as_data`) and back (:func:`from_data`): the
server decides, the client raises.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

__all__ = [
    "BatchSystemUnavailable",
    "CallCrashed",
    "CallFailed",
    "CallOutOfMemory",
    "CallTimedOut",
    "ConfigError",
    "InitializerFailed",
    "JobLost",
    "JobPoolError",
    "JobsFailed",
    "NotPicklable",
    "NotUnpicklable",
    "PoolBroken",
    "RequestRefused",
    "from_data",
]


class JobPoolError(Exception):
    """Base of all exceptions of jobpool.

    The message says what happened; the attributes below hold the evidence, None where it is not known. ``details`` has
    the known ones as plain data.
    """

    job: str | None
    """Id of the batch job."""
    node: str | None
    words: str | None
    """What the batch system said, unchanged."""
    ending: str | None
    """Kind of the job's ending."""
    signal: str | None
    """Name of the signal (``SIGKILL``)."""
    exit_code: int | None
    limit: str | None
    """What was allowed, with its unit."""
    used: str | None
    """What was used of it, with its unit."""
    log: str | None
    """Path of the log that tells more."""
    tail: str | None
    """Last lines of that log."""
    advice: str | None
    """What to do next."""
    problems: list[str] | None
    """All problems, for bad input."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = {key: value for key, value in details.items() if value not in (None, "", ())}

    if not TYPE_CHECKING:  # a type checker shall know the attributes above, and no others

        def __getattr__(self, name: str) -> Any:
            # An attribute that is not known is None: handlers need no check.
            if name in _EVIDENCE:
                return self.__dict__.get("details", {}).get(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __str__(self) -> str:
        lines = [self.message]
        lines += [
            f"  {label}: {self.details[key]}" for key, label in _EVIDENCE.items() if key in self.details and label
        ]
        if tail := self.details.get("tail"):
            lines += ["  the log's last lines:", *(f"    | {line}" for line in str(tail).splitlines())]
        if advice := self.details.get("advice"):
            lines.append(f"  what to do: {advice}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def as_data(self) -> tuple[str, str, dict[str, Any]]:
        """Return (class name, message, details), all plain data."""
        return type(self).__name__, self.message, self.details


# The label of each detail in the message. Empty: the detail has a line of its own, or is not shown.
_EVIDENCE = {
    "job": "job",
    "node": "node",
    "words": "the batch system says",
    "ending": "the job's ending",
    "signal": "signal",
    "exit_code": "exit code",
    "limit": "limit",
    "used": "used",
    "log": "log",
    "tail": "",
    "advice": "",
    "problems": "",
}


class ConfigError(JobPoolError, ValueError):
    """A keyword, an environment variable or a config file holds something that cannot be used.

    ``problems`` lists all of them, not just the first.
    """

    problems: list[str]

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **{**details, "problems": details.get("problems") or [message]})

    @classmethod
    def from_problems(cls, problems: Sequence[str]) -> ConfigError:
        """Make one error of all problems, each a sentence."""
        if len(problems) == 1:
            return cls(problems[0], problems=list(problems))
        listed = "\n".join(f"  - {problem}" for problem in problems)
        return cls(f"{len(problems)} settings cannot be used:\n{listed}", problems=list(problems))


class BatchSystemUnavailable(ConfigError):
    """The batch system asked for is unknown, or cannot be used on this machine."""


class RequestRefused(JobPoolError):
    """The batch system refused the request, or its limits say that it would refuse or never start it."""


class PoolBroken(JobPoolError, BrokenProcessPool):
    """The pool cannot continue: its server died, or it cannot get workers."""


class JobsFailed(PoolBroken):
    """Several jobs in a row ended before they could run a call. The pool requests no more."""


class InitializerFailed(PoolBroken):
    """The ``initializer`` raised in a worker. The worker's exception is the cause, as text."""


class CallFailed(JobPoolError):
    """A call ended without a result or an exception of its own."""


class CallCrashed(CallFailed, BrokenProcessPool):
    """The worker process died while it ran this call (a signal, ``os._exit``, a crash in C)."""


class CallOutOfMemory(CallFailed, MemoryError):
    """The call was killed because it, or its job, used more memory than was asked for."""


class CallTimedOut(CallFailed, TimeoutError):
    """The call did not finish before its job's walltime ended."""


class JobLost(CallFailed, BrokenProcessPool):
    """The job ended while the call ran in it, and the call may not run again."""


class NotPicklable(CallFailed, pickle.PicklingError):
    """A function, an argument or a result cannot be pickled, and so cannot be sent to another process."""


class NotUnpicklable(NotPicklable, BrokenProcessPool):
    """A pickle cannot be unpickled on the other side. (This would break a whole ``ProcessPoolExecutor``.)"""


def _rebuild(kind: type[JobPoolError], message: str, details: Mapping[str, Any]) -> JobPoolError:
    # By calling it: ``kind.__new__(kind)`` fails for CallOutOfMemory, whose __new__ would be MemoryError's.
    return kind(message, **details)


def from_data(data: Sequence[Any]) -> JobPoolError:
    """Return the exception that :meth:`JobPoolError.as_data` converted to data."""
    name, message, details = data
    kind = globals().get(name)
    if not (isinstance(kind, type) and issubclass(kind, JobPoolError)):
        return JobPoolError(message, **details)
    return _rebuild(kind, message, details)
