"""``jobpool list | status | stop`` against pools that run, and against one whose server was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobpool import JobPoolExecutor, PoolBroken
from jobpool.testing import SlurmLab, wait_until
from jobpool.testing.labs.machine import processes_of


def jobpool(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def status(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(jobpool("status", name, "--json"))
    return answer


@pytest.fixture
def lab(slurm_lab: SlurmLab, enter_lab: Callable[[SlurmLab], SlurmLab], monkeypatch: pytest.MonkeyPatch) -> SlurmLab:
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    return enter_lab(slurm_lab)


def test_a_running_pool_is_listed_shown_and_stopped(lab: SlurmLab, home: Path) -> None:
    with JobPoolExecutor(max_workers=2, scheduler="slurm", partition="long", name="mine") as pool:
        assert pool.submit(abs, -1).result(timeout=60) == 1
        running = pool.submit(time.sleep, 600)
        assert wait_until(running.running, 60)

        (listed,) = json.loads(jobpool("list", "--json"))
        assert (listed["name"], listed["state"], listed["system"]) == ("mine", "running", "slurm")
        assert "mine" in jobpool("list")

        shown = status("mine")
        assert shown["calls"] == {"waiting": 0, "running": 1, "done": 1, "failed": 0}
        assert running.job is not None
        assert running.job.id in [job["id"] for job in shown["jobs"] if job["state"] == "serving"]
        (slept,) = [entry for entry in shown["functions"] if entry["name"] == "sleep"]
        assert (slept["waiting"], slept["running"], slept["seconds"]) == (0, 1, None)
        assert [entry["busy"] for entry in shown["requests"]] == [1]
        assert "1 running" in jobpool("status", "mine")
        assert "jobpool top needs a terminal" in jobpool("top", "mine", code=1)  # and does not wait for keys

        jobpool("stop", "mine")
        with pytest.raises(PoolBroken):
            running.result(timeout=10)
    assert lab.run("squeue", "--noheader").stdout == ""
    assert json.loads(jobpool("list", "--json")) == []
    assert jobpool("status", "mine", code=4).startswith("note: the pool mine has ended; ")
    assert jobpool("top", "mine", code=4).startswith("error: the pool 'mine' has ended\n")
    record = json.loads(jobpool("report", "mine", "--json"))
    assert {job["reason"] for job in record["status"]["jobs"]} == {"ended by its pool"}
    jobpool("report", "mine", "--output", str(home / "run.html"))
    page = (home / "run.html").read_text()
    assert "ended by its pool" in page
    assert "cancelled" not in page


def test_a_pending_job_is_shown_with_its_reason_in_words(lab: SlurmLab) -> None:
    with JobPoolExecutor(max_workers=1, scheduler="slurm", name="mine", job_extra="--begin=now+1hour") as pool:
        future = pool.submit(abs, -1)
        assert wait_until(lambda: any(job["reason"] for job in status("mine")["jobs"]), 60)
        text = jobpool("status", "mine")
        assert "pending" in text
        assert "BeginTime: " in text
        assert "may start" not in text
        (job,) = json.loads(jobpool("status", "mine", "--json", "--start"))["jobs"]
        assert 3000 < job["starts"] - time.time() < 4000
        assert "may start" in jobpool("status", "mine", "--start")
        assert future.cancel()


PENDING = """
import time
from jobpool import JobPoolExecutor
with JobPoolExecutor(max_workers=2, scheduler="slurm", name="mine", job_extra="--begin=now+1hour") as p:
    p.submit(abs, -1)
    while not any(job.state == "pending" for job in p.status().jobs):
        time.sleep(0.05)
    print("pending", flush=True)
    time.sleep(600)
"""


RUNNING = """
import time
from jobpool import JobPoolExecutor
with JobPoolExecutor(max_workers=1, scheduler="slurm", name="mine") as p:
    future = p.submit(time.sleep, 600)
    while not future.running():
        time.sleep(0.05)
    print("running", flush=True)
    time.sleep(600)
"""

PROFILE = {
    "SCANCEL_STATE": "PENDING",
    "SCANCEL_PARTITION": "nowhere",
    "SQUEUE_STATES": "COMPLETED",
    "SQUEUE_FORMAT": "%i",
    "SQUEUE_PARTITION": "nowhere",
    "SINFO_PARTITION": "nowhere",
    "SBATCH_EXPORT": "NONE",
}


def killed_with_its_server(script: str, word: str, home: Path, *, freeze_jobs: bool = False) -> None:
    """Run a script until it says a word, and kill it and its server so that neither sees the other die.

    ``freeze_jobs``: its jobs must not see it either.
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"
    server = json.loads((home / ".jobpool/mine/connection.json").read_text())["pid"]
    os.kill(server, signal.SIGSTOP)  # each would remove the jobs if it saw the other die
    if freeze_jobs:
        names = (home / ".jobpool/mine/submissions").read_text().split()
        seers = processes_of(f"SLURM_JOB_NAME={name}" for name in names)
        assert seers
        for seer in seers:
            seer.suspend()
    process.kill()
    process.communicate()
    os.kill(server, signal.SIGKILL)
    assert wait_until(lambda: json.loads(jobpool("list", "--json"))[0]["state"] != "running", 10)


def test_jobs_of_a_pool_whose_server_and_client_were_killed_are_found_and_removed(lab: SlurmLab, home: Path) -> None:
    killed_with_its_server(PENDING, "pending", home)
    assert "jobs may be left" in jobpool("list")
    assert lab.run("squeue", "--noheader").stdout != ""

    jobpool("stop", "mine")
    assert lab.run("squeue", "--noheader").stdout == ""
    assert jobpool("list", "--json").strip() == "[]"


def test_what_a_profile_sets_for_slurms_commands_leaves_no_job_of_a_dead_pool(
    lab: SlurmLab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PROFILE.items():
        monkeypatch.setenv(name, value)
    # An agent that sees that its server is gone ends its job: here it is the cancel alone that does.
    killed_with_its_server(RUNNING, "running", home, freeze_jobs=True)
    assert "RUNNING" in lab.run("squeue", "--noheader", "--format=%T").stdout

    jobpool("stop", "mine")
    assert lab.run("squeue", "--noheader").stdout == ""


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_pool_that_is_not_there_is_named(command: str) -> None:
    assert "there is no pool named 'nobody'" in jobpool(command, "nobody", code=1)
