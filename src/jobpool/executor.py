"""``JobPoolExecutor``: the face. It pickles, makes futures, and ends things; it decides nothing (see ``core``)."""

from __future__ import annotations

import atexit
import datetime
import enum
import functools
import itertools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar

from jobpool import config, mapping, rows
from jobpool.client import OPEN, Connection
from jobpool.errors import ConfigError, JobPoolError, NotPicklable, PoolBroken
from jobpool.future import JobFuture
from jobpool.home import PoolDirectory
from jobpool.model import Bind
from jobpool.pickling import detached, dumps_arguments, dumps_function, dumps_initializer, register_own_modules
from jobpool.server.reap import end_server
from jobpool.server.spec import Spec
from jobpool.starting import start_server, try_to_write
from jobpool.ui.waiting import WaitingLine
from jobpool.versions import versions

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["JobPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class _Unset(enum.Enum):
    """What a keyword is when it was not given: files and environment may give it then."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "<from the configuration>"


UNSET: Final = _Unset.UNSET


class JobPoolExecutor(Executor):
    """An executor whose workers are batch jobs, or processes of this machine where there is no batch system.

    Each argument that is not given comes from ``JOBPOOL_*`` variables, ``jobpool.toml``, dask-jobqueue's
    ``jobqueue.yaml``, or a default, in this order (``jobpool config`` shows which).

    Args:
        max_workers: Calls that run at once, at most. Default: this machine's cores, or 100 on a batch system.
        cores: Physical cores of one worker. Default 1.
        memory: Memory of one worker, with a unit: ``"8 GiB"``. Default: what the site gives.
        walltime: How long one job may run: ``"5h"``, a ``timedelta`` or seconds. Default: the partition's.
        gpus: GPUs of one worker. Default 0.
        workers_per_job: Workers that share a job, and its node. Default 1; on local processes all of them.
        threads_per_core: Hardware threads of each core that a call may use. Default 1: hyper-threads stay idle.
        bind: Bind each worker to its ``"cores"`` or ``"threads"``, or not (None). Default ``"cores"``.
        scheduler: ``"auto"``, ``"local"`` or ``"slurm"``. Default ``"auto"``: the batch system that is here.
        partition: Partition, or queue. Default: the site's.
        account: Account, or project, that is charged.
        qos: Quality of service.
        reservation: Reservation.
        licenses: Licences of one job.
        constraint: Features that the node must have.
        exclude: Nodes not to use.
        job_extra: More directives, as the batch system takes them: ``["--mail-type=FAIL"]``.
        job_skip: Beginnings of directives to leave out: ``["--mem"]``.
        setup: Shell lines to run in the job before Python: ``["module load ffmpeg"]``.
        min_workers: Workers to hold while there is nothing to do. Default 0.
        idle_timeout: Time after which an idle job ends. Default 10 minutes; None: never.
        initializer: Called as ``initializer(*initargs)`` in each fresh worker process.
        initargs: Its arguments.
        max_tasks_per_child: Calls after which a worker process is replaced by a fresh one. Default: never.
        name: Name of the pool and its jobs. Default: a random one.
        log_directory: Where the jobs' logs go. Default: ``~/.jobpool/NAME/logs``.
        python: Interpreter for the jobs. Default: this one.
        environment: Variables to set in the jobs.
        addresses: Host names or addresses under which the jobs reach this host. Default: they try all it has.

    Raises:
        ConfigError: Arguments, variables or files that cannot be used; all problems at once. It is a ``ValueError``.
        RequestRefused: The batch system's limits say that such a job would be refused, or never start.
        PoolBroken: The pool's server could not be started.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        cores: int | _Unset = UNSET,
        memory: str | int | _Unset | None = UNSET,
        walltime: str | float | datetime.timedelta | _Unset | None = UNSET,
        gpus: int | _Unset = UNSET,
        workers_per_job: int | _Unset = UNSET,
        threads_per_core: int | _Unset = UNSET,
        bind: Bind | _Unset | None = UNSET,
        scheduler: str | _Unset = UNSET,
        partition: str | _Unset | None = UNSET,
        account: str | _Unset | None = UNSET,
        qos: str | _Unset | None = UNSET,
        reservation: str | _Unset | None = UNSET,
        licenses: str | Sequence[str] | _Unset = UNSET,
        constraint: str | _Unset | None = UNSET,
        exclude: str | Sequence[str] | _Unset = UNSET,
        job_extra: str | Sequence[str] | _Unset = UNSET,
        job_skip: str | Sequence[str] | _Unset = UNSET,
        setup: str | Sequence[str] | _Unset = UNSET,
        min_workers: int | _Unset = UNSET,
        idle_timeout: str | float | datetime.timedelta | _Unset | None = UNSET,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | _Unset | None = UNSET,
        name: str | _Unset | None = UNSET,
        log_directory: str | os.PathLike[str] | _Unset | None = UNSET,
        python: str | os.PathLike[str] | _Unset = UNSET,
        environment: Mapping[str, str] | _Unset = UNSET,
        addresses: str | Sequence[str] | _Unset = UNSET,
    ) -> None:
        given = {
            key: value
            for key, value in locals().items()
            if key not in ("self", "initializer", "initargs", "__class__") and value is not UNSET
        }
        if max_workers is None:
            del given["max_workers"]
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._settings = config.resolve(given)
        config.require(self._settings.system)
        try_to_write(self._settings.log_directory)
        prepared = None if initializer is None else dumps_initializer(initializer, initargs)
        PoolDirectory.sweep()
        self._directory = PoolDirectory.create(self._settings.name)
        self._shutdown = False
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._connection = self._start(prepared)
        # Called when this object is collected, or at the interpreter's exit: holds the connection, not the executor.
        self._finalizer = weakref.finalize(self, _forgotten, self._connection)
        for note in self._settings.notes:
            WaitingLine().say(note, warning=False)

    def _start(self, initializer: bytes | None) -> Connection:
        try:
            Spec(
                settings=self._settings,
                system=self._settings.system,
                initializer=initializer,
                sys_path=tuple(os.path.abspath(entry or os.getcwd()) for entry in sys.path),  # noqa: PTH100, PTH109
                working_directory=os.getcwd(),  # noqa: PTH109 - as text: it travels
                umask=_umask(),
                versions=versions(),
            ).save(self._directory)
            connection = Connection(self._directory, start_server(self._directory))
            connection.open()
        except BaseException as error:
            end_server(self._directory)
            self._directory.retire(keep_logs=True)
            # RuntimeError: the system gives this user no more threads.
            if isinstance(error, (OSError, RuntimeError)) and not isinstance(error, JobPoolError):
                raise PoolBroken(f"the pool's server could not be started: {error}") from error
            raise
        return connection

    # ----------------------------------------------------------------------------------------------------------- calls

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[T]:
        """Run ``fn(*args, **kwargs)`` on a worker and return its future.

        Functions and classes of ``__main__``, of a notebook, and of modules that are not installed travel by value,
        with the global variables that they use as they are now. If the function or an argument cannot travel, the
        future's exception is ``NotPicklable``, whose message names it.

        Raises:
            RuntimeError: After ``shutdown``.
            PoolBroken: The pool can run nothing any more; the message says why.
        """
        return self._submit(_function(fn), [_arguments(args, kwargs)])[0]

    def _submit(
        self, function: tuple[str, bytes | NotPicklable], payloads: Iterable[bytes | NotPicklable]
    ) -> list[JobFuture[Any]]:
        with self._lock:
            self._check_open()
            return self._connection.submit(function, payloads)

    def _check_open(self) -> None:
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting.is_set():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)`` for the items of the iterables, in their order.

        Args:
            fn: The function.
            *iterables: As for the built-in ``map``; the shortest ends it.
            timeout: Seconds from this call until a result must be there, else the iterator raises ``TimeoutError``.
            chunksize: Items that make one call. Default: each item is a call; short calls travel bundled anyway.
            buffersize: Items that are submitted ahead of the results taken. Default: all at once.
            progress: Show a progress bar (tqdm).

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` below 1.
            TypeError: ``buffersize`` that is no whole number.
            RuntimeError, PoolBroken: As :meth:`submit`.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        total = mapping.shortest(iterables)
        items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        results: Iterator[T]
        if chunksize is None or chunksize == 1:
            results = self._results_of_rows(fn, items, buffersize, end)
        else:
            ahead = None if buffersize is None else -(-buffersize // chunksize)
            chunks = ((chunk,) for chunk in mapping.chunks(items, chunksize))
            chunked = self._results_of_rows(functools.partial(mapping.call_each, fn), chunks, ahead, end, most=1)
            results = mapping.each_of(chunked)
        return mapping.with_progress(results, total) if progress else results

    def _results_of_rows(
        self,
        fn: Callable[..., T],
        items: Iterator[tuple[Any, ...]],
        buffersize: int | None,
        end: float | None,
        *,
        most: int = rows.ROWS,
    ) -> Iterator[T]:
        """Submit (now, not at the first ``next``) and return the iterator over the results."""
        function, changed = _function(fn), threading.Condition()
        size = most if buffersize is None else max(1, min(most, buffersize // 4))
        batches: deque[mapping.Batch] = deque()
        executor = weakref.ref(self)  # a forgotten iterator must not keep the pool alive

        def send(some: Iterator[tuple[Any, ...]]) -> None:
            for payload, count in rows.batches(some, size):
                if (pool := executor()) is not None:
                    batches.append(pool._submit_rows(function, payload, count, changed))

        send(itertools.islice(items, buffersize))
        return mapping.in_order(batches, None if buffersize is None else mapping.refill(items, send, size), end)

    def _submit_rows(
        self,
        function: tuple[str, bytes | NotPicklable],
        payload: bytes | NotPicklable,
        count: int,
        changed: threading.Condition,
    ) -> mapping.Batch:
        with self._lock:
            self._check_open()
            return self._connection.submit_rows(function, payload, count, changed)

    # ------------------------------------------------------------------------------------------------------------- end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the pool: no new calls; its jobs are cancelled when the calls that are there have ended.

        Args:
            wait: Return when everything has ended: calls, jobs and server. False: return at once.
            cancel_futures: Cancel the calls that have not started.
        """
        if self._connection.foreign:
            return
        try:
            with self._lock:
                self._shutdown = True
            if cancel_futures:
                self._connection.cancel_pending()
            self._close_client()
            self._connection.finish()
            self._finalizer.detach()
            if wait:
                self._connection.wait()
        except BaseException:
            # Interrupted: the user wants it to end now, and nothing may stay behind.
            self._connection.abort()
            raise

    def terminate_workers(self) -> None:
        """End the pool at once, the running calls too, and wait for it.

        Calls that run end with ``PoolBroken``, which is a ``BrokenProcessPool``; the others are cancelled. In the
        standard library since Python 3.14.
        """
        self._abort()

    def kill_workers(self) -> None:
        """Do the same as :meth:`terminate_workers`: workers are killed in any case."""
        self._abort()

    def _abort(self) -> None:
        if self._connection.foreign:
            return
        with self._lock:
            self._shutdown = True
        try:
            self._close_client()
        finally:
            self._connection.abort()
            self._finalizer.detach()

    def _close_client(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        # An exception on its way out: nobody will take the results, and hours of jobs must not run for nothing.
        if kind is None:
            self.shutdown(wait=True)
        else:
            self._abort()
        return False

    # ----------------------------------------------------------------------------------------------------------- about

    @property
    def name(self) -> str:
        """The pool's name, for ``jobpool status`` and ``jobpool stop``."""
        return self._directory.name

    @property
    def log_directory(self) -> Path:
        """Where the jobs' logs are."""
        return Path(self._connection.facts["logs"])

    @property
    def settings(self) -> config.Settings:
        """What the pool is configured with, and where each value came from."""
        return self._settings

    def status(self) -> dict[str, Any]:
        """Return what goes on as plain data: jobs with their states and reasons, calls by state, notices."""
        answer: dict[str, Any] = self._connection.ask("status")
        return answer

    def scale(self, n: int | None) -> None:
        """Hold ``n`` workers from now on, busy or not, within ``max_workers``; None: as many as there are calls."""
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise ConfigError(f"scale({n!r}): it must be a whole number, at least 0, or None")
        if n is not None and n > self._settings.max_workers:
            raise ConfigError(
                f"scale({n}): max_workers is {self._settings.max_workers}",
                advice="make the pool with more max_workers",
            )
        self._connection.send("scale", n)

    @property
    def client(self) -> Client:
        """A ``dask.distributed.Client`` on the same workers; they are asked for as its tasks need them."""
        register_own_modules()  # Dask, too, then sends what they define by value
        if self._client is None:
            from distributed import Client

            from jobpool import dask_config

            port = self._connection.ask("dask", False)["port"]
            self._client = Client(
                f"tls://{self._connection.host}:{port}",
                security=dask_config.security(self._directory.path),
                set_as_default=False,
            )
        return self._client

    @property
    def dashboard_link(self) -> str | None:
        """The address of Dask's dashboard, for this user's browser only: its path is a secret. None: without bokeh.

        On a JupyterHub it goes through ``/proxy/PORT``; elsewhere it is on this host's loopback (``ssh -L PORT:...``).
        """
        dashboard = self._connection.ask("dask", True)["dashboard"]
        if dashboard is None:
            return None
        port, path = dashboard
        prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
        return f"{prefix.rstrip('/')}/proxy/{port}{path}" if prefix else f"http://127.0.0.1:{port}{path}"

    def __repr__(self) -> str:
        state = "shut down" if self._shutdown else self._settings.system
        return f"<JobPoolExecutor {self.name} ({state}), at most {self._settings.max_workers} workers>"


def _function(fn: Callable[..., Any]) -> tuple[str, bytes | NotPicklable]:
    try:
        return dumps_function(fn)
    except NotPicklable as error:
        return "", detached(error)


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | NotPicklable:
    try:
        return dumps_arguments(args, kwargs)
    except NotPicklable as error:
        return detached(error)


def _umask() -> int:
    # os.umask() can only be read by changing it, which another thread might notice.
    status = Path("/proc/self/status").read_text()
    return next((int(line.split()[1], 8) for line in status.splitlines() if line.startswith("Umask:")), 0o077)


# -------------------------------------------------------------------------------------------------------------- ending


def _forgotten(connection: Connection) -> None:
    if not connection.foreign:
        connection.finish()


_exiting = threading.Event()
"""Set when Python ends and waits for the pools: what comes later would never be waited for."""


def _at_exit() -> None:
    """Let forgotten pools finish, as the standard library does; end them at once when the script failed."""
    failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    _exiting.set()
    for connection in list(OPEN):
        try:
            if failed is None:
                connection.finish()
                connection.wait()
        finally:  # also when a Ctrl-C ends the waiting
            if connection in OPEN:
                connection.abort()


def _after_fork() -> None:
    """Leave the pools to the process that made them: this one is a copy of it, without their threads."""
    for connection in OPEN:
        connection.abandon()
    OPEN.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
