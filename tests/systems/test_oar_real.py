"""Pools on a real OAR: what they run, how jobs end, what fails and comes back, and what is told of all that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gates import Gate, running
from scripts import Script, started
from site_oar import OarSite, attached
from sites import PATIENCE

import jobpool
from jobpool import JobPoolExecutor, Retry
from jobpool.model.errors import ConfigError, JobLost, JobsFailed, RequestRefused
from jobpool.testing import wait_until
from jobpool.testing.labs.oar import OarLab

pytestmark = [pytest.mark.real("oar"), pytest.mark.timeout(240)]

LONG = 2 * PATIENCE
"""Seconds for what waits for OAR's own rounds: it looks for walltimes every ten seconds."""


@pytest.fixture(scope="module")
def lab() -> OarLab:
    return attached()


@pytest.fixture
def site(lab: OarLab, home: Path) -> Iterator[OarSite]:
    yield OarSite(lab)
    lab.cancel_jobs()


def square(number: int) -> int:
    return number * number


def notices(pool: JobPoolExecutor) -> str:
    return "\n".join(notice.text for notice in pool.status().notices)


def row(lab: OarLab, id: str) -> dict[str, Any]:
    return dict(json.loads(lab.run("oarstat", "-f", "-J", "-j", id).stdout)[id])


# What runs


@pytest.mark.parametrize(("workers", "cores"), [(4, 2), (8, 1)])
def test_a_hundred_submits_are_a_hundred_executions(site: OarSite, tmp_path: Path, workers: int, cores: int) -> None:
    def work() -> str:
        import uuid

        (tmp_path / uuid.uuid4().hex).touch()
        time.sleep(0.05)
        return "Finished"

    with site.pool(workers, cores=cores, memory="500 MiB", walltime="10min") as pool:
        futures = [pool.submit(work) for _ in range(100)]
        assert [future.result(PATIENCE) for future in futures] == ["Finished"] * 100
        assert len(list(tmp_path.iterdir())) == 100
        (first, *_) = site.wait_for_jobs(pool.name, workers)
        asked = row(site.lab, first)
        assert f"/network_address=1/core={cores},walltime=0:10:0" in asked["wanted_resources"]
        assert f"mem >= {500 + 256}" in asked["properties"]
        assert site.submits(pool.name) == 1


def test_a_call_sees_its_job_and_what_its_user_has_set(site: OarSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> dict[str, str]:
        return dict(os.environ)

    monkeypatch.setenv("MINE", "it's\nmine")
    with site.pool(2, workers_per_job=2) as pool:
        future = pool.submit(look)
        seen = future.result(PATIENCE)
        assert future.job is not None
        assert seen["OAR_JOB_ID"] == future.job.id
        assert seen["MINE"] == "it's\nmine"
        assert seen["PATH"] == os.environ["PATH"]
        assert len(Path(seen["OAR_NODEFILE"]).read_text().split()) == 2
        # What OAR's own programs ran with, as another user.
        assert not {"BASH_ENV", "PERL5LIB", "OARDO_UID", "SUDO_COMMAND"} & seen.keys()


def test_gpus_are_on_the_node_that_has_them(site: OarSite) -> None:
    with site.pool(1, gpus=1) as pool:
        future = pool.submit(square, 2)
        assert future.result(PATIENCE) == 4
        assert future.job is not None
        assert future.job.node == "gpu1"


def test_a_whole_node_and_a_node_that_is_avoided(site: OarSite) -> None:
    with site.pool(1, system_options={"whole_node": "yes"}, exclude=["node1", "gpu1"]) as pool:
        future = pool.submit(square, 2)
        assert future.result(PATIENCE) == 4
        assert future.job is not None
        assert future.job.node == "node2"
        assert len(row(site.lab, future.job.id)["assigned_resources"]) == 8


def test_a_project_a_queue_and_options_of_ones_own(site: OarSite) -> None:
    keywords = {"account": "bio's".replace("'", ""), "partition": "besteffort", "constraint": "host = 'node2'"}
    with site.pool(1, **keywords, job_extra=["--notify 'exec:/bin/true'"]) as pool:
        future = pool.submit(square, 2)
        assert future.result(PATIENCE) == 4
        assert future.job is not None
        found = row(site.lab, future.job.id)
        assert (found["project"], found["queue"], future.job.node) == ("bios", "besteffort", "node2")


@pytest.mark.parametrize("name", ["a b-c_d", 'it\'s a "b" $HOME %x%jobid% é #&;+'])
def test_a_directory_with_an_odd_name(
    site: OarSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.chdir(odd)
    with site.pool(1, log_directory=odd / "logs") as pool:
        future = pool.submit(os.getcwd)
        assert future.result(PATIENCE) == str(odd)
        assert future.job is not None
        assert future.job.log is not None
        assert "begins" in future.job.log.read_text()


# How jobs end


def test_a_call_over_its_jobs_walltime_runs_again_with_more(site: OarSite) -> None:
    with site.pool(1, walltime="30s") as pool:
        future = pool.submit(time.sleep, 45)
        running(future)
        assert future.job is not None
        first = future.job.id
        assert future.result(2 * LONG) is None
        assert "WALLTIME" in [event["type"] for event in row(site.lab, first)["events"]]
        assert future.job.id != first
        assert "it runs again with walltime=1 min" in notices(pool)


def test_calls_before_the_walltime_go_on_in_a_new_job(site: OarSite, tmp_path: Path) -> None:
    def work(number: int) -> int:
        import uuid

        (tmp_path / f"{number}-{uuid.uuid4().hex}").touch()
        time.sleep(4)
        return number

    with site.pool(1, walltime="40s") as pool:
        futures = [pool.submit(work, number) for number in range(12)]
        assert [future.result(2 * LONG) for future in futures] == list(range(12))
        # None was lost at the end of a job: it began where it had the time.
        assert len(list(tmp_path.iterdir())) == 12


def test_a_job_that_is_deleted_is_told_in_oars_words(site: OarSite, gate: Gate) -> None:
    with site.pool(1, retry=Retry(lost=0)) as pool:
        future = pool.submit(gate.hold())
        gate.wait_for(1)
        running(future)
        assert future.job is not None
        site.end_job(future.job.id, "cancelled")
        error = future.exception(PATIENCE)
        assert isinstance(error, JobLost)
        assert "FRAG_JOB_REQUEST: User tester requested to frag the job" in str(error.words)


def test_what_oar_refuses_is_told_in_its_words(site: OarSite) -> None:
    for keywords, words in (
        ({"partition": "nosuch"}, "queue 'nosuch' does not exist"),
        ({"constraint": "nosuch = 1"}, 'column "nosuch" does not exist'),
        ({"constraint": "host = 'nosuch'"}, "There are not enough resources for your request"),
        ({"job_extra": ["-t nosuch"]}, "[ADMISSION RULE] Error: unknown job type: nosuch"),
        ({"reservation": "99999"}, "inner job is requesting an invalid container id"),
    ):
        with site.pool(1, **keywords) as pool:
            error = pool.submit(square, 1).exception(PATIENCE)
            assert isinstance(error, RequestRefused), error
            assert words in str(error.words)


def test_what_no_node_has_is_refused_at_the_call(site: OarSite) -> None:
    with pytest.raises(RequestRefused, match="at most 8 cores"):
        site.make(1, cores=100)
    with pytest.raises(RequestRefused, match="at most 2 GPUs"):
        site.make(1, gpus=3)
    with pytest.raises(ConfigError, match="qos='high' cannot be used: OAR has no such setting"):
        site.make(1, qos="high")
    with pytest.raises(ConfigError, match="behind the pool"):
        site.make(1, job_extra=["-t idempotent"])


def test_a_directory_that_is_gone_is_told(site: OarSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    with site.pool(4, log_directory=tmp_path / "logs") as pool:
        gone.rmdir()
        try:
            error = [pool.submit(square, number) for number in range(10)][-1].exception(PATIENCE)
        finally:
            monkeypatch.chdir(tmp_path)
        assert isinstance(error, JobsFailed), error
        assert "WORKING_DIRECTORY" in str(error.words)


def test_a_log_directory_that_is_gone_is_told(site: OarSite, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with site.pool(4, log_directory=disk / "logs") as pool:
        shutil.rmtree(disk)
        error = [pool.submit(square, number) for number in range(10)][-1].exception(PATIENCE)
        assert isinstance(error, JobsFailed), error
        assert "OUTPUT_FILES" in str(error.words)


# What waits


def fill(lab: OarLab) -> str:
    """Take all cores, and return the job's id."""
    said = lab.run(
        "oarsub", "-n", "filler", "-l", "/core=24,walltime=0:10:0", "-O", "/dev/null", "-E", "/dev/null", "sleep 600"
    )
    id = said.stdout.partition("OAR_JOB_ID=")[2].split()[0]
    assert wait_until(lambda: row(lab, id)["state"] == "Running", PATIENCE)
    return id


def test_a_job_that_waits_says_why_and_when_it_starts(site: OarSite) -> None:
    filler = fill(site.lab)
    with site.pool(1, walltime="2min") as pool:
        future = pool.submit(square, 3)
        assert wait_until(lambda: [job.reason for job in pool.status().jobs] == ["resources"], PATIENCE), pool.status()
        (job,) = json.loads(command("status", pool.name, "--start", "--json").stdout)["jobs"]
        assert job["state"] == "pending"
        assert 0 < job["starts"] - time.time() <= 11 * 60
        assert not future.done()
        site.lab.run("oardel", filler)
        assert future.result(PATIENCE) == 9


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command jobpool."""
    code = "import sys; from jobpool.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "JOBPOOL_ADDRESSES": "127.0.0.1"}
    argv = [sys.executable, "-c", code, *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_a_job_that_is_held_is_told_and_goes_on(site: OarSite) -> None:
    filler = fill(site.lab)
    with site.pool(1) as pool:
        future = pool.submit(square, 3)
        (job,) = site.wait_for_jobs(pool.name, 1)
        site.lab.run("oarhold", job)
        assert wait_until(lambda: f"'oarresume {job}'" in notices(pool), PATIENCE), notices(pool)
        site.lab.run("oardel", filler)
        site.lab.run("oarresume", job)
        assert future.result(PATIENCE) == 9


class Steps:
    """Counts to ``end``, leaves a trace of each step, and can go on from where it was."""

    def __init__(self, directory: Path, end: int) -> None:
        self.directory, self.end, self.done = str(directory), end, 0

    def __call__(self) -> int:
        import os
        import time
        from pathlib import Path

        while self.done < self.end:
            time.sleep(0.05)
            Path(self.directory, f"step-{self.done}-{os.getpid()}").touch()
            self.done += 1
        return self.done

    def checkpoint(self) -> Any:
        return self


def test_a_besteffort_job_leaves_a_checkpoint_when_its_place_is_needed(site: OarSite, tmp_path: Path) -> None:
    with site.pool(1, partition="besteffort") as pool:
        future = pool.submit(Steps(tmp_path, 600))
        running(future)
        assert future.job is not None
        first = future.job.id
        site.lab.run("oardel", fill(site.lab))
        assert future.result(2 * LONG) == 600
        assert future.job.id != first
        assert "CHECKPOINT" in {event["type"] for event in row(site.lab, first)["events"]}
        done = [int(path.name.split("-")[1]) for path in tmp_path.glob("step-*")]
        assert set(done) == set(range(600))
        assert len(done) <= 601  # the one that was under way when it was asked


# What stays


WAITING = """\
    import time
    from jobpool import JobPoolExecutor

    if __name__ == "__main__":
        pool = JobPoolExecutor(2, {keywords})
        future = pool.submit(time.sleep, 300)
        print("submitted", flush=True)
        time.sleep(300)
    """


@pytest.mark.parametrize("killed", ["script", "server", "both"])
def test_waiting_jobs_of_a_pool_that_is_killed_end(site: OarSite, tmp_path: Path, killed: str) -> None:
    filler = fill(site.lab)
    with started(site, tmp_path / "script", WAITING.replace("{keywords}", "")) as script:
        site.wait_for_jobs(script.pool, 1)
        kill(script, killed)
        site.lab.run("oardel", filler)  # those that nobody deletes start, find no server, and end
        script.nothing_left(LONG)


@pytest.mark.parametrize("killed", ["both"])
def test_running_jobs_of_a_pool_that_is_killed_end(site: OarSite, tmp_path: Path, killed: str) -> None:
    with started(site, tmp_path / "script", WAITING.replace("{keywords}", "workers_per_job=2")) as script:
        assert wait_until(lambda: agents_of(script), PATIENCE)
        kill(script, killed)
        script.nothing_left(LONG)


def agents_of(script: Script) -> list[psutil.Process]:
    return [process for process, words in script.command_lines() if "jobpool.agent" in words]


def kill(script: Script, which: str) -> None:
    if which in ("server", "both"):
        script.server().kill()
    if which in ("script", "both"):
        script.process.kill()
        script.process.wait()
    else:
        script.process.kill()
        script.process.wait()


# What fails, and comes back


@pytest.mark.parametrize("part", ["server", "database"])
@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_calls_go_on_without_oar_and_new_jobs_come_when_it_is_back(
    site: OarSite,
    gate: Gate,
    part: str,
    how: str,
) -> None:
    failing = site.lab.parts[part]
    back = "start" if how == "stop" else "thaw"
    with site.pool(2, workers_per_job=1, idle_timeout=300) as pool:
        first = pool.submit(gate.hold(), "first")
        running(first)
        pool.scale(1)
        getattr(failing, how)()
        try:
            assert pool.submit(square, 4) is not None  # it waits behind the one that runs
            gate.open()
            assert first.result(PATIENCE) == "first"
            assert pool.submit(square, 5).result(PATIENCE) == 25
        finally:
            getattr(failing, back)()
        pool.scale(2)
        assert wait_until(lambda: sum(job.workers for job in pool.status().jobs) == 2, LONG), pool.status()


def test_a_command_that_hangs_is_given_up_though_nobody_may_kill_it(site: OarSite) -> None:
    """OAR's commands run as OAR's user."""
    code = """if True:
        import asyncio, time
        from jobpool.commands import shell
        from jobpool.model.command import Command

        async def main():
            begin = time.monotonic()
            done = await shell.run(Command(("oarstat", "-J"), timeout=1.0))
            print(done.returncode, done.stderr, time.monotonic() - begin < 10, flush=True)

        asyncio.run(main())
        """
    site.lab.database.freeze()
    try:
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    finally:
        site.lab.database.thaw()
    assert done.stdout == "None oarstat: no answer in 1 s True\n", done.stderr


def test_a_submit_without_the_server_is_found_and_not_repeated(site: OarSite, tmp_path: Path) -> None:
    """oarsub says "Job is killed", and the job waits in the database."""
    site.lab.server.stop()
    with site.pool(1) as pool:
        future = pool.submit(square, 6)
        try:
            site.wait_for_jobs(pool.name, 1)
        finally:
            site.lab.server.start()
        assert future.result(LONG) == 36
        assert site.submits(pool.name) == 1


def test_a_node_that_cannot_be_reached_is_told_and_avoided(site: OarSite) -> None:
    site.lab.node("node1").stop()
    with site.pool(1, exclude=["gpu1"]) as pool:
        future = pool.submit(square, 3)
        assert future.result(LONG) == 9
        assert future.job is not None
        assert future.job.node == "node2"
        assert wait_until(lambda: "EXIT_VALUE_OAREXEC" in notices(pool) or "suspected" in oars_log(site), PATIENCE)


def oars_log(site: OarSite) -> str:
    return site.lab.run("oarnodes", "-s").stdout.lower()


# What is told before and beside


def test_check_explain_and_the_limits(site: OarSite) -> None:
    verdict = jobpool.check(scheduler="oar", cores=4, memory="2 GiB", walltime="1h")
    assert (verdict.ok, verdict.partition) == (True, "default")
    assert [fit.partition for fit in verdict.fits] == ["default", "besteffort"]
    assert any("admission rules" in text for text in verdict.unknown)
    assert not jobpool.check(scheduler="oar", cores=9).ok
    explained = str(jobpool.explain(scheduler="oar", cores=4, memory="2 GiB", walltime="1h"))
    assert "-l /nodes=1/core=4,walltime=1:00:00" in explained
    assert "mem >= 2304" in explained
    with site.pool(1, partition="auto") as pool:
        future = pool.submit(square, 2)
        assert future.result(PATIENCE) == 4
        assert future.job is not None
        assert row(site.lab, future.job.id)["queue"] == "default"


def test_doctor(site: OarSite) -> None:
    done = command("doctor", "scheduler=oar", "--json")
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert not [finding for finding in findings.values() if finding["level"] == "problem"], findings
    assert findings["accounting"]["text"] == "tells how jobs ended"
    assert "in job" in findings["start"]["text"]


def test_a_pool_is_made_from_inside_of_a_job(site: OarSite) -> None:
    def nested(keywords: dict[str, Any]) -> tuple[list[int], str]:
        with JobPoolExecutor(1, **keywords) as pool:
            future = pool.submit(square, 7)
            assert future.job is None or future.job.id != os.environ["OAR_JOB_ID"]
            result = future.result(60)
            assert future.job is not None
            return [result], future.job.id

    with site.pool(1) as pool:
        outer = pool.submit(nested, site.keywords)
        results, inner = outer.result(LONG)
        assert results == [49]
        assert outer.job is not None
        assert inner != outer.job.id


def test_oarsub_works_inside_of_a_call(site: OarSite) -> None:
    def submit() -> str:
        command = ["oarsub", "-l", "/core=1,walltime=0:1:0", "-O", "/dev/null", "-E", "/dev/null", "true"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with site.pool(1) as pool:
        assert "OAR_JOB_ID=" in pool.submit(submit).result(PATIENCE)
