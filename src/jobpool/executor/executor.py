"""``JobPoolExecutor``: makes a pool. ``submit`` has how calls go in, ``view`` other requests, ``pool_life`` the end."""

from __future__ import annotations

import contextlib
import datetime
import enum
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from jobpool.config import resolve
from jobpool.config.call_options import CallKind
from jobpool.executor.connection import Connection
from jobpool.executor.main_guard import refuse_while_imported
from jobpool.executor.pool_life import finish_forgotten
from jobpool.executor.start_server import discard, start_server, try_to_write
from jobpool.executor.submit import destination
from jobpool.executor.view import StartedPool
from jobpool.host.home import PoolDirectory
from jobpool.host.lifetime import SHORTAGE
from jobpool.host.told_once import first_time
from jobpool.host.versions import versions
from jobpool.model.errors import JobPoolError, PoolBroken
from jobpool.model.request import Bind, Retry
from jobpool.serialize.pickling import dumps_initializer
from jobpool.server.scripts import try_script
from jobpool.server.spec import Spec
from jobpool.show.waiting import WaitingLine
from jobpool.tools.project_file import tell_what_runs

__all__ = ["JobPoolExecutor"]


class _Unset(enum.Enum):
    """The value of a keyword that was not given: then files and environment variables may give it."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "<from the configuration>"


UNSET: Final = _Unset.UNSET


class JobPoolExecutor(StartedPool):
    """An executor whose workers are batch jobs, or processes of this machine where there is no batch system.

    Each argument that is not given comes from ``JOBPOOL_*`` variables, ``jobpool.toml``, dask-jobqueue's
    ``jobqueue.yaml``, or a default, in this order (``jobpool config`` shows which).

    Args:
        max_workers: Calls that run at once, at most. Default: this machine's cores, or 100 on a batch system.
        cores: Physical cores of one worker. Default 1. ``"auto"`` for it, ``memory`` and ``walltime``: the first calls
            run in up to four generous jobs, and what they use is asked for from then on, with headroom; corrected while
            the run goes on. On local processes it means the default.
        memory: Memory of one worker, with a unit: ``"8 GiB"``; or ``"auto"``. Default: what the site gives.
        walltime: How long one job may run: ``"5h"``, a ``timedelta`` or seconds; or ``"auto"``. Default: the
            partition's.
        gpus: GPUs of one worker. Default 0.
        workers_per_job: Workers that share a job, and its node. Default 1; on local processes all of them.
        threads_per_core: Hardware threads of each core that a call may use. Default 1: hyper-threads stay idle.
        bind: Bind each worker to its ``"cores"`` or ``"threads"``, or not (None). Default ``"cores"``.
        scheduler: ``"auto"``, ``"local"``, or a batch system: ``"slurm"``, ``"pbs"``, ``"sge"``, ``"lsf"``,
            ``"htcondor"``, ``"oar"``. Default ``"auto"``: the batch system that is here.
        partition: Partition, or queue; ``"auto"``: the one where the request fits and starts first, when the pool
            starts. Default: the site's.
        account: Account, or project, that is charged.
        qos: Quality of service.
        reservation: Reservation.
        licenses: Licences of one job.
        constraint: Features that the node must have.
        exclude: Nodes not to use.
        job_extra: More directives, as the batch system takes them: ``["--mail-type=FAIL"]``.
        job_skip: Beginnings of directives to leave out: ``["--mem"]``.
        system_options: What only this batch system has a word for, by name: ``{"parallel_environment": "smp"}`` on Grid
            Engine. The page of each batch system in the documentation lists its own.
        submit_host: Host on which the batch system's commands run, as ``ssh`` takes it, where they are not on this one.
        arrays: Whether jobs that are asked for together are submitted as one array. False: each alone; a number:
            so many in one array at most. Default True: as many as the site allows.
        submit_by: How the job script gets to the submit command: on its ``"stdin"``, or as a ``"file"`` for a site's
            own ``sbatch`` that takes nothing else. Default ``"stdin"``.
        setup: Shell lines to run in the job before Python: ``["module load ffmpeg"]``.
        min_workers: Workers to hold while there is nothing to do. Default 0.
        idle_timeout: Time after which an idle job ends. Default 10 minutes; None: never.
        initializer: Called as ``initializer(*initargs)`` in each fresh worker process.
        initargs: Its arguments.
        max_tasks_per_child: Calls after which a worker process is replaced by a fresh one. Default: never.
        max_memory_growth: Memory, with a unit, by which a worker process may grow from the end of its first call on;
            then it is replaced by a fresh one between two calls. Default: any.
        name: Name of the pool and its jobs. Default: a random one.
        log_directory: Where the jobs' logs go; where others may write there, a directory (0700) of the run's own is
            made in it. Default: ``~/.jobpool/NAME/logs``.
        python: Interpreter for the jobs, or a command that runs it: ``["apptainer", "exec", "image.sif", "python"]``.
            Default: this one.
        container: Image of a container in which that Python runs: ``"image.sif"``. Its program (Apptainer, Singularity,
            Podman, Charliecloud) is the first on the PATH that can run it, or named: ``"podman://python:3.12"``.
        container_options: More options for that program: ``["--bind=/data"]``.
        environment: Variables to set in the jobs.
        addresses: Host names or addresses under which the jobs reach this host. Default: they try all it has.
        retry: How often calls run again after a loss, and with how much more memory. Default: ``Retry()``.

    Raises:
        ConfigError: Arguments, variables or files that cannot be used; all problems at once. It is a ``ValueError``.
        RequestRefused: The batch system's limits say that such a job would be refused, or never start.
        PoolBroken: The pool's server could not be started.
        RuntimeError: A process of ``multiprocessing``, or a call, imports the script or module that makes the pool.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        cores: int | Literal["auto"] | _Unset = UNSET,
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
        system_options: Mapping[str, str | int | bool] | _Unset = UNSET,
        submit_host: str | _Unset | None = UNSET,
        arrays: bool | int | _Unset = UNSET,
        submit_by: Literal["stdin", "file"] | _Unset = UNSET,
        setup: str | Sequence[str] | _Unset = UNSET,
        min_workers: int | _Unset = UNSET,
        idle_timeout: str | float | datetime.timedelta | _Unset | None = UNSET,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | _Unset | None = UNSET,
        max_memory_growth: str | int | _Unset | None = UNSET,
        name: str | _Unset | None = UNSET,
        log_directory: str | os.PathLike[str] | _Unset | None = UNSET,
        python: str | os.PathLike[str] | Sequence[str] | _Unset = UNSET,
        container: str | os.PathLike[str] | _Unset | None = UNSET,
        container_options: str | Sequence[str] | _Unset = UNSET,
        environment: Mapping[str, str] | _Unset = UNSET,
        addresses: str | Sequence[str] | _Unset = UNSET,
        retry: Retry | None = None,
    ) -> None:
        given = {
            key: value
            for key, value in locals().items()
            if key not in ("self", "initializer", "initargs", "retry", "__class__") and value is not UNSET
        }
        refuse_while_imported()
        if max_workers is None:
            del given["max_workers"]
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not isinstance(retry, Retry | None):
            raise TypeError("retry must be a jobpool.Retry")
        self._settings = resolve.resolve(given)
        resolve.require(self._settings.system, self._settings.submit_host)
        self._to = destination(self._settings)
        working_directory = os.getcwd()  # noqa: PTH109 - as text: it travels
        try_script(self._settings, working_directory)
        tell_what_runs(self._settings)
        logs = try_to_write(self._settings.log_directory, self._settings.name)
        self._initializer = initializer, initargs
        self._shutdown = False
        self._lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(discard, logs)
            prepared = None if initializer is None else dumps_initializer(initializer, initargs, self._to)
            _sweep()
            self._directory = PoolDirectory.create(self._settings.name)
            self._connection = self._start(prepared, retry or Retry(), working_directory, logs)
            undo.pop_all()
        self._kind = CallKind(self._settings.request, self._settings.max_workers)
        # Called when this object is collected, or at the interpreter's exit. It refers to the connection, not to this
        # object.
        self._finalizer = weakref.finalize(self, finish_forgotten, self._connection)
        choice = self._settings.choice
        news = (choice,) if choice and first_time(choice) else ()
        for note in (*news, *self._settings.notes):
            WaitingLine().say(note, warning=False)

    def _start(self, initializer: bytes | None, retry: Retry, working_directory: str, logs: Path | None) -> Connection:
        server = None
        try:
            Spec(
                settings=self._settings,
                system=self._settings.system,
                initializer=initializer,
                retry=retry,
                sys_path=tuple(os.path.abspath(entry or os.getcwd()) for entry in sys.path),  # noqa: PTH100, PTH109
                working_directory=working_directory,
                umask=_umask(),
                log_level=logging.getLogger().level,
                versions=versions(),
                own_logs=logs,
            ).save(self._directory)
            server = start_server(self._directory)
            connection = Connection(self._directory, server)
            connection.open()
        except BaseException as error:
            if server is not None:
                server.terminate()
            self._directory.retire(keep_logs=True)
            if isinstance(error, SHORTAGE) and not isinstance(error, JobPoolError):
                raise PoolBroken(f"the pool's server could not be started: {error}") from error
            raise
        return connection

    @property
    def settings(self) -> resolve.Settings:
        """What the pool is configured with, and where each value came from."""
        return self._settings

    def _make_another(self, **keywords: Any) -> JobPoolExecutor:
        return JobPoolExecutor(**keywords)

    def __repr__(self) -> str:
        state = "shut down" if self._shutdown else self._settings.system
        return f"<JobPoolExecutor {self.name} ({state}), at most {self._settings.max_workers} workers>"


_told: set[str] = set()
"""Messages on directories of other pools that this process has shown; each is shown once."""


def _sweep() -> None:
    """Remove what dead pools have left, and report directories that could not be read."""
    for damaged in PoolDirectory.sweep():
        if (text := str(damaged)) not in _told:
            _told.add(text)
            WaitingLine().say(text, warning=True)


def _umask() -> int:
    # os.umask() can only be read by changing it, which another thread might notice.
    status = Path("/proc/self/status").read_text()
    return next((int(line.split()[1], 8) for line in status.splitlines() if line.startswith("Umask:")), 0o077)
