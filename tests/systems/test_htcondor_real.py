"""Pools on a real HTCondor: what works on SLURM works there, and each end is told in HTCondor's own words.

Run it with ``--system=htcondor``, as an ordinary user: HTCondor takes no jobs from root.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import Gate, running
from scripts import started
from site_htcondor import HTCondorSite, lab_or_skip
from sites import PATIENCE, agents

import jobpool
from jobpool import JobPoolExecutor, Retry
from jobpool.model.errors import CallOutOfMemory, JobLost, JobsFailed, RequestRefused
from jobpool.testing import wait_until

pytestmark = pytest.mark.real("htcondor")

JOBPOOL = str(Path(sys.executable).with_name("jobpool"))


@contextmanager
def a_site(**options: Any) -> Iterator[HTCondorSite]:
    with (
        tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place,
        lab_or_skip(Path(place) / "pool", **options) as lab,
    ):
        yield HTCondorSite(lab)


@pytest.fixture(scope="module")
def _lab() -> Iterator[HTCondorSite]:
    with a_site() as site:
        yield site


@pytest.fixture
def site(_lab: HTCondorSite, home: Path) -> Iterator[HTCondorSite]:
    with _lab.entered():
        yield _lab
        _lab.lab.cancel_jobs(PATIENCE)


def told(pool: JobPoolExecutor, words: str) -> bool:
    return any(words in text for text, _ in pool.status().notices)


def square(number: int) -> int:
    return number * number


# Work


def leave_a_trace(directory: str, number: int) -> tuple[int, int]:
    import os
    import time
    import uuid
    from pathlib import Path

    Path(directory, f"{number}-{uuid.uuid4().hex}").touch()
    time.sleep(0.05)
    return number * number, int(os.environ["OMP_NUM_THREADS"])


@pytest.mark.timeout(240)
def test_100_submits_are_100_executions(site: HTCondorSite, tmp_path: Path) -> None:
    with site.pool(8, cores=2, memory="150 MiB", walltime="10 min") as pool:
        futures = [pool.submit(leave_a_trace, str(tmp_path), number) for number in range(100)]
        assert [future.result(PATIENCE) for future in futures] == [(number**2, 2) for number in range(100)]
        jobs = {future.job.id for future in futures if future.job is not None}
        assert all(re.fullmatch(r"\d+\.\d+", job) for job in jobs)
    assert len(list(tmp_path.iterdir())) == 100


def test_eight_jobs_run_at_once(site: HTCondorSite, gate: Gate) -> None:
    with site.pool(8, workers_per_job=1) as pool:
        futures = [pool.submit(gate.hold(), number) for number in range(8)]
        gate.wait_for(8)
        for future in futures:
            running(future)
        assert len({future.job.id for future in futures if future.job is not None}) == 8
        gate.open()
        assert [future.result(PATIENCE) for future in futures] == list(range(8))


def test_two_workers_share_one_job(site: HTCondorSite, gate: Gate) -> None:
    with site.pool(2, workers_per_job=2, cores=2) as pool:
        futures = [pool.submit(gate.hold(), number) for number in range(2)]
        gate.wait_for(2)
        for future in futures:
            running(future)
        [job] = {future.job.id for future in futures if future.job is not None}
        assert site.lab.run("condor_q", job, "-af", "RequestCpus").stdout == "4\n"
        gate.open()


def test_a_log_directory_of_the_users_fills_while_jobs_run(site: HTCondorSite, gate: Gate, tmp_path: Path) -> None:
    place = tmp_path / "my logs $(HOME) 100%"
    place.mkdir()
    with site.pool(1, log_directory=str(place), setup=["echo this is setup"]) as pool:
        future = pool.submit(gate.hold(), 1)
        running(future)
        assert future.job is not None
        logs = list(place.rglob(f"*-{future.job.id}.log"))
        assert len(logs) == 1
        assert "this is setup" in logs[0].read_text()
        gate.open()


def test_a_pool_that_sends_files_has_its_log_at_once(site: HTCondorSite, gate: Gate, tmp_path: Path) -> None:
    options = {"should_transfer_files": "YES"}
    with site.pool(1, log_directory=str(tmp_path), setup=["echo sent"], system_options=options) as pool:
        future = pool.submit(gate.hold(), str(Path.cwd()))
        running(future)
        assert future.job is not None
        [log] = tmp_path.rglob(f"*-{future.job.id}.log")
        assert wait_until(lambda: "sent" in log.read_text(), PATIENCE)
        gate.open()
        assert future.result(PATIENCE) == str(Path.cwd())


# Ends, in HTCondor's words


def use_memory(mebibytes: int) -> None:
    import time

    held = bytearray(mebibytes * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    time.sleep(300)


def test_killed_for_memory_by_the_policy_of_the_pool(site: HTCondorSite) -> None:
    # The pool asks for little and does not watch its calls: HTCondor does.
    with site.pool(1, job_skip=["request_memory"], job_extra=["request_memory = 200MB"], retry=Retry(lost=0)) as pool:
        error = pool.submit(use_memory, 400).exception(2 * PATIENCE)
        assert isinstance(error, CallOutOfMemory), error
        assert "memory usage exceeded request_memory" in str(error.words)


def ended_by(pool: JobPoolExecutor, words: str) -> bool:
    return any(job.state == "ended" and words in job.reason for job in pool.status().jobs)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_call_that_its_walltime_ends_runs_again_with_more(site: HTCondorSite) -> None:
    with site.pool(1, walltime="15 s") as pool:
        future = pool.submit(time.sleep, 18)
        assert wait_until(lambda: ended_by(pool, "timed out: The job exceeded allowed job duration of 00:15"), PATIENCE)
        assert told(pool, "it runs again with walltime=30 s")
        future.result(2 * PATIENCE)


def test_a_job_that_htcondor_stops_at_its_walltime_is_told_so(site: HTCondorSite) -> None:
    # The agent, which keeps the time itself, is frozen: HTCondor ends the job.
    with site.pool(1, walltime="12 s") as pool:
        future = pool.submit(time.sleep, 300)
        running(future)
        for _, process in agents(""):
            process.suspend()
        assert wait_until(lambda: ended_by(pool, "timed out: The job exceeded allowed job duration of 00:12"), 100)
        future.cancel()


def test_removed_by_hand(site: HTCondorSite) -> None:
    with site.pool(1, retry=Retry(lost=0)) as pool:
        future = pool.submit(time.sleep, 300)
        running(future)
        assert future.job is not None
        site.lab.run("condor_rm", future.job.id)
        error = future.exception(PATIENCE)
        assert isinstance(error, JobLost), error
        assert "via condor_rm (by user" in str(error.words)


def test_refused_by_a_rule_of_the_site(home: Path) -> None:
    rules = {
        "SUBMIT_REQUIREMENT_NAMES": "Group",
        "SUBMIT_REQUIREMENT_Group": "AcctGroup isnt undefined",
        "SUBMIT_REQUIREMENT_Group_REASON": '"set accounting_group (site policy)"',
    }
    with a_site(nodes=1, settings=rules) as site, site.entered():
        with site.pool(1) as pool:
            error = pool.submit(square, 1).exception(PATIENCE)
            assert "set accounting_group (site policy)" in str(getattr(error, "words", error))
        with site.pool(1, account="lab") as pool:
            assert pool.submit(square, 3).result(PATIENCE) == 9


def test_more_jobs_than_a_user_may_have_wait_outside(home: Path) -> None:
    with a_site(nodes=1, settings={"MAX_JOBS_PER_OWNER": "2"}) as site, site.entered():
        assert jobpool.check(**site.keywords).ok
        with site.pool(4, workers_per_job=1) as pool:
            futures = [pool.submit(square, number) for number in range(20)]
            assert [future.result(PATIENCE) for future in futures] == [number**2 for number in range(20)]


def test_what_no_machine_can_hold_is_refused_at_once(site: HTCondorSite) -> None:
    impossible: dict[str, Any]
    for impossible in ({"memory": "4 TiB"}, {"cores": 500}, {"gpus": 1}):
        with pytest.raises(RequestRefused):
            site.make(**impossible)


def test_a_constraint_that_no_machine_meets_says_why_it_waits(site: HTCondorSite) -> None:
    with site.pool(1, constraint='TARGET.Machine == "nosuch"') as pool:
        future = pool.submit(square, 1)
        waiting = [("no match found", "better-analyze")]

        def says_so() -> bool:
            reasons = [job.reason for job in pool.status().jobs]
            return all(any(reason == said for reason in reasons) for said, _ in waiting)

        assert wait_until(says_so, PATIENCE), pool.status().jobs
        future.cancel()


def test_a_directory_that_is_gone_is_refused_with_its_name(site: HTCondorSite, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    os.chdir(gone)
    try:
        with site.pool(1) as pool:
            gone.rmdir()
            error = pool.submit(square, 1).exception(PATIENCE)
    finally:
        os.chdir(before)
    assert isinstance(error, RequestRefused | JobsFailed), error
    assert str(gone) in str(error)


# Nothing is left


IDLE = """\
    import time
    from jobpool import JobPoolExecutor

    if __name__ == "__main__":
        pool = JobPoolExecutor(2)
        futures = [pool.submit(time.sleep, 300) for number in range(6)]
        print("submitted", flush=True)
        time.sleep(300)
    """


@pytest.mark.slow
@pytest.mark.timeout(200)  # 50 s: a job that finds no server looks for it a while
@pytest.mark.parametrize("killed", ["script", "server", "both"])
def test_pending_jobs_of_a_killed_pool_end(site: HTCondorSite, tmp_path: Path, killed: str) -> None:
    site.lab.negotiator.freeze()
    try:
        with started(site, tmp_path / "script", IDLE) as script:
            assert wait_until(lambda: len(site.jobs_in_queue(script.pool)) > 0, PATIENCE)
            server = script.server()
            if killed in ("server", "both"):
                server.kill()
            if killed in ("script", "both"):
                script.process.kill()
                script.process.wait()
            site.lab.negotiator.thaw()
            if killed == "server":
                assert wait_until(lambda: not site.jobs_in_queue(script.pool), PATIENCE)
                script.process.kill()
                script.process.wait()
            script.nothing_left()
    finally:
        site.lab.negotiator.thaw()


# Faults


def test_the_schedd_stops_and_comes_back(site: HTCondorSite, gate: Gate) -> None:
    with site.pool(2, workers_per_job=1) as pool:
        held = [pool.submit(gate.hold(), number) for number in range(2)]
        gate.wait_for(2)
        site.lab.schedd.kill()
        more = [pool.submit(square, number) for number in range(10)]
        gate.open()
        assert [future.result(PATIENCE) for future in [*held, *more]] == [0, 1, *(number**2 for number in range(10))]
        site.lab.schedd.start()
        site.lab.wait_until_answering()
        assert pool.submit(square, 7).result(PATIENCE) == 49


def test_the_schedd_is_frozen_while_jobs_are_asked_for(site: HTCondorSite) -> None:
    with site.pool(2) as pool:
        site.lab.schedd.freeze()
        try:
            futures = [pool.submit(square, number) for number in range(4)]
            # A command waits for its answer: the moment is over in which the pool asks.
            assert wait_until(lambda: any("condor_submit" in words(each) for each in psutil.process_iter()), PATIENCE)
        finally:
            site.lab.schedd.thaw()
        assert [future.result(2 * PATIENCE) for future in futures] == [number**2 for number in range(4)]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_pending_job_that_is_held_is_told_and_replaced(site: HTCondorSite) -> None:
    site.lab.negotiator.freeze()
    try:
        with site.pool(1) as pool:
            future = pool.submit(square, 4)
            [job] = site.wait_for_jobs(pool.name, 1)
            site.lab.run("condor_hold", job)
            assert wait_until(lambda: told(pool, f"'condor_release {job}' lets it go on"), PATIENCE), (
                pool.status().notices
            )
            site.lab.negotiator.thaw()
            assert future.result(PATIENCE) == 16
    finally:
        site.lab.negotiator.thaw()


def test_a_running_job_that_is_held_has_ended_and_its_call_runs_elsewhere(site: HTCondorSite, gate: Gate) -> None:
    with site.pool(1) as pool:
        future = pool.submit(gate.hold(), "again")
        gate.wait_for(1)
        assert future.job is not None
        first = future.job.id
        site.lab.run("condor_hold", first)
        gate.wait_for(2)
        gate.open()
        assert future.result(PATIENCE) == "again"
        site.lab.run("condor_release", first, check=False)
        assert wait_until(lambda: first not in site.jobs_in_queue(pool.name), PATIENCE)
        assert gate.arrived() == 2


def test_a_job_whose_machine_is_lost_does_not_run_again(site: HTCondorSite, gate: Gate) -> None:
    with site.pool(1) as pool:
        future = pool.submit(gate.hold(), "again")
        gate.wait_for(1)
        assert future.job is not None
        first = future.job.id
        [node] = site.lab.run("condor_q", first, "-af", "RemoteHost").stdout.split()
        site.lab.node_down(node.partition("@")[2])
        try:
            gate.wait_for(2)  # on the other machine
            gate.open()
            assert future.result(PATIENCE) == "again"
        finally:
            site.lab.node_up(node.partition("@")[2])
        assert wait_until(lambda: first not in site.jobs_in_queue(pool.name), PATIENCE)
        told = site.lab.run("condor_history", first, "-af", "NumJobStarts").stdout
        assert told.split() in ([], ["1"])
        assert gate.arrived() == 2


def test_excluded_machines_are_not_used(site: HTCondorSite) -> None:
    first, second = site.lab.nodes
    with site.pool(1, exclude=[first]) as pool:
        future = pool.submit(square, 2)
        assert future.result(PATIENCE) == 4
        assert future.job is not None
        assert future.job.node == second


# Tools


def test_check_and_explain(site: HTCondorSite) -> None:
    verdict = jobpool.check(**site.keywords, cores=4, memory="2 GiB", walltime="1h", max_workers=8)
    assert verdict.ok, verdict
    assert verdict.unknown == ()
    told = str(jobpool.explain(**site.keywords, cores=4, memory="2 GiB", walltime="1h"))
    for line in ("request_cpus = 4", "request_memory = 2304MB", "allowed_job_duration = 3600"):
        assert line in told
    assert "16 cores" in told


def test_doctor_finds_no_fault(site: HTCondorSite, tmp_path: Path) -> None:
    done = subprocess.run(
        [JOBPOOL, "doctor"],
        env={**os.environ, "JOBPOOL_SCHEDULER": "htcondor", "JOBPOOL_ADDRESSES": "127.0.0.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout
    assert "ok " in done.stdout
    assert not re.search(r"cannot be (asked|read)", done.stdout), done.stdout


# Inside of jobs


def pool_inside() -> tuple[list[int], str]:
    from jobpool import JobPoolExecutor

    with JobPoolExecutor(1, scheduler="htcondor", addresses=["127.0.0.1"]) as pool:
        futures = [pool.submit(pow, number, 2) for number in range(5)]
        values = [future.result(60) for future in futures]
        assert futures[0].job is not None
        return values, futures[0].job.id


def submit_inside(directory: str) -> str:
    import subprocess

    text = "executable = /bin/echo\ntransfer_executable = false\narguments = hello\nrequest_memory = 64MB\n"
    text += f"should_transfer_files = NO\noutput = {directory}/out\nqueue\n"
    done = subprocess.run(["condor_submit", "-terse"], input=text, capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def test_a_pool_from_inside_of_a_job_and_a_submit_of_ones_own(site: HTCondorSite, tmp_path: Path) -> None:
    with site.pool(1) as pool:
        values, inner = pool.submit(pool_inside).result(2 * PATIENCE)
        assert values == [0, 1, 4, 9, 16]
        own = pool.submit(submit_inside, str(tmp_path)).result(PATIENCE)
        assert own.partition(".")[0] != inner.partition(".")[0]
        assert wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text(), PATIENCE)
        assert (tmp_path / "out").read_text() == "hello\n"
