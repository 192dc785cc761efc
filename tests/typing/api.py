"""The public face as a type checker sees it. mypy reads this file ("make lint"); nothing runs it.

``assert_type`` fails where a type is another one, also where it is wider: what would be ``Any`` to a user is noticed. A
``type: ignore`` that is not needed fails too: each stands for a mistake that the checker must find.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import multiprocessing.pool
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

from dask.distributed import Client
from matplotlib.figure import Figure

import jobpool
from jobpool import (
    BatchSystemUnavailable,
    CallCrashed,
    CallFailed,
    CallOutOfMemory,
    CallTimedOut,
    ConfigError,
    Duration,
    JobFuture,
    JobLost,
    JobPoolError,
    JobPoolExecutor,
    JobStatus,
    Memory,
    NotPicklable,
    Pool,
    PoolBroken,
    PoolStatus,
    Profile,
    Proposal,
    RequestRefused,
    Retry,
    check,
    explain,
    explain_cluster,
    explain_script,
)


def length(text: str, repeat: int = 1) -> int:
    return len(text) * repeat


def prepare(path: str) -> None: ...


# Making a pool

with JobPoolExecutor() as pool:
    assert_type(pool, JobPoolExecutor)

pool = JobPoolExecutor(
    20,
    cores=2,
    memory="8 GiB",
    walltime=datetime.timedelta(hours=5),
    gpus=1,
    scheduler="slurm",
    initializer=prepare,
    initargs=("/data",),
    retry=Retry(lost=3, max_memory="64 GiB"),
    job_extra=["--mail-type=END"],
    environment={"OMP_WAIT_POLICY": "passive"},
    log_directory=Path("logs"),
)
JobPoolExecutor(memory=8 * 2**30, walltime=3600.0, log_directory="logs", idle_timeout=None)
JobPoolExecutor(python=["apptainer", "exec", "image.sif", "python"], arrays=False, system_options={"slots": 2})
JobPoolExecutor(python=Path("/opt/python"), arrays=10)
JobPoolExecutor(container="image.sif", container_options=["--bind=/data"])
JobPoolExecutor(submit_host="login1")
JobPoolExecutor(container=Path("image.sif"))
JobPoolExecutor(python=3)  # type: ignore[arg-type]
JobPoolExecutor(arrays="no")  # type: ignore[arg-type]
JobPoolExecutor(no_such_keyword=1)  # type: ignore[call-arg]
executor: concurrent.futures.Executor = pool


# Calls

future = pool.submit(length, "abc", repeat=2)
assert_type(future, JobFuture[int])
assert_type(future.result(timeout=1.0), int)
assert_type(future.exception(), BaseException | None)
assert_type(future.cancel(), bool)
assert_type(future.logs(), str)
standard: concurrent.futures.Future[int] = future
pool.submit(length, 3)  # type: ignore[arg-type]
pool.submit(length, "abc", again=2)  # type: ignore[call-arg]

if future.job is not None:
    assert_type(future.job.id, str)
    assert_type(future.job.node, str)
    assert_type(future.job.log, Path | None)
    assert_type(future.job.as_data(), dict[str, str | None])
if future.usage is not None:
    assert_type(future.usage.wall, float)
    assert_type(future.usage.cpu, float)
    assert_type(future.usage.peak_memory, Memory)
    assert_type(future.usage.threads, int)
    assert_type(future.usage.as_data(), dict[str, float])
_ = future.job.id  # type: ignore[union-attr]

results = pool.map(length, ["a", "bc"], [1, 2], chunksize=10, buffersize=100, progress=True, timeout=60.0)
assert_type(results, Iterator[int])
for done in concurrent.futures.as_completed([future]):
    assert_type(done.result(), int)

pool.shutdown(wait=True, cancel_futures=True)
assert_type(pool.scale(3), None)
pool.scale(None)
pool.terminate_workers()
pool.kill_workers()


# Views

view = pool.with_request(memory="64 GiB", timeout="10 min")
assert_type(view.submit(length, "abc"), JobFuture[int])
assert_type(view.map(length, ["abc"]), Iterator[int])
assert_type(view.pool.submit(length, "abc"), JobFuture[int])
assert_type(view.pool.with_request(gpus=1).submit(length, "abc"), JobFuture[int])
assert_type(view.pool.measure(length, ["abc"]), Profile)
view.pool.scale(2)
assert_type(view.request.memory, Memory | None)
assert_type(view.request.walltime, Duration | None)
assert_type(view.with_request(gpus=1).submit(length, "abc").result(), int)
assert_type(view.measure(length, ["abc"]), Profile)
with view as entered:
    assert_type(entered.submit(length, "abc"), JobFuture[int])


# What a pool tells

assert_type(pool.name, str)
assert_type(pool.log_directory, Path)
assert_type(pool.logs(future.job, tail=10), str)
assert_type(pool.logs("server"), str)
assert_type(pool.report("run.html"), Path)
assert_type(pool.settings.max_workers, int)
assert_type(pool.dashboard_link, str | None)
client: Client = pool.client

status = pool.status(start=True)
assert_type(status, PoolStatus)
assert_type(status.name, str)
assert_type(status.system, str)
assert_type(status.host, str)
assert_type(status.pid, int)
assert_type(status.logs, Path)
assert_type(status.calls.waiting + status.calls.running + status.calls.done + status.calls.failed, int)
assert_type(status.rate, float | None)
assert_type(status.left, float | None)
assert_type(status.held, int | None)
assert_type(status.as_of, float | None)
assert_type(status.jobs, tuple[JobStatus, ...])
for job in status.jobs:
    assert_type(job.id, str | None)
    assert_type(job.key, tuple[str, int])
    assert_type(job.node, str | None)
    assert_type(job.age, float)
    assert_type(job.workers + job.busy, int)
    assert_type(job.log, Path | None)
    assert_type(job.starts, float | None)
    _ = job.state == "pending"
    _ = job.state == "waits"  # type: ignore[comparison-overlap]
for function in status.functions:
    assert_type(function.name, str)
    assert_type(function.seconds, float | None)
    assert_type(function.largest_memory, int | None)
for request in status.requests:
    assert_type(request.memory, int | None)
    assert_type(request.core_hours, float)
    assert_type(request.pause, float)
for text, warning in status.notices:
    assert_type(text, str)
    assert_type(warning, bool)
assert_type(status.as_data(), dict[str, Any])
assert_type(PoolStatus.from_data(status.as_data()), PoolStatus)
_ = status.phase == "asleep"  # type: ignore[comparison-overlap]
_ = status["calls"]  # type: ignore[index]
status.pid = 3  # type: ignore[misc]


# Tools

verdict = check(start=True, cores=4, memory="100 GiB")
assert_type(verdict.ok, bool)
assert_type(verdict.partition, str | None)
assert_type(verdict.starts_in, Duration | None)
for problem in verdict.problems:
    assert_type(problem.setting, str)
    assert_type(problem.nearest, int | Duration | Memory | None)
for fit in verdict.fits:
    assert_type(fit.partition, str)
    assert_type(fit.idle_cpus, int | None)
assert_type(verdict.as_data(), dict[str, Any])
assert_type(pool.check(start=True).ok, bool)

explained = explain(cores=4)
assert_type(explained.directives, tuple[tuple[str, str], ...])
for node in explained.nodes:
    assert_type(node.partition, str)
    assert_type(node.call.memory, Memory | None)
    assert_type(node.call.deadline, Duration | None)
assert_type(explained.as_data(), dict[str, Any])
assert_type(view.explain().notes, tuple[str, ...])
assert_type(explain_script("#SBATCH -n 1").problems, tuple[str, ...])
assert_type(explain_cluster({"cores": 4}).pitfalls, tuple[str, ...])

profile = pool.measure(length, ["a", "bc"], cores=4, memory="16 GiB", repeat=False)
assert_type(profile, Profile)
assert_type(profile.memory.most, float)
assert_type(profile.growth.leaks, bool)
assert_type(profile.plot(), Figure)
proposal = profile.request(calls=1000)
assert_type(proposal, Proposal)
assert_type(proposal.cores, int)
assert_type(proposal.memory, Memory)
assert_type(proposal.walltime, Duration)
JobPoolExecutor(**proposal.keywords())

assert_type(Memory.parse("8 GiB"), Memory)
assert_type(Duration.parse("5h"), Duration)
number: int = Memory.parse("8 GiB")
seconds: float = Duration.parse("5h")


# Errors

try:
    future.result()
except CallTimedOut as error:
    assert_type(error.limit, str | None)
    timed_out: TimeoutError = error
except CallOutOfMemory as error:
    assert_type(error.used, str | None)
    out_of_memory: MemoryError = error
except (CallCrashed, JobLost) as error:
    assert_type(error.signal, str | None)
    assert_type(error.exit_code, int | None)
    broken: concurrent.futures.BrokenExecutor = error
except NotPicklable as error:
    assert_type(error.message, str)
except (BatchSystemUnavailable, ConfigError) as error:
    assert_type(error.problems, list[str])
    value_error: ValueError = error
except (CallFailed, PoolBroken, RequestRefused, JobPoolError) as error:
    assert_type(error.job, str | None)
    assert_type(error.node, str | None)
    assert_type(error.words, str | None)
    assert_type(error.ending, str | None)
    assert_type(error.log, str | None)
    assert_type(error.tail, str | None)
    assert_type(error.advice, str | None)
    assert_type(error.details, dict[str, Any])
    _ = error.nodes  # type: ignore[attr-defined]


# The other faces

with Pool(4, prepare, ("/data",), 100, memory="2 GiB") as processes:
    assert_type(processes.executor, JobPoolExecutor)
    assert_type(processes.map(length, ["a", "bc"]), list[int])
    assert_type(processes.apply(length, ("a",)), int)
    stdlib: multiprocessing.pool.Pool = processes

assert_type(jobpool.register_joblib(), None)
