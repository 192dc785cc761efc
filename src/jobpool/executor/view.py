"""A pool and its views: executors whose calls run in the same pool, with another request."""

from __future__ import annotations

import abc
import datetime
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
from jobpool.model.errors import ConfigError, NotPicklable
from jobpool.model.request import Request
from jobpool.transport.messages.client import AddKind, Scale
from jobpool.transport.plain_data import as_plain

if TYPE_CHECKING:
    from jobpool.tools.explain import Explained
    from jobpool.tools.maker import ToolPool
    from jobpool.tools.profile import Profile

__all__ = ["PoolView", "StartedPool"]


class StartedPool(PoolLife):
    """A pool as its views know it: all that a user may ask of one. The executor adds how it is made."""

    @abc.abstractmethod
    def _make_another(self, **keywords: Any) -> ToolPool:
        """Make a pool of the same kind with these keywords."""

    def with_request(self, **changes: Any) -> PoolView:
        """Return a view of this pool whose calls need something else: an executor with the same interface.

        Its calls run in jobs of their own where their request differs, and in this pool's where it does not. ::

            big = pool.with_request(memory="64 GiB", gpus=1)
            quick = pool.with_request(timeout="10 min")

        Args:
            **changes: What differs. Of the request: ``cores``, ``memory``, ``walltime``, ``gpus``, ``workers_per_job``
                (default: 1 when one of ``cores``, ``memory`` and ``gpus`` is given, on a batch system),
                ``threads_per_core``, ``bind``, ``partition``, ``account``, ``qos``, ``reservation``, ``licenses``,
                ``constraint``, ``exclude``, ``job_extra``, ``job_skip``, ``system_options``, ``setup``. And

                - ``max_workers``: calls of this kind that run at once, at most. Default: as many as of the pool's own;
                  both count alone.
                - ``timeout``: how long a call may run, as a number of seconds or ``"10 min"``; then its worker is
                  killed, and it fails with :class:`CallTimedOut`. Default: as long as its job.
                - ``expected_time``: how long a call is expected to run. It is not started where less time is left.
                  Default: what is learned from the calls of its function.
                - ``retry``: a :class:`Retry` for these calls. Default: the pool's.

        Raises:
            ConfigError: Values that cannot be used; all problems at once.
            RequestRefused: The batch system would refuse such a job, or never start it.
        """
        return PoolView(self, self._kind, changes)

    def measure(
        self,
        fn: Callable[[Any], Any],
        samples: Iterable[Any],
        *,
        cores: int | None = None,
        memory: str | int | None = None,
        walltime: str | float | datetime.timedelta | None = None,
        repeat: bool = True,
    ) -> Profile:
        """Run ``fn`` with a few real inputs and return a :class:`Profile`, which proposes what to ask for. ::

            profile = pool.measure(analyse, [small, usual, large])
            print(profile, profile.request(calls=1000), sep="\\n")

        The calls run one at a time in one fresh worker, in a job of their own that ends with them.

        Args:
            fn: The function, as for ``map``.
            samples: Its inputs, a few; the largest of all should be among them.
            cores: Cores to try it with. Default: 4, or fewer where the site has no more; at least the pool's.
            memory: Memory to try it with. Default: 16 GiB, or less where the site allows no more; at least the pool's.
                A call that is killed for memory runs again with twice as much.
            walltime: Default: the pool's.
            repeat: Call it again with the same samples, while six calls have not been made and half a minute has not
                gone: a leak shows from call to call. False: once with each.

        Raises:
            ConfigError: No samples, or values that cannot be used.
            RequestRefused: The batch system would refuse such a job.
            Exception: What ``fn`` raised, when it did so with all samples.
        """
        from jobpool.tools.measure import measure

        initializer, initargs = self._initializer
        tried: dict[str, Any] = {"cores": cores, "memory": memory, "walltime": walltime, "repeat": repeat}
        return measure(
            self._make_another, self.settings, fn, samples, initializer=initializer, initargs=initargs, **tried
        )

    def scale(self, n: int | None) -> None:
        """Hold ``n`` workers from now on, busy or not, within ``max_workers``; None: as many as there are calls."""
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise ConfigError(f"scale({n!r}): it must be a whole number, at least 0, or None")
        if n is not None and n > self.settings.max_workers:
            raise ConfigError(
                f"scale({n}): max_workers is {self.settings.max_workers}",
                advice="make the pool with more max_workers",
            )
        self._connection.send(Scale(n))


class PoolView(SubmitMethods, RequestInfo):
    """What ``pool.with_request(...)`` returns: an executor for calls with another request or other options.

    It ends with its pool. Its own ``shutdown``, and the end of a ``with`` block, are about its own calls alone: the
    pool and its jobs go on.
    """

    def __init__(self, pool: StartedPool, kind: CallKind, changes: Mapping[str, Any]) -> None:
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
    def pool(self) -> StartedPool:
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
        """Measure a function as :meth:`StartedPool.measure` does, and compare with this view's request."""
        from jobpool.tools.measure import measure

        initializer, initargs = self._pool._initializer
        make = self._pool._make_another
        return measure(make, self.settings, fn, samples, initializer=initializer, initargs=initargs, **tried)

    def with_request(self, **changes: Any) -> PoolView:
        """Return a view with more changes. As :meth:`StartedPool.with_request`."""
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
