"""The practice HTCondor itself: it ends with its owner, and jobpool finds it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_htcondor import lab_or_skip
from sites import PATIENCE

from jobpool.batch import registry
from jobpool.batch.base import Machine, NoCluster
from jobpool.commands import shell
from jobpool.testing import wait_until
from jobpool.testing.labs.htcondor import HTCondorLab
from jobpool.testing.labs.machine import processes_of

pytestmark = pytest.mark.real("htcondor")

JOBPOOL = str(Path(sys.executable).with_name("jobpool"))


@pytest.fixture
def lab() -> Iterator[HTCondorLab]:
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place, lab_or_skip(Path(place) / "pool") as lab:
        yield lab


def test_which_batch_system_is_here(lab: HTCondorLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", lab.environment["CONDOR_CONFIG"])
    system = registry.get("htcondor", Path())

    def absent() -> NoCluster | None:
        is_there = lambda place: Path(place).exists()  # noqa: E731
        return system.presence(Machine(run=shell.run_now, environment=dict(os.environ), is_there=is_there))

    assert absent() is None
    lab.schedd.kill()  # it is down, and the pool is there
    try:
        assert absent() is None
    finally:
        lab.schedd.start()
        lab.wait_until_answering()
    monkeypatch.delenv("CONDOR_CONFIG")
    found = absent()  # Debian's package belongs to no pool
    assert found is not None
    assert "names no schedd" in found.why


def test_a_lab_ends_with_its_owner(tmp_path: Path) -> None:
    lab_or_skip(tmp_path / "unused")
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as place:
        directory = Path(place) / "pool"
        code = (
            "import sys, time\nfrom jobpool.testing.labs.htcondor import HTCondorLab\n"
            f"lab = HTCondorLab({str(directory)!r}, nodes=1)\nlab.up()\nprint('up', flush=True)\ntime.sleep(300)\n"
        )
        owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        lab = HTCondorLab.attach(directory)
        own = list(processes_of([f"JOBPOOL_LAB={directory}"]))
        assert len(own) >= 4
        assert lab.run("condor_status", "-af", "Machine").stdout.split() == list(lab.nodes)
        owner.kill()
        owner.wait()
        owner.stdout.close()
        assert wait_until(lambda: not directory.exists() and not processes_of([f"JOBPOOL_LAB={directory}"]), PATIENCE)


def test_the_command_line_brings_a_lab_up_and_down(home: Path) -> None:
    lab_or_skip(home / "unused")
    directory = home / "lab"
    command = [JOBPOOL, "lab"]
    up = subprocess.run(
        [*command, "up", "--system", "htcondor", "--directory", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        assert up.returncode == 0, up.stderr
        assert f"CONDOR_CONFIG={directory}/etc/condor_config" in up.stdout
    finally:
        down = subprocess.run(
            [*command, "down", "--directory", str(directory)], capture_output=True, text=True, timeout=60, check=False
        )
    assert down.returncode == 0, down.stderr
    assert processes_of([f"JOBPOOL_LAB={directory}"]) == []
