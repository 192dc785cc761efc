"""A view of a pool: an executor whose calls run in the same pool, with another request."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait as wait_for
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from jobpool.config.call_options import CallKind
from jobpool.config.resolve import Settings
from jobpool.executor.future import JobFuture
from jobpool.executor.map import MapChunk
from jobpool.executor.pool_info import RequestInfo
from jobpool.executor.pool_life import PoolLife
from jobpool.executor.submit import SubmitMethods, destination
from jobpool.model.errors import NotPicklable
from jobpool.model.request import Request
from jobpool.transport.messages.client import AddKind
from jobpool.transport.plain_data import as_plain

if TYPE_CHECKING:
    from jobpool.tools.explain import Explained
    from jobpool.tools.profile import Profile

__all__ = ["PoolView"]


class PoolView(SubmitMethods, RequestInfo):
    """What ``pool.with_request(...)`` returns: an executor for calls with another request or other options.

    It ends with its pool. Its own ``shutdown``, and the end of a ``with`` block, are about its own calls alone: the
    pool and its jobs go on.
    """

    def __init__(self, pool: PoolLife, kind: CallKind, changes: Mapping[str, Any]) -> None:
        self._pool, self._connection = pool, pool._connection
        self._kind = kind.changed(changes, system=pool.settings.system)
        self._to = destination(self.settings)
        self._lock = threading.Lock()
        self._shutdown = False
        # Weak: the connection refers to calls that have not ended, and the user to the futures that are wanted.
        self._calls: weakref.WeakSet[JobFuture[Any] | MapChunk] = weakref.WeakSet()
        kind = self._kind
        self._connection.ask(AddKind(key=kind.key, kind=as_plain(kind)))

    @property
    def pool(self) -> PoolLife:
        """The pool that this is a view of."""
        return self._pool

    @property
    def request(self) -> Request:
        """The request of these calls: what one worker gets."""
        return self._kind.request

    @property
    def settings(self) -> Settings:
        """The configuration of the pool, with the changes for these calls."""
        return self._kind.settings(self._pool.settings)

    def explain(self) -> Explained:
        """Explain this view's request, as the pool's ``explain`` does, and the options of its calls."""
        explained = super().explain()
        return replace(explained, notes=(*explained.notes, *self._kind.words()))

    def measure(self, fn: Callable[[Any], Any], samples: Iterable[Any], **tried: Any) -> Profile:
        """Measure a function as :meth:`JobPoolExecutor.measure` does, and compare with this view's request."""
        from jobpool.tools.measure import measure

        initializer, initargs = self._pool._initializer
        return measure(
            type(self._pool), self.settings, fn, samples, initializer=initializer, initargs=initargs, **tried
        )

    def with_request(self, **changes: Any) -> PoolView:
        """Return a view with more changes. As :meth:`JobPoolExecutor.with_request`."""
        return PoolView(self._pool, self._kind, changes)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The pool continues.

        Args:
            wait: Return when the calls of this view have ended.
            cancel_futures: Cancel those that have not started.
        """
        with self._lock:
            self._shutdown = True
            calls = list(self._calls)
        if cancel_futures:
            for call in calls:
                call.cancel()
        if wait:
            wait_for([call for call in calls if isinstance(call, JobFuture)])
            for call in calls:
                if isinstance(call, MapChunk):
                    call.wait()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)
        return False

    def _check_open(self) -> None:
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._pool._check_open()

    def _submit(
        self, function: tuple[str, bytes | NotPicklable], payloads: Iterable[bytes | NotPicklable]
    ) -> list[JobFuture[Any]]:
        futures = super()._submit(function, payloads)
        self._calls.update(futures)
        return futures

    def _submit_rows(
        self,
        function: tuple[str, bytes | NotPicklable],
        payload: bytes | NotPicklable,
        count: int,
        changed: threading.Condition,
    ) -> MapChunk:
        chunk = super()._submit_rows(function, payload, count, changed)
        self._calls.add(chunk)
        return chunk

    def __repr__(self) -> str:
        return f"<view of {self._pool!r}>"
