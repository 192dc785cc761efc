"""What a user sees when workers, jobs, or the way to them end: the call runs again, or its error says why."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from gates import Gate, running
from scripts import started
from sites import PATIENCE, FakeSite, Site, agents

from jobpool import JobFuture, JobPoolExecutor, Retry
from jobpool.model.errors import (
    CallCrashed,
    CallOutOfMemory,
    CallTimedOut,
    ConfigError,
    JobLost,
    JobPoolError,
    JobsFailed,
    PoolBroken,
    RequestRefused,
)
from jobpool.testing import wait_until


def square(number: int) -> int:
    return number * number


# A call that crashes


def segfault() -> None:
    print("here it comes")
    ctypes.string_at(0)


def leave(code: int) -> None:
    os._exit(code)


@pytest.mark.every_dialect
def test_a_call_that_crashes_costs_itself_alone(pool: JobPoolExecutor) -> None:
    before = [pool.submit(square, number) for number in range(20)]
    crashing = pool.submit(segfault)
    after = [pool.submit(square, number) for number in range(20)]
    error = crashing.exception(PATIENCE)
    assert isinstance(error, CallCrashed)
    assert isinstance(error, BrokenProcessPool)
    assert error.signal == "SIGSEGV"
    assert error.job
    assert error.node
    assert "here it comes" in str(error.tail)
    assert [future.result(PATIENCE) for future in before] == [number**2 for number in range(20)]
    assert [future.result(PATIENCE) for future in after] == [number**2 for number in range(20)]
    assert pool.submit(square, 3).result(PATIENCE) == 9


def test_a_call_that_leaves_says_with_which_code(pool: JobPoolExecutor) -> None:
    error = pool.submit(leave, 7).exception(PATIENCE)
    assert isinstance(error, CallCrashed)
    assert error.exit_code == 7
    assert error.signal is None


def test_a_call_that_crashes_once_runs_again(pool: JobPoolExecutor, tmp_path: Path) -> None:
    def crashes_first() -> str:
        try:
            (tmp_path / "was-here").touch(exist_ok=False)
        except FileExistsError:
            return "second time"
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    assert pool.submit(crashes_first).result(PATIENCE) == "second time"


# A job that ends under a call


@pytest.mark.every_dialect
def test_calls_of_a_job_that_ends_run_again(site: Site, gate: Gate, how: str) -> None:
    with site.pool(1) as pool:
        # Of a job's walltime the call had a part only: one that had all of it would not run again.
        pool.submit(time.sleep, 0.5).result(PATIENCE)
        held = pool.submit(gate.hold(), "held")
        waiting = [pool.submit(square, number) for number in range(5)]
        gate.wait_for(1)
        running(held)
        site.end_job(held.job.id, how)  # type: ignore[arg-type,union-attr]
        gate.wait_for(2)  # it came there a second time
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert [future.result(PATIENCE) for future in waiting] == [number**2 for number in range(5)]


def begin(directory: str, number: int) -> None:
    import time
    import uuid
    from pathlib import Path

    Path(directory, f"{number}-{uuid.uuid4().hex}").touch()
    time.sleep(600)


@pytest.mark.every_dialect
def test_a_call_that_may_run_once_and_has_begun_does_not_run_again(site: Site, tmp_path: Path) -> None:
    """Its agent hears of the end before it comes, and says a last word; that gives nothing back that has begun."""
    with site.pool(8, workers_per_job=1, retry=Retry(lost=0)) as pool:
        futures = [pool.submit(begin, str(tmp_path), number) for number in range(8)]
        for future in futures:
            running(future)
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 8, PATIENCE)
        for future in futures:
            assert future.job is not None
            if site.is_batch:
                site.end_job(future.job.id, "cancelled")
            else:
                for id, process in agents(future.job.id):
                    if id == future.job.id:
                        process.terminate()
        for future in futures:
            assert isinstance(future.exception(PATIENCE), JobLost)
    assert len(list(tmp_path.iterdir())) == 8


def kill_agent() -> None:
    """Kill the process that the fork-server belongs to."""
    server = os.getppid()
    os.kill(int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)


@pytest.mark.every_dialect
def test_a_call_that_kills_its_agent_at_once_costs_itself_alone(site: Site) -> None:
    with site.pool(1, retry=Retry(lost=1)) as pool:
        error = pool.submit(kill_agent).exception(PATIENCE)
        assert isinstance(error, JobLost)
        assert pool.submit(square, 3).result(PATIENCE) == 9


def test_calls_of_a_fork_server_that_is_killed_run_again(site: Site, gate: Gate) -> None:
    def parent() -> int:
        return os.getppid()

    with site.pool(1) as pool:
        server = pool.submit(parent).result(PATIENCE)
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        os.kill(server, signal.SIGKILL)
        gate.wait_for(2)
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert pool.submit(parent).result(PATIENCE) != server


@pytest.fixture(params=["cancelled", "timeout", "preempted", "node failed", "killed"])
def how(request: pytest.FixtureRequest, site: Site) -> str:
    if request.param not in site.endings:
        pytest.skip(f"not at this site: {request.param}")
    return str(request.param)


def use_up(pool: JobPoolExecutor, held: Future[Any]) -> str:
    """Wait until a call has had nearly all of its job's time, and return the job's id."""
    running(held)
    began = time.monotonic()

    def nearly_all() -> bool:
        (age,) = (job.age for job in pool.status().jobs if job.state == "serving")
        return time.monotonic() - began > 0.95 * age

    assert wait_until(nearly_all, PATIENCE)
    assert isinstance(held, JobFuture)
    assert held.job is not None
    return held.job.id


def test_a_call_that_had_the_longest_walltime_is_not_run_again(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1, walltime="1h") as pool:
        held = pool.submit(gate.hold(), "held")
        job = use_up(pool, held)
        fake_site.end_job(job, "timeout")
        error = held.exception(PATIENCE)
        assert isinstance(error, CallTimedOut)
        assert isinstance(error, TimeoutError)
        assert (error.job, error.limit) == (job, "1 h")
        assert "TIMEOUT TimeLimit" in str(error.words)
        assert "DUE TO TIME LIMIT" in str(error.tail)
        assert error.advice


def test_a_call_that_had_a_whole_walltime_gets_a_longer_one(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1, walltime="1h", partition="long") as pool:
        held = pool.submit(gate.hold(), "held")
        fake_site.end_job(use_up(pool, held), "timeout")
        gate.wait_for(2)
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert any("walltime=2 h (before: 1 h)" in text for text, _ in pool.status().notices)
    asked = [word for command in fake_site.cluster.submits for word in command.stdin.splitlines()]
    assert [line for line in asked if "--time" in line] == ["#SBATCH --time=0-01:00:00", "#SBATCH --time=0-02:00:00"]


def test_a_call_that_its_job_had_too_little_memory_for_gets_more(fake_site: FakeSite, gate: Gate) -> None:
    retry = Retry(memory_growth=2, max_memory="3 GiB")
    with fake_site.pool(1, memory="1 GiB", retry=retry) as pool:
        held, other = pool.submit(gate.hold(), "held"), pool.submit(square, 3)
        for arrived in (1, 2, 3):
            gate.wait_for(arrived)
            running(held)
            assert held.job is not None
            fake_site.cluster.end(held.job.id, "OUT_OF_MEMORY")
        error = held.exception(PATIENCE)
        assert isinstance(error, CallOutOfMemory)
        assert error.limit == "3 GiB for each worker, 3.25 GiB for the job"
        assert other.result(PATIENCE) == 9  # in a job of the size that was asked for
    asked = [line for command in fake_site.cluster.submits for line in command.stdin.splitlines()]
    assert {line for line in asked if "--mem" in line} == {f"#SBATCH --mem={mib}M" for mib in (1280, 2304, 3328)}


@pytest.mark.every_dialect
def test_one_lost_job_of_two_costs_the_calls_in_it_alone(batch_site: Site, gate: Gate) -> None:
    with batch_site.pool(2) as pool:
        held = [pool.submit(gate.hold(number), number) for number in range(2)]
        for number, future in enumerate(held):
            gate.wait_for(1, number)
            running(future)
        batch_site.end_job(held[0].job.id, "cancelled")  # type: ignore[union-attr]
        gate.wait_for(2, 0)
        gate.open()
        assert [future.result(PATIENCE) for future in held] == [0, 1]
        assert (gate.arrived(0), gate.arrived(1)) == (2, 1)


def test_a_job_that_pends_when_it_is_cancelled_by_hand_is_replaced(fake_site: FakeSite) -> None:
    fake_site.cluster.hold("Priority")
    with fake_site.pool(1) as pool:
        future = pool.submit(square, 5)
        (job,) = fake_site.wait_for_jobs(pool.name, 1)
        fake_site.cluster.release()
        fake_site.end_job(job, "cancelled")
        assert future.result(PATIENCE) == 25


def test_a_job_whose_processes_vanish_is_noticed(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        assert held.job is not None
        fake_site.cluster.kill_silently(held.job.id)
        gate.wait_for(2, seconds=2 * PATIENCE)
        gate.open()
        assert held.result(PATIENCE) == "held"


@pytest.mark.every_dialect
def test_a_job_that_is_dropped_without_trace_is_replaced(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        assert held.job is not None
        fake_site.cluster.forget(held.job.id)
        gate.wait_for(2, seconds=2 * PATIENCE)
        gate.open()
        assert held.result(PATIENCE) == "held"


# Jobs that never serve


def never_serve(site: Site, **keywords: object) -> JobPoolError:
    """Submit to a pool whose jobs cannot serve, and return the error of all its futures."""
    begin = time.monotonic()
    with site.pool(4, **keywords) as pool:
        futures = [pool.submit(square, number) for number in range(10)]
        errors = [future.exception(PATIENCE) for future in futures]
        assert all(isinstance(error, JobsFailed) for error in errors), errors
        # Two rounds of four: after the first the fault may be that of the one node where all of them ran.
        assert len(list(pool.log_directory.glob("*.log"))) <= 8
        with pytest.raises(PoolBroken):
            pool.submit(square, 1).result(PATIENCE)  # at the submit, or by the future of one that just got in
    assert time.monotonic() - begin < PATIENCE
    assert isinstance(errors[0], JobPoolError)
    return errors[0]


@pytest.mark.every_dialect
@pytest.mark.slow
def test_jobs_that_never_serve_break_the_pool_and_say_why(site: Site) -> None:
    error = never_serve(site, setup=["echo no such module >&2", "exit 3"])
    assert error.job
    assert error.log
    assert "no such module" in str(error.tail)
    assert "3" in str(error.words)


@pytest.mark.slow
def test_an_interpreter_that_is_none_breaks_the_pool(fake_site: FakeSite) -> None:
    error = never_serve(fake_site, python="/bin/false")
    assert error.job
    assert error.log
    assert "FAILED" in str(error.words)


@pytest.mark.slow
def test_a_log_directory_that_the_jobs_cannot_write_is_said(fake_site: FakeSite, tmp_path: Path) -> None:
    """The client can write it, the node cannot: as with a disk of the login node's own."""
    disk = tmp_path / "disk"
    with fake_site.pool(1, log_directory=disk / "logs") as pool:
        shutil.rmtree(disk)
        error = pool.submit(square, 1).exception(PATIENCE)
        assert isinstance(error, JobsFailed)
        assert "JobLaunchFailure" in str(error.words)


# What the batch system says no to


@pytest.mark.every_dialect
def test_a_request_that_cannot_run_is_refused_at_once(batch_site: Site) -> None:
    with pytest.raises(RequestRefused, match="memory"):
        batch_site.make(memory="4 TiB")
    if not batch_site.lists_partitions:
        return
    if not batch_site.has_partitions:
        with pytest.raises(ConfigError, match="nosuch"):
            batch_site.make(partition="nosuch")
        return
    with pytest.raises(RequestRefused, match="nosuch"):
        batch_site.make(partition="nosuch")
    with pytest.raises(RequestRefused, match="walltime"):
        batch_site.make(walltime="5h", partition="short")


@pytest.mark.every_dialect
def test_a_refused_submit_gives_its_words_to_all_futures(fake_site: FakeSite) -> None:
    words = "Batch job submission failed: Invalid account or account/partition combination specified"
    fake_site.cluster.refuse_submits(100, words)
    with fake_site.pool(2) as pool:
        futures = [pool.submit(square, number) for number in range(5)]
        for future in futures:
            error = future.exception(PATIENCE)
            assert isinstance(error, JobPoolError)
            assert words in str(error.words)
    assert len(fake_site.cluster.submits) <= 5


@pytest.mark.every_dialect
def test_a_submit_that_is_lost_is_looked_up_and_not_repeated(fake_site: FakeSite) -> None:
    fake_site.cluster.lose_answers(1, jobs_exist=True)
    with fake_site.pool(2) as pool:
        assert pool.submit(square, 4).result(PATIENCE) == 16
        assert len(fake_site.cluster.submits) == 1


@pytest.mark.slow
def test_a_submit_that_came_to_nothing_is_made_again(fake_site: FakeSite) -> None:
    fake_site.cluster.lose_answers(1, jobs_exist=False)
    with fake_site.pool(1) as pool:
        assert pool.submit(square, 4).result(PATIENCE) == 16
    assert len(fake_site.cluster.submits) == 2


@pytest.mark.every_dialect
def test_a_controller_that_is_down_for_a_while_costs_nothing(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        fake_site.cluster.controller = "down"
        asked = len(fake_site.cluster.commands)
        assert wait_until(lambda: len(fake_site.cluster.commands) > asked, PATIENCE)
        fake_site.cluster.controller = "up"
        gate.open()
        assert held.result(PATIENCE) == "held"
        assert gate.arrived() == 1


def test_the_queue_is_asked_once_at_a_time_for_all_jobs(fake_site: FakeSite) -> None:
    fake_site.cluster.start_delay = 3.0
    with fake_site.pool(4) as pool:
        assert list(pool.map(square, range(8))) == [number**2 for number in range(8)]
    polls = fake_site.cluster.polls
    assert len(fake_site.cluster.submits) == 1
    ends = [poll.ended for poll in polls]
    assert all(end is not None and end <= poll.began for end, poll in zip(ends, polls[1:], strict=False))


@pytest.mark.every_dialect
def test_a_job_that_waits_says_why(fake_site: FakeSite, tmp_path: Path) -> None:
    fake_site.cluster.hold("QOSMaxJobsPerUserLimit")
    code = """\
        from jobpool import JobPoolExecutor

        with JobPoolExecutor(1) as pool:
            print(pool.submit(abs, -3).result(60))
        """
    with started(fake_site, tmp_path / "script", code) as script:
        assert wait_until(lambda: "QOSMaxJobsPerUserLimit" in script.stderr, PATIENCE), script.stderr
        lines = [line for line in script.stderr.splitlines() if "QOSMaxJobsPerUserLimit" in line]
        assert len(lines) == 1
        fake_site.cluster.release()
        script.process.wait(PATIENCE)
        assert script.stdout == "3\n"
        script.nothing_left()


def test_a_job_killed_for_memory_is_known_by_its_log_where_slurm_says_failed(fake_site: FakeSite, gate: Gate) -> None:
    with fake_site.pool(1, retry=Retry(crashed=0)) as pool:
        held = pool.submit(gate.hold(), "held")
        gate.wait_for(1)
        running(held)
        assert held.job is not None
        assert held.job.log is not None
        with held.job.log.open("a") as log:  # what slurmstepd writes when the step has ended
            log.write("slurmstepd: error: StepId=1.batch exceeded memory limit (639320064 > 209715200), being killed\n")
        fake_site.cluster.end(held.job.id, "FAILED", exit_code=9)
        error = held.exception(PATIENCE)
        assert isinstance(error, CallOutOfMemory)
        assert error.limit == "200 MiB"
        assert "FAILED" in str(error.words)
        assert "exceeded memory limit" in str(error.words)


def test_what_is_done_when_a_job_is_told_to_end_is_not_done_again(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "done"

    def work(number: int, path: str = str(file)) -> None:
        time.sleep(0.004)
        with Path(path).open("a") as done:
            done.write(f"{number}\n")

    def done() -> list[str]:
        return file.read_text().splitlines() if file.exists() else []

    with site.pool(1) as pool:
        futures = [pool.submit(work, number) for number in range(500)]
        assert wait_until(lambda: len(done()) > 200, PATIENCE)
        job = futures[0].job
        assert job is not None
        [agent] = [process for id, process in agents(job.id) if id == job.id]
        agent.terminate()
        for future in futures:
            future.result(PATIENCE)
    # Again: the call that ran, and one whose result was on its way to the agent.
    assert len(done()) <= len(futures) + 2
