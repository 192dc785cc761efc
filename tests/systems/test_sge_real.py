"""Pools on a real Grid Engine: what works on SLURM works there, and each end is told in Grid Engine's own words.

Run it with ``--system=sge``, as root.
"""

from __future__ import annotations

import json
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

import pytest
from gates import Gate, running
from scripts import started
from site_sge import GridEngineSite, lab_or_skip
from sites import PATIENCE

import jobpool
from jobpool import JobPoolExecutor, Retry
from jobpool.model.errors import CallOutOfMemory, CallTimedOut, JobLost, RequestRefused
from jobpool.testing import wait_until
from jobpool.testing.labs.sge import GridEngineLab

pytestmark = pytest.mark.real("sge")


COMMAND = (sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate of the test's own, open at the end whatever happened."""
    (tmp_path / "gate").mkdir()
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture(scope="module")
def lab() -> Iterator[GridEngineLab]:
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place, lab_or_skip(Path(place) / "sge") as lab:
        yield lab


@pytest.fixture
def site(lab: GridEngineLab, home: Path) -> Iterator[GridEngineSite]:
    """A site whose master answers before and after, and whose queues take jobs."""
    site = GridEngineSite(lab)
    with site.entered():
        yield site
    lab.wait_until_answering()
    lab.run("qmod", "-e", "*", check=False)
    lab.cancel_jobs()


def square(number: int) -> int:
    return number * number


def notices(pool: JobPoolExecutor) -> str:
    return " ".join(text for text, _ in pool.status().notices)


# --------------------------------------------------------------------------------------- what the answers look like


def test_answers_have_the_form_of_the_recorded_ones(site: GridEngineSite) -> None:
    """A change of what a newer version says is seen here, where the recorded answers still read well."""
    lab = site.lab
    recorded = Path(__file__).parents[1] / "batch" / "golden" / "sge"

    def answer(file: str, situation: str) -> str:
        return str(json.loads((recorded / f"{file}.json").read_text())["answers"][situation]["stdout"])

    def tags(text: str) -> set[str]:
        return set(re.findall(r"<(\w+)", text))

    def first_words(text: str) -> set[str]:
        return {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("=")}

    submitted = lab.run("qsub", "-terse", "-N", "form-1", "-S", "/bin/sh", "-t", "1-2", input="exit 0\n").stdout
    assert re.fullmatch(r"\d+\.1-2:1\n", submitted)
    assert wait_until(lambda: lab.run("qacct", "-j", "form-1", check=False).returncode == 0, PATIENCE)
    assert first_words(lab.run("qacct", "-j", "form-1").stdout) == first_words(answer("qacct", "ok"))
    held = lab.run("qsub", "-terse", "-h", "-N", "form-2", "-S", "/bin/sh", input="exit 0\n").stdout.strip()
    listed = "limit by resource quota (2 slots)"
    assert tags(lab.run("qstat", "-xml", "-u", "*").stdout) <= tags(answer("qstat", listed))
    reasons = lab.run("qstat", "-xml", "-j", "form-2").stdout
    assert {"SME_message_list", "MES_message", "ULNG_value", "JB_job_number"} <= tags(reasons) & tags(
        answer("qstat_j", "held")
    )
    assert "<unknown_jobs" in lab.run("qstat", "-xml", "-j", "nosuch").stdout
    assert lab.run("qdel", held).stdout.endswith(f"has deleted job {held}\n")
    assert first_words(lab.run("qconf", "-sq", "all.q").stdout) == first_words(answer("limits", "queue all.q"))


# ------------------------------------------------------------------------------------------------------ what works


def test_a_hundred_submits_are_a_hundred_executions(site: GridEngineSite, tmp_path: Path) -> None:
    def work(number: int) -> int:
        import uuid

        (tmp_path / f"{number}-{uuid.uuid4().hex}").touch()
        time.sleep(0.1)
        return number

    with site.pool(8, cores=2, memory="256 MiB", walltime="10min") as pool:
        futures = [pool.submit(work, number) for number in range(100)]
        assert [future.result(PATIENCE) for future in futures] == list(range(100))
        assert site.submits(pool.name) == 1
        jobs = {future.job.id for future in futures if future.job}
    assert len(list(tmp_path.iterdir())) == 100
    assert len(jobs) == 8


def test_two_workers_in_one_job_see_its_slots(site: GridEngineSite) -> None:
    def seen() -> tuple[str, str, str, str]:
        import os

        time.sleep(0.5)
        return os.environ["JOB_ID"], os.environ["NSLOTS"], os.environ["PE"], os.environ["OMP_NUM_THREADS"]

    with site.pool(2, workers_per_job=2, cores=2, memory="256 MiB") as pool:
        first, second = [pool.submit(seen) for _ in range(2)]
        assert first.result(PATIENCE) == second.result(PATIENCE)
        assert first.result()[1:] == ("4", "smp", "2")


def test_jobs_get_the_users_variables_and_nobody_else_can_read_them(
    site: GridEngineSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "two\nlines of 'it'")

    def token() -> str:
        return os.environ["MY_TOKEN"]

    with site.pool(1, environment={"MY_OWN": "seen-by-nobody"}) as pool:
        future = pool.submit(token)
        assert future.result(PATIENCE) == "two\nlines of 'it'"
        assert future.job is not None
        assert "lines of" not in site.lab.run("qstat", "-j", future.job.id).stdout
        # Grid Engine keeps scripts where all users can read them.
        spool = [path for path in (site.lab.directory / "spool").rglob("*") if path.is_file()]
        assert any(path.parent.name == "job_scripts" for path in spool)
        assert not any(b"seen-by-nobody" in path.read_bytes() for path in spool)
        assert pool.submit(os.environ.get, "MY_OWN").result(PATIENCE) == "seen-by-nobody"
        directory = Path(os.environ["HOME"]) / ".jobpool" / pool.name
        assert (directory / "environment.sh").stat().st_mode & 0o777 == 0o600
    assert not (directory / "environment.sh").exists()


def test_a_log_directory_of_the_users(site: GridEngineSite, tmp_path: Path) -> None:
    place = tmp_path / "my logs: #1"
    with site.pool(2, log_directory=place) as pool:
        future = pool.submit(square, 3)
        assert future.result(PATIENCE) == 9
        assert future.job is not None
        log = future.job.log
        assert log is not None
        assert place in log.parents
        assert f"id={future.job.id}" in log.read_text()


def test_gpus_project_and_licences_are_asked_for(site: GridEngineSite) -> None:
    def asked() -> str:
        return subprocess.run(["qstat", "-j", os.environ["JOB_ID"]], capture_output=True, text=True).stdout

    keywords: dict[str, Any] = {"account": "bio", "gpus": 2, "licenses": ["matlab:1"], "partition": "all.q"}
    with site.pool(1, **keywords, walltime="5min") as pool:
        said = pool.submit(asked).result(PATIENCE)
    assert "project:                    bio" in said
    assert {"gpu=2", "matlab=1", "h_rt=300"} <= set(said.replace("\n", ",").replace(" ", ",").split(","))


def test_the_partition_auto_check_and_explain(site: GridEngineSite) -> None:
    with site.pool(1, partition="auto", walltime="1h") as pool:
        assert pool.submit(square, 2).result(PATIENCE) == 4
        assert "took 'all.q'" in notices(pool)
    argv = [*COMMAND, "check", "--json", "scheduler=sge", "partition=auto", "walltime=5min"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert told["ok"]
    assert {fit["partition"] for fit in told["fits"]} == {"all.q", "short"}
    argv = [*COMMAND, "explain", "scheduler=sge", "cores=2"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "-pe smp 2" in said
    assert "On a node of partition 'all.q': 32 cores, 256 GiB, 4 GPUs" in said


def test_a_doctor_finds_a_way_through(site: GridEngineSite, tmp_path: Path) -> None:
    argv = [*COMMAND, "doctor"]
    environment = {**os.environ, "JOBPOOL_SCHEDULER": "sge", "JOBPOOL_ADDRESSES": "127.0.0.1"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert "start: the call ran" in done.stdout, done.stdout + done.stderr
    assert "accounting: tells how jobs ended" in done.stdout


def test_a_pool_in_a_job_and_a_qsub_in_a_call(site: GridEngineSite) -> None:
    def inside(keywords: dict[str, Any]) -> tuple[str, list[str], str]:
        import os
        import subprocess

        def job() -> str:
            return os.environ["JOB_ID"]

        with jobpool.JobPoolExecutor(1, **keywords) as pool:
            jobs = [pool.submit(job).result(60)]
        script = 'echo "$JOB_ID $NSLOTS $SGE_TASK_ID"\n'
        argv = ["qsub", "-terse", "-sync", "y", "-S", "/bin/bash", "-j", "y", "-o", "/dev/null"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, check=True)
        return job(), jobs, done.stdout.split()[0]

    with site.pool(1, cores=2) as pool:
        outer, inner, submitted = pool.submit(inside, site.keywords).result(PATIENCE)
    assert len({outer, *inner, submitted}) == 3


# ------------------------------------------------------------------------------------------------- what comes to an end


def held(site: GridEngineSite, gate: Gate, **keywords: Any) -> Any:
    """Make a pool whose only call waits at the gate, and may be lost once at most."""
    return site.pool(1, retry=Retry(lost=0, crashed=0), **keywords)


def test_a_job_that_is_deleted_by_hand_is_told(site: GridEngineSite, gate: Gate) -> None:
    with held(site, gate) as pool:
        future = pool.submit(gate.hold())
        gate.wait_for(1)
        running(future)
        site.end_job(future.job.id, "cancelled")
        error = future.exception(PATIENCE)
        assert isinstance(error, JobLost)
        assert "cancelled" in str(error)
        assert "SIGUSR2" in f"{error} {error.words} {error.tail}"


def test_a_call_that_outlasts_the_longest_walltime_is_told(site: GridEngineSite, gate: Gate) -> None:
    lab = site.lab
    lab.run("qconf", "-mattr", "queue", "h_rt", "0:0:15", "short")
    try:
        with held(site, gate, walltime="15s", partition="short") as pool:
            future = pool.submit(gate.hold())
            gate.wait_for(1)
            error = future.exception(PATIENCE)
            assert isinstance(error, CallTimedOut), repr(error)
            assert error.limit == "15 s"
            assert "qmaster enforced h_rt, h_cpu, or h_vmem limit" in str(error.words)
    finally:
        lab.run("qconf", "-mattr", "queue", "h_rt", "0:10:0", "short")


def test_a_job_whose_processes_take_too_much_together_is_told(site: GridEngineSite) -> None:
    def take() -> None:
        import os
        import time

        for _ in range(3):
            if os.fork() == 0:
                kept = b"x" * (500 * 2**20)
                time.sleep(60)
                print(len(kept))
        time.sleep(60)

    with site.pool(1, retry=Retry(lost=0, crashed=0), job_extra=["-l h_vmem=1G"]) as pool:
        error = pool.submit(take).exception(PATIENCE)
        assert isinstance(error, CallOutOfMemory), repr(error)
        assert "qmaster enforced h_rt, h_cpu, or h_vmem limit" in str(error.words)
        assert "1 GiB" in str(error.limit)


def test_a_call_above_its_memory_is_told(site: GridEngineSite) -> None:
    def take() -> int:
        kept = b"x" * (600 * 2**20)
        time.sleep(30)  # where no cgroup holds it, its agent looks twice a second
        return len(kept)

    with site.pool(1, memory="300 MiB", retry=Retry(lost=0, crashed=0)) as pool:
        assert isinstance(pool.submit(take).exception(PATIENCE), CallOutOfMemory)
        assert pool.submit(square, 3).result(PATIENCE) == 9


def test_a_request_that_is_refused_is_told(site: GridEngineSite) -> None:
    with site.pool(1, account="nosuch") as pool:
        error = pool.submit(square, 1).exception(PATIENCE)
        assert isinstance(error, RequestRefused)
        assert 'the requested project "nosuch" does not exist' in str(error.words)


def test_a_request_that_can_never_run_is_told_why_it_waits(site: GridEngineSite) -> None:
    with pytest.raises(RequestRefused, match="33 cores"):
        site.make(cores=33)
    with site.pool(1, job_extra=["-l h_vmem=1000G"]) as pool:
        pool.submit(square, 1)
        words = 'cannot run at host "localhost" because it offers only hc:h_vmem'
        assert wait_until(lambda: any(words in job.reason for job in pool.status().jobs), PATIENCE), pool.status().jobs
        pool.shutdown(wait=False, cancel_futures=True)


def test_jobs_that_cannot_start_are_removed_and_told(site: GridEngineSite, tmp_path: Path) -> None:
    """Grid Engine keeps them in its error state, for good."""
    place = tmp_path / "gone"
    place.mkdir()
    code = """\
        import os, shutil
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(2)
        shutil.rmtree(os.getcwd())
        try:
            pool.submit(abs, -1).result()
        except Exception as error:
            print(type(error).__name__, error.words, flush=True)
        pool.shutdown()
        """
    with started(site, tmp_path / "script", f"import os; os.chdir({str(place)!r})\n" + _dedented(code)) as script:
        script.wait_for("JobsFailed")
        assert "can't chdir to" in script.stdout
        script.nothing_left()


def _dedented(code: str) -> str:
    import textwrap

    return textwrap.dedent(code)


# ----------------------------------------------------------------------------------------------------------- faults


def test_a_hold_by_hand_is_told_and_released(site: GridEngineSite) -> None:
    lab = site.lab
    with site.pool(1) as pool:  # it was checked while the queues took jobs
        lab.run("qmod", "-d", "*")
        future = pool.submit(square, 3)
        (job,) = site.wait_for_jobs(pool.name, 1)
        lab.run("qhold", job)
        assert wait_until(lambda: f"qrls {job}" in notices(pool), PATIENCE), notices(pool)
        lab.run("qrls", job)
        lab.run("qmod", "-e", "*")
        assert future.result(PATIENCE) == 9


def test_a_queue_that_is_disabled_is_said_to_be_the_reason(site: GridEngineSite) -> None:
    lab = site.lab
    with site.pool(1, partition="short") as pool:  # it was checked while the queue took jobs
        lab.run("qmod", "-d", "short")
        future = pool.submit(square, 3)
        words = 'queue instance "short@localhost" dropped because it is disabled'
        assert wait_until(lambda: any(words in job.reason for job in pool.status().jobs), PATIENCE), pool.status().jobs
        lab.run("qmod", "-e", "short")
        assert future.result(PATIENCE) == 9


def test_a_job_that_is_suspended_keeps_its_call(site: GridEngineSite, gate: Gate) -> None:
    with held(site, gate) as pool:
        future = pool.submit(gate.hold(), "kept")
        gate.wait_for(1)
        running(future)
        assert future.job is not None
        site.lab.run("qmod", "-sj", future.job.id)
        assert wait_until(lambda: "has suspended job" in notices(pool), PATIENCE)
        assert wait_until(lambda: [state for id, _, state in site.rows() if id == future.job.id] == ["s"], PATIENCE)
        site.lab.run("qmod", "-usj", future.job.id)
        gate.open()
        assert future.result(PATIENCE) == "kept"
        assert gate.arrived() == 1


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_master_that_is_away_for_a_while_costs_nothing(site: GridEngineSite, gate: Gate, how: str) -> None:
    lab = site.lab
    with held(site, gate) as pool:
        future = pool.submit(gate.hold(), "kept")
        gate.wait_for(1)
        running(future)
        if how == "stopped":
            lab.qmaster.kill()
        else:
            lab.qmaster.freeze()
        try:
            others = [pool.submit(square, number) for number in range(3)]
            if how == "stopped":  # commands of a frozen one say nothing for a minute
                assert wait_until(lambda: "does not answer" in notices(pool), PATIENCE), notices(pool)
        finally:
            if how == "stopped":
                lab.qmaster.start()
            else:
                lab.qmaster.thaw()
        lab.wait_until_answering()
        gate.open()
        assert future.result(PATIENCE) == "kept"
        assert [other.result(PATIENCE) for other in others] == [0, 1, 4]
        assert gate.arrived() == 1


def test_a_limit_on_jobs_is_waited_for(site: GridEngineSite, tmp_path: Path) -> None:
    """max_u_jobs: the answer is one of its own, and means "later"."""
    lab = site.lab
    before = lab.run("qconf", "-sconf").stdout
    changed = tmp_path / "global"
    changed.write_text(before.replace("max_u_jobs                   0", "max_u_jobs                   1"))
    lab.run("qsub", "-terse", "-h", "-S", "/bin/sh", input="exit 0\n")
    lab.run("qconf", "-Mconf", str(changed))
    try:
        with site.pool(1) as pool:
            future = pool.submit(square, 3)
            assert wait_until(lambda: "only 1 jobs are allowed per user" in notices(pool), PATIENCE), notices(pool)
            lab.run("qdel", "-u", "*")
            assert future.result(PATIENCE) == 9
    finally:
        changed.write_text(before)
        lab.run("qconf", "-Mconf", str(changed))


@contextmanager
def queues_off(lab: GridEngineLab) -> Iterator[None]:
    lab.run("qmod", "-d", "*")
    try:
        yield
    finally:
        lab.run("qmod", "-e", "*")


def test_nothing_is_left_when_client_and_server_are_killed(site: GridEngineSite, tmp_path: Path) -> None:
    code = """\
        import time
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(2)
        futures = [pool.submit(time.sleep, 300) for _ in range(4)]
        while sum(future.running() for future in futures) < 2:
            time.sleep(0.02)
        print("working", flush=True)
        time.sleep(300)
        """
    with started(site, tmp_path / "script", code) as script:
        script.wait_for("working")
        script.server().kill()
        script.process.kill()
        script.process.wait()
        script.nothing_left()


def test_jobs_that_wait_when_both_are_killed_end_by_themselves(site: GridEngineSite, tmp_path: Path) -> None:
    code = """\
        import time
        from jobpool import JobPoolExecutor

        pool = JobPoolExecutor(2)
        print("made", flush=True)
        input()
        future = pool.submit(time.sleep, 300)
        time.sleep(300)
        """
    code = code.replace("input()", f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)")
    code = code.replace("import time", "import os, time")
    with started(site, tmp_path / "script", code) as script:
        script.wait_for("made")
        with queues_off(site.lab):
            (tmp_path / "go").touch()
            site.wait_for_jobs(script.pool, 1)
            script.server().kill()
            script.process.kill()
            script.process.wait()
            assert len(site.jobs_in_queue(script.pool)) == 1  # nobody is left who could delete it
        script.nothing_left(2 * PATIENCE)
