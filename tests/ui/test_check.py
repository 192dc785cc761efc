"""``jobpool check``: what a user sees before anything is queued."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobpool import check
from jobpool.cli.check import REFUSED
from jobpool.cli.main import ExitCode, main
from jobpool.testing import FakeCluster, SlurmLab, wait_until


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster(tmp_path / "fake") as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


def test_a_request_that_fits(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "scheduler=slurm", "cores=2", "walltime=1h"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert out.startswith("The request fits in partition 'short'.\n")
    assert out.splitlines()[3].split() == ["partition", "room", "now", "idle", "CPUs", "jobs", "waiting"]
    assert out.splitlines()[4].split() == ["short", "yes", "128", "0"]
    assert err == ""
    assert not cluster.queue


def test_a_request_that_does_not(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert REFUSED == ExitCode.REFUSED
    assert main(["check", "scheduler=slurm", "cores=17", "walltime=5h", "memory=1 TiB"]) == ExitCode.REFUSED
    out, _ = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  - ")] == ["walltime", "a", "a"]
    assert "It fits no partition as it is." in out


def test_json(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "scheduler=slurm", "walltime=5h"]) == ExitCode.REFUSED
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["problems"][0]["setting"], answer["problems"][0]["nearest"]) == (
        False,
        "walltime",
        3600,
    )
    assert answer["fits"][0]["partition"] == "long"


def test_an_estimate_of_the_start_is_asked_for(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--start", "scheduler=slurm", "partition=auto"]) == ExitCode.DONE
    assert "would start at once, by the batch system's estimate" in capsys.readouterr().out
    assert not cluster.queue
    cluster.controller = "down"
    verdict = check(scheduler="slurm", start=True)
    assert verdict.starts_in is None
    assert "when a job would start: sbatch: error" in verdict.unknown[-1]
    assert check(scheduler="local", start=True).starts_in == 0.0


def test_an_estimate_needs_no_room_for_temporary_files(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    assert check(scheduler="slurm", start=True).starts_in == 0.0


def test_the_estimate_of_a_full_cluster(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab: SlurmLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = enter_lab(slurm_lab)
    lab.run(
        "sbatch", "--exclusive", "--nodes=4", "--partition=short", "--time=30", "--output=/dev/null", "--wrap=sleep 600"
    )
    assert wait_until(lambda: "RUNNING" in lab.run("squeue", "--noheader", "--format=%T").stdout, 60)
    verdict = check(scheduler="slurm", partition="short", walltime="10 min", start=True)
    assert verdict.ok
    assert verdict.starts_in is not None
    assert 1200 < verdict.starts_in <= 1860
    assert "would start in about " in str(verdict)
    assert len(lab.run("squeue", "--noheader").stdout.splitlines()) == 1


def test_an_option_of_srun_is_told_before_sbatch_refuses_it(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("check", "explain"):
        assert main([command, "scheduler=slurm", "job_extra=--cpu-bind=cores"]) == ExitCode.USAGE
        assert "--cpu-bind is an option of srun: sbatch refuses it" in capsys.readouterr().err


def test_what_cannot_be_asked_is_told(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.controller = "down"
    assert main(["check", "scheduler=slurm", "cores=99"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert out.startswith("The request fits.\n")
    assert "not known: partitions: " in err


def test_a_users_own_formats_do_not_mislead_it(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINFO_FORMAT", "%P")
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    verdict = check(scheduler="slurm", walltime="5h", partition="auto")
    assert (verdict.ok, verdict.partition) == (True, "long")
    assert str(verdict).splitlines()[2] == "  long: 128 CPUs idle, 0 jobs waiting"


def test_this_machine_refuses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "scheduler=local", f"cores={2 * (os.cpu_count() or 1)}", "partition=auto"]) == ExitCode.DONE
    assert "nothing is refused" in capsys.readouterr().err


def test_settings_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "scheduler=local", "cores=none", "memory=8G"]) == ExitCode.USAGE
    assert "ambiguous" in capsys.readouterr().err
