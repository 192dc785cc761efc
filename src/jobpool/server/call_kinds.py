"""Kinds of calls that clients have told of, and what each call gets from its kind when it comes in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from jobpool.config.call_options import CallKind
from jobpool.config.resolve import Settings
from jobpool.model.call import Call
from jobpool.model.call_options import CallOptions
from jobpool.model.errors import JobPoolError
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.server.client_links import CLIENT_BITS
from jobpool.server.preflight import refuse_what_cannot_run
from jobpool.site.check import choose_partition
from jobpool.transport.frames import WireError
from jobpool.transport.plain_data import from_plain

__all__ = ["CallKinds"]


class CallKinds:
    """The kinds of calls of one pool, by the keys that clients give them."""

    def __init__(
        self, settings: Settings, limits: Limits, check: Callable[[Request], None], functions: dict[str, str]
    ) -> None:
        """``check`` raises ``JobPoolError`` for a request of which no job script can be written.

        ``functions`` holds the keys of the functions that are known, each by itself.
        """
        self._limits, self._check, self._functions = limits, check, functions
        self._kinds: dict[str, tuple[str, CallOptions | None]] = {"": ("", None)}
        """For each kind: the key of its request, and its terms."""
        self._requests = {(settings.request, settings.max_workers): ""}
        """The keys of requests. Kinds that differ in their terms alone share jobs."""

    def add(self, key: str, data: dict[str, Any]) -> tuple[str, Request, int] | None:
        """Take a kind of calls into service. Return its request with a key and the most workers, when it is a new one.

        Raises ``JobPoolError`` when the site would refuse its jobs, and ``WireError`` for data that are no kind.
        """
        try:
            kind = from_plain(CallKind, data)
        except (ValueError, JobPoolError) as reason:
            raise WireError(f"what came in is no kind of calls: {reason}") from None
        if not _is_possible(kind):
            raise WireError("what came in is no kind of calls: there is a number in it that can be none")
        self._check(kind.request)
        refuse_what_cannot_run(kind.request, self._limits)
        request = choose_partition(kind.request, self._limits)
        asked = request, kind.max_workers
        new = asked not in self._requests
        if new:
            self._requests[asked] = f"request {len(self._requests)}"
        self._kinds[key] = self._requests[asked], kind.terms
        return (self._requests[asked], *asked) if new else None

    def admit(self, client: int, kind: str, calls: Sequence[Call]) -> None:
        """Give calls that came from a client what the server knows of them: whose they are, and of their kind.

        Raises ``WireError`` for calls that no client of this version sends: they would end all others' calls.
        """
        try:
            request, terms = self._kinds[kind]
            timeout = None if terms is None or terms.timeout is None else float(terms.timeout)
            functions, first, end = self._functions, client << CLIENT_BITS, 1 << CLIENT_BITS
            for call in calls:
                if call.id + (call.rows or 1) > end:
                    raise WireError(f"there can be no call {call.id} of {call.rows} rows")
                call.id |= first
                call.function = functions[call.function]  # the one text for all calls
                call.request, call.terms, call.timeout = request, terms, timeout
        except KeyError as unknown:
            raise WireError(f"calls name {unknown}, of which nothing was said before") from None


def _is_possible(kind: CallKind) -> bool:
    """Say whether its numbers are such as the client lets through."""
    request, terms = kind.request, kind.terms
    counts = (request.cores, request.workers_per_job, request.threads_per_core, kind.max_workers)
    amounts = (request.memory, request.walltime, terms.timeout, terms.expected_time)
    return min(counts) >= 1 and request.gpus >= 0 and all(amount is None or 0 < amount < math.inf for amount in amounts)
