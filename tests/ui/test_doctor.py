"""``jobpool doctor``, on this machine and on a real SLURM."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobpool.model.command import UNREACHABLE
from jobpool.model.errors import JobsFailed
from jobpool.testing import SlurmLab
from jobpool.tools.doctor import _failed

COMMAND = [sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())", "doctor"]


def doctor(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "JOBPOOL_ADDRESSES": "127.0.0.1", **variables}
    return subprocess.run([*COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


def read(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {finding["subject"]: finding for finding in json.loads(done.stdout)}


def test_here(tmp_path: Path) -> None:
    variables = {"LD_PRELOAD": "", "SCRATCH": str(tmp_path / "gone"), "WORK": "a word"}
    done = doctor(tmp_path / "project", "scheduler=local", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("ok       python: ", "ok       threads: libraries are told to start 1", "network: "):
        assert word in done.stdout
    assert "project is shared" in done.stdout
    assert f"warning  scratch: $SCRATCH ({tmp_path / 'gone'}) does not exist" in done.stdout
    assert "a word" not in done.stdout
    assert re.search(r"quota of /\S+: .*", done.stdout)
    assert list((tmp_path / "project").iterdir()) == []


def test_what_setup_prints_and_how_long_it_and_pythons_start_take(tmp_path: Path) -> None:
    (tmp_path / "jobpool.toml").write_text("setup = ['echo hello', 'sleep 0.5; no-such-command']\n")
    (tmp_path / "jobpool.toml").chmod(0o600)
    found = read(doctor(tmp_path, "scheduler=local", "--json"))
    assert found["setup"]["level"] == "warning"
    said = re.fullmatch(
        r"its 2 lines took (\S+) s in the job, and printed 'hello'; '.*command not found'", found["setup"]["text"]
    )
    assert said
    assert 0.5 <= float(said[1]) < 60
    assert re.fullmatch(r"Python had begun \S+ m?s after the job was set up", found["python start"]["text"])


def test_worst_first_and_each_with_what_to_do(tmp_path: Path) -> None:
    done = doctor(tmp_path, "scheduler=local", "--no-job", PYTHONSTARTUP="/x.py")
    assert done.returncode == 0
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("warning  environment: PYTHONSTARTUP")
    assert "what to do: unset them" in second
    assert "start:" not in done.stdout


def test_a_script_is_looked_into(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text("from multiprocessing import get_context\nfrom jobpool import Pool\npool = Pool(2)\n")
    done = doctor(tmp_path, "scheduler=local", "--no-job", "--script", "run.py")
    assert done.returncode == 0
    assert "note     __main__ guard: line 3 of run.py makes a pool whenever the script is imported" in done.stdout
    script.write_text(script.read_text() + "get_context('spawn')\n")
    assert doctor(tmp_path, "scheduler=local", "--no-job", "--script", "run.py").returncode == 1


def test_a_node_that_cannot_reach_this_host_is_a_matter_of_the_network() -> None:
    words = "no address of the server answered"
    finding = _failed(JobsFailed("2 jobs in a row ended", exit_code=UNREACHABLE, tail=words, advice="give addresses="))
    assert (finding.subject, finding.cure) == ("network", "give addresses=")
    assert words in finding.text
    assert _failed(JobsFailed("2 jobs in a row ended", exit_code=1)).subject == "job"


def test_a_wait_that_is_no_time(tmp_path: Path) -> None:
    done = doctor(tmp_path, "scheduler=local", "--wait", "soon")
    assert done.returncode == 2
    assert "--wait" in done.stderr


def test_on_a_real_slurm(enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab: SlurmLab, tmp_path: Path) -> None:
    enter_lab(slurm_lab)
    done = doctor(tmp_path, "scheduler=slurm", "cores=2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(done)
    assert "127.0.0.1" in found["network"]["text"]
    assert "partition 'short' end after 1 h" in found["walltime"]["text"]
    assert "is disabled" in found["accounting"]["text"]
    assert found["threads"]["level"] == "ok"
    assert found["own jobs"]["level"] == "ok"


def test_what_account_and_qos_leave_is_told(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab_accounting: SlurmLab, tmp_path: Path
) -> None:
    enter_lab(slurm_lab_accounting)
    found = read(doctor(tmp_path, "scheduler=slurm", "qos=maxjobs", "account=lab", "--no-job", "--json"))
    assert "0 of 2 jobs at once (you, QoS 'maxjobs')" in found["limits left"]["text"]
    assert found["accounting"]["level"] == "ok"


def test_auto_is_settled_as_a_pool_does_it(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab: SlurmLab, tmp_path: Path
) -> None:
    enter_lab(slurm_lab)
    found = read(doctor(tmp_path, "scheduler=slurm", "partition=auto", "walltime=5h", "--no-job", "--json"))
    assert found["partition"]["text"] == "'auto' takes 'long' now"
    assert "'long' allows" in found["walltime"]["text"]
    done = doctor(tmp_path, "scheduler=slurm", "partition=auto", "cores=17", "--json")
    assert done.returncode == 1
    found = read(done)
    assert found["partition"]["level"] == "problem"
    assert "job" not in found  # there is no place where it would tell something


def test_what_real_cgroups_do_is_seen(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab_cgroups: SlurmLab, tmp_path: Path
) -> None:
    enter_lab(slurm_lab_cgroups)
    found = read(doctor(tmp_path, "scheduler=slurm", "memory=300 MiB", "walltime=10 min", "--json"))
    assert found["memory"]["text"] == "the kernel holds the job to 556 MiB, 556 MiB asked for"
    assert found["cores"]["text"] == "1 for the job, 1 asked for"
    assert found["enforcement"]["level"] == "ok"


def test_a_job_that_cannot_start_is_a_finding(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab: SlurmLab, tmp_path: Path
) -> None:
    enter_lab(slurm_lab)
    done = doctor(tmp_path, "scheduler=slurm", "partition=nowhere", "--json")
    assert done.returncode == 1
    assert "nowhere" in read(done)["job"]["text"]
    waits = doctor(tmp_path, "scheduler=slurm", "job_extra=--begin=now+1hour", "--wait", "4 s", "--json")
    assert waits.returncode == 0, waits.stderr
    assert "did not start within 4 s" in read(waits)["job"]["text"]
    assert "BeginTime" in read(waits)["job"]["text"]
