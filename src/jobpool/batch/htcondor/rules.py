"""How HTCondor reads a request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jobpool.batch.htcondor.options import key_of
from jobpool.model.request import Request
from jobpool.model.rules import Rules, Wish

__all__ = ["HTCondorRules"]

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

    def as_written(self, request: Request) -> Request:
        """Return the request as its lines say it: some are left out, and the user's own ones win."""
        own = {key_of(line) for line in request.job_extra}
        changes: dict[str, Any] = {
            field: None
            for field, line in _LINES.items()
            if line in own or (request.job_skip and line.startswith(request.job_skip))
        }
        return replace(request, **changes) if changes else request

    def wish_of(self, request: Request) -> Wish:
        """Return what the lines of a request ask for. A slot's CPUs are not told apart as threads of a core."""
        return replace(Rules.wish_of(self, request), threads=None)
