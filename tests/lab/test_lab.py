"""The practice SLURM itself: it is real, it is quick, and it leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing import LabFailed, SlurmLab, export_line, lab_down, lab_missing, wait_until
from jobpool.testing.labs import machine, slurm_files
from jobpool.testing.labs.machine import processes_of

pytestmark = pytest.mark.usefixtures("needs_slurm")


@pytest.fixture(scope="session")
def needs_slurm(slurm_lab: SlurmLab) -> None:
    """Skip, or fail on CI, where there is no SLURM."""


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[SlurmLab]:
    with SlurmLab(tmp_path / "lab", nodes=3) as own:
        yield own


def states(of: SlurmLab, *select: str) -> list[str]:
    return of.run("squeue", "--noheader", "--states=all", "--array", "--format=%T", *select).stdout.split()


def processes(directory: Path) -> list[psutil.Process]:
    return processes_of([f"JOBPOOL_LAB={directory}"])


def submit(to: SlurmLab, cwd: Path, script: str, *options: str) -> str:
    done = to.run("sbatch", "--parsable", *options, input=f"#!/bin/sh\n{script}\n", cwd=cwd)
    return done.stdout.strip()


# A lab and what is in it


@pytest.mark.alone
def test_up_is_quick(tmp_path: Path) -> None:
    begin = time.monotonic()
    with SlurmLab(tmp_path / "lab") as own:
        assert time.monotonic() - begin < 5
        assert own.node_states() == dict.fromkeys([*own.nodes, *own.gpu_nodes], "idle")


def test_an_array_runs_on_several_nodes(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    options = ("--array=0-7", "--exclusive", "--output=%a.log")
    job = submit(slurm_lab, tmp_path, "echo $SLURMD_NODENAME; sleep 1", *options)
    assert wait_until(lambda: states(slurm_lab, f"--jobs={job}") == ["COMPLETED"] * 8, timeout=30)
    assert {(tmp_path / f"{i}.log").read_text().strip() for i in range(8)} == set(slurm_lab.nodes)


def test_a_step_runs_on_several_nodes(own_lab: SlurmLab, tmp_path: Path) -> None:
    # All its slurmds are shown one credential, and ask one munged whether it is good.
    argv = ("srun", "--nodes=3", "--exclusive", "printenv", "SLURMD_NODENAME")
    assert set(own_lab.run(*argv, cwd=tmp_path).stdout.split()) == set(own_lab.nodes)


def test_gpus_and_licences_are_given_out(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    options = ("--partition=gpu", "--gres=gpu:2", "--licenses=matlab:1", "--output=log")
    submit(slurm_lab, tmp_path, "echo $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME", *options)
    assert wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text(), timeout=20)
    assert (tmp_path / "log").read_text().split() == ["0,1", slurm_lab.gpu_nodes[0]]


def test_a_preempted_job_is_requeued(own_lab: SlurmLab, tmp_path: Path) -> None:
    low = submit(own_lab, tmp_path, "sleep 60", "--partition=preempt", "--exclusive", "--nodes=3")
    assert wait_until(lambda: states(own_lab, f"--jobs={low}") == ["RUNNING"], timeout=20)
    high = submit(own_lab, tmp_path, "sleep 60", "--partition=short", "--exclusive", "--nodes=3")
    assert wait_until(lambda: states(own_lab, f"--jobs={high}") == ["RUNNING"], timeout=30)
    assert states(own_lab, f"--jobs={low}") == ["PENDING"]


def test_without_accounting_sacct_says_so(slurm_lab: SlurmLab) -> None:
    with pytest.raises(LabFailed, match="accounting storage is disabled"):
        slurm_lab.run("sacct")


def test_accounting_answers(slurm_lab_accounting: SlurmLab, tmp_path: Path) -> None:
    accounted = slurm_lab_accounting
    job = submit(accounted, tmp_path, "exit 3", "--account=second")
    sacct = ("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", "--format=State,ExitCode,Account")
    assert wait_until(lambda: "FAILED|3:0|second" in accounted.run(*sacct).stdout, timeout=20)


def test_qos_limits_refuse(slurm_lab_accounting: SlurmLab, tmp_path: Path) -> None:
    with pytest.raises(LabFailed, match="QOSMaxWallDurationPerJobLimit"):
        submit(slurm_lab_accounting, tmp_path, "true", "--qos=maxwall", "--time=45")
    job = submit(slurm_lab_accounting, tmp_path, "sleep 30", "--qos=maxjobs", "--array=0-3")
    running = ["PENDING", "PENDING", "RUNNING", "RUNNING"]
    assert wait_until(lambda: sorted(states(slurm_lab_accounting, f"--jobs={job}")) == running, timeout=20)
    slurm_lab_accounting.cancel_jobs()


def test_memory_limit_kills(slurm_lab_cgroups: SlurmLab, tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'bytearray(500 * 10**6)'\necho rc $?"
    job = submit(slurm_lab_cgroups, tmp_path, script, "--mem=100M", "--output=log")
    assert wait_until(lambda: states(slurm_lab_cgroups, f"--jobs={job}") == ["OUT_OF_MEMORY"], timeout=30)
    assert "rc 137" in (tmp_path / "log").read_text()


def test_cores_are_held_by_cpusets(slurm_lab_cgroups: SlurmLab, tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'import os; print(len(os.sched_getaffinity(0)))'"
    submit(slurm_lab_cgroups, tmp_path, script, "--cpus-per-task=1", "--output=log")
    assert wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text(), timeout=20)
    threads = slurm_lab_cgroups.plan.nodes[0].threads  # of the one core that SLURM gives at least
    assert int((tmp_path / "log").read_text()) == threads


def test_variables_of_another_cluster_do_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    foreign = {"SLURM_CONF": "/nowhere", "SLURM_JOB_ID": "7", "SBATCH_PARTITION": "nope", "SQUEUE_FORMAT": "%i"}
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    with SlurmLab(tmp_path / "lab", nodes=1) as own:
        job = submit(own, tmp_path, "env", "--output=log")
        assert wait_until(lambda: states(own, f"--jobs={job}") == ["COMPLETED"], timeout=20)
        assert f"SLURM_JOB_ID={job}\n" in (tmp_path / "log").read_text()


def test_files_are_private(own_lab: SlurmLab) -> None:
    assert stat.S_IMODE(own_lab.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in own_lab.conf.parent.iterdir()} == {0o600}


def test_export_line_leads_a_shell_there(own_lab: SlurmLab) -> None:
    command = f"{export_line(own_lab.environment)} && squeue --noheader && scontrol show config"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert own_lab.plan.cluster in done.stdout


def test_two_labs_side_by_side(own_lab: SlurmLab, slurm_lab: SlurmLab, tmp_path: Path) -> None:
    assert not set(own_lab.nodes) & set(slurm_lab.nodes)
    submit(own_lab, tmp_path, "sleep 60", "--job-name=here")
    assert "here" in own_lab.run("squeue", "--format=%j").stdout
    assert "here" not in slurm_lab.run("squeue", "--format=%j").stdout
    own_lab.down()
    assert slurm_lab.node_states().keys() >= set(slurm_lab.nodes)


# Faults


def test_node_down_requeues(own_lab: SlurmLab, tmp_path: Path) -> None:
    job = submit(own_lab, tmp_path, "echo $SLURMD_NODENAME >> nodes; sleep 60", f"--nodelist={own_lab.nodes[0]}")
    assert wait_until(lambda: states(own_lab, f"--jobs={job}") == ["RUNNING"], timeout=20)
    own_lab.node_down(own_lab.nodes[0])
    assert wait_until(lambda: states(own_lab, f"--jobs={job}") == ["PENDING"], timeout=10)
    assert not wait_until(lambda: states(own_lab, f"--jobs={job}") == ["RUNNING"], timeout=7)  # it stays down
    own_lab.node_up(own_lab.nodes[0])
    assert wait_until(lambda: states(own_lab, f"--jobs={job}") == ["RUNNING"], timeout=30)
    assert "Restarts=1" in own_lab.run("scontrol", "show", "job", job).stdout


def test_a_controller_comes_back_with_its_queue(own_lab: SlurmLab, tmp_path: Path) -> None:
    job = submit(own_lab, tmp_path, "true", "--hold")
    before = own_lab.slurmctld.pid
    own_lab.slurmctld.stop()
    assert not own_lab.slurmctld.is_running
    with pytest.raises(LabFailed, match="is not running"):
        _ = own_lab.slurmctld.pid
    own_lab.slurmctld.start()
    own_lab.wait_until_answering()
    assert own_lab.slurmctld.pid != before
    assert states(own_lab, f"--jobs={job}") == ["PENDING"]


def test_a_frozen_controller_does_not_answer(own_lab: SlurmLab) -> None:
    own_lab.slurmctld.freeze()
    with pytest.raises(subprocess.TimeoutExpired):
        own_lab.run("squeue", timeout=1)
    own_lab.slurmctld.thaw()
    assert own_lab.run("squeue").returncode == 0


def test_a_killed_slurmd_can_be_started_again(own_lab: SlurmLab) -> None:
    node = own_lab.nodes[1]
    own_lab.slurmd(node).kill()
    assert not own_lab.slurmd(node).is_running
    own_lab.slurmd(node).start()
    assert wait_until(lambda: own_lab.node_states()[node] == "idle", timeout=20)
    with pytest.raises(ValueError, match="is not a node of this lab"):
        own_lab.slurmd("nope")


# Down


def assert_nothing_left(directory: Path, ports: set[int]) -> None:
    assert not directory.exists()
    assert processes(directory) == []
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", port))


def ports_of(of: SlurmLab) -> set[int]:
    ports = {of.plan.ctld_port, *(node.port for node in of.plan.nodes)}
    return ports | ({of.plan.dbd_port} if of.plan.dbd_port else set())


@pytest.mark.parametrize("kind", ["plain", "accounting", "cgroups"])
def test_down_leaves_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind != "plain":
        request.getfixturevalue(f"slurm_lab_{kind}")  # skips where there is none
    own = SlurmLab(tmp_path / "lab", nodes=2, accounting=kind == "accounting", cgroups=kind == "cgroups")
    own.up()
    ports, names, directory = ports_of(own), own.nodes, own.directory
    job = submit(own, tmp_path, "trap '' TERM\necho $$ > pid\nsetsid sleep 61 &\nsleep 61\nsleep 61")
    assert wait_until(lambda: states(own, f"--jobs={job}") == ["RUNNING"], timeout=20)
    assert wait_until((tmp_path / "pid").exists, timeout=10)
    own.down()
    own.down()  # a second time is no error
    assert_nothing_left(directory, ports)
    assert processes_of(f"SLURMD_NODENAME={name}" for name in names) == []
    assert [path for name in names for path in Path("/sys/fs/cgroup").glob(f"*/*{name}*")] == []


def test_down_of_a_lab_half_dead(tmp_path: Path) -> None:
    own = SlurmLab(tmp_path / "lab", nodes=2)
    own.up()
    ports, directory = ports_of(own), own.directory
    submit(own, tmp_path, "sleep 60")
    assert wait_until(lambda: states(own) == ["RUNNING"], timeout=20)
    own.slurmd(own.nodes[0]).kill()
    own.slurmctld.kill()
    own.munged.kill()
    shutil.rmtree(own.plan.etc)
    own.down()
    assert_nothing_left(directory, ports)


def test_down_spares_files_that_are_not_the_labs(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with SlurmLab(tmp_path, nodes=1):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_files_that_are_not_a_labs_are_not_taken_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "precious").write_text("x")
    with pytest.raises(LabFailed, match="not a lab's: log"):
        SlurmLab(tmp_path, nodes=1).up()
    assert (tmp_path / "log" / "precious").read_text() == "x"


def test_a_failed_start_tells_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(slurm_files, "slurm_conf", lambda plan: "ClusterName=x\nSlurmctldHost=localhost\nNonsense=1\n")
    with pytest.raises(LabFailed, match="Nonsense"):
        SlurmLab(tmp_path / "lab").up()
    assert not (tmp_path / "lab").exists()
    assert processes(tmp_path / "lab") == []


def test_a_path_too_long_for_sockets(tmp_path: Path) -> None:
    with SlurmLab(tmp_path / ("long" * 30), nodes=1) as own:
        run = own.plan.run
        job = submit(own, tmp_path, "srun hostname")
        assert wait_until(lambda: states(own, f"--jobs={job}") == ["COMPLETED"], timeout=20)
        assert run.parent == Path("/tmp")
    assert not run.exists()


OWNER = """
import sys, time
from jobpool.testing import SlurmLab
lab = SlurmLab(sys.argv[1], nodes=2)
lab.up()
lab.run("sbatch", "--output=/dev/null", input="#!/bin/sh\\nsleep 62\\n")
while "RUNNING" not in lab.run("squeue", "--format=%T").stdout:
    time.sleep(0.05)
print("up", flush=True)
time.sleep(100)
"""


def test_an_owner_killed_leaves_no_daemons(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    argv = [sys.executable, "-c", OWNER, str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "up\n"
        ports = ports_of(SlurmLab.attach(directory))
        assert processes(directory)
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not directory.exists(), timeout=15)
    assert_nothing_left(directory, ports)


def test_a_detached_lab_outlives_its_maker(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    code = "import sys; from jobpool.testing import lab_up; lab_up(sys.argv[1], nodes=2)"
    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, timeout=60)
    attached = SlurmLab.attach(directory)
    try:
        assert set(attached.node_states().values()) == {"idle"}
        with pytest.raises(LabFailed, match="is up in"):
            SlurmLab(directory).up()
    finally:
        ports = ports_of(attached)
        lab_down(directory)
    assert_nothing_left(directory, ports)
    with pytest.raises(LabFailed, match="there is no lab in"):
        lab_down(directory)


def test_what_a_dead_lab_left_is_cleared(tmp_path: Path) -> None:
    first = SlurmLab(tmp_path / "lab", nodes=1)
    first.up(detached=True)
    first.slurmctld.kill()
    with SlurmLab(tmp_path / "lab", nodes=1) as second:
        assert set(second.node_states().values()) == {"idle"}


# A machine without SLURM


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "_SYSTEM_PATH", str(tmp_path))
    needed = ["slurmctld", "slurmd", "slurm-client", "munge"]
    assert lab_missing() == needed
    assert lab_missing(accounting=True) == [*needed, "slurmdbd", "mariadb-server"]
    with pytest.raises(BatchSystemUnavailable, match=r"apt-get install .*slurmctld slurmd slurm-client munge"):
        SlurmLab(tmp_path / "lab").up()


def test_daemons_are_found_without_sbin_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert lab_missing(accounting=True) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have cgroups")
def test_cgroups_are_refused_to_an_ordinary_user(tmp_path: Path) -> None:
    with pytest.raises(BatchSystemUnavailable, match="root"):
        SlurmLab(tmp_path / "lab", cgroups=True).up()
