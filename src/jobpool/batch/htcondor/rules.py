"""How HTCondor reads a request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jobpool.batch.htcondor.options import key_of
from jobpool.model.request import Request
from jobpool.model.rules import Rules, Wish
from jobpool.model.units import Memory

__all__ = ["UNSAID", "HTCondorRules"]

UNSAID = Memory(2**30)
"""Memory of a worker that nobody said, where the pool has no default but HTCondor's own: as much as the program needs
before it runs, here a shell."""

_LINES = {
    "memory": "request_memory",
    "walltime": "allowed_job_duration",
    "constraint": "requirements",
    "account": "accounting_group",
}
"""Settings that may be left open, and their lines."""


@dataclass(frozen=True, slots=True)
class HTCondorRules(Rules):
    """HTCondor's rules: it gives as many CPUs of one slot as are asked for, whatever they are."""

    has_default_memory: bool = False
    """Whether the site says how much memory a job has that does not say (``JOB_DEFAULT_REQUESTMEMORY``)."""

    def memory_of(self, request: Request) -> Memory | None:
        """Return the memory of each worker. None: the site's default of a job."""
        return UNSAID if request.memory is None and not self.has_default_memory else request.memory

    def as_written(self, request: Request) -> Request:
        """Return the request as its lines say it: some are left out, and the user's own ones win."""
        own = {key_of(line) for line in request.job_extra}
        changes: dict[str, Any] = {
            field: None
            for field, line in _LINES.items()
            if line in own or (request.job_skip and line.startswith(request.job_skip))
        }
        if "memory" not in changes:
            changes["memory"] = self.memory_of(request)
        return replace(request, **changes)

    def wish_of(self, request: Request) -> Wish:
        """Return what the lines of a request ask for. A slot's CPUs are not told apart as threads of a core."""
        return replace(Rules.wish_of(self, request), threads=None)
