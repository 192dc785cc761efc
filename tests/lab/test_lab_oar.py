"""The practice OAR itself: it comes up, is the only one, and leaves nothing behind. For root, in a chroot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobpool.model.errors import BatchSystemUnavailable
from jobpool.testing import LabFailed, lab_down, wait_until
from jobpool.testing.labs.machine import processes_of
from jobpool.testing.labs.oar import OarLab, missing
from jobpool.testing.labs.registry import attached

pytestmark = [pytest.mark.real("oar"), pytest.mark.alone]

CONF, SITE_CONF = Path("/etc/oar/oar.conf"), Path("/etc/oar/oar.conf.before-lab")


@pytest.fixture(autouse=True)
def machine() -> None:
    if os.geteuid() != 0 or missing():
        reason = f"a lab of OAR needs root and, on a machine of its own: {', '.join(missing()) or 'nothing else'}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "lab"
    before = (
        SITE_CONF if SITE_CONF.exists() else CONF
    ).read_bytes()  # a lab before may have been killed with all it had
    yield place
    assert not place.exists()
    assert CONF.read_bytes() == before
    assert processes_of([f"JOBPOOL_LAB={place}"]) == []
    assert list(Path("/tmp").glob("jobpool-oar-*")) == []
    assert [process for process in psutil.process_iter() if process.username() in ("oar", "postgres")] == []


def test_it_runs_a_job_of_an_ordinary_user_and_ends_with_it(directory: Path) -> None:
    with OarLab(directory, nodes=1, cores=2, gpus=0) as lab:
        assert lab.nodes == ("node1",)
        submit = [
            "oarsub",
            "-l",
            "/core=2,walltime=0:5:0",
            "-d",
            "/",
            "-O",
            "/dev/null",
            "-E",
            "/dev/null",
            "sleep 300",
        ]
        become = ["setpriv", "--reuid=tester", "--regid=tester", "--clear-groups"]
        assert "OAR_JOB_ID=1" in lab.run(*become, *submit).stdout

        def sleeps() -> list[psutil.Process]:
            return [each for each in processes_of(["OAR_JOB_ID=1"]) if each.name() == "sleep"]

        assert wait_until(sleeps, 60)
    assert sleeps() == []


def test_another_process_takes_hold_of_it_and_a_machine_has_one(directory: Path, tmp_path: Path) -> None:
    OarLab(directory, nodes=1, cores=1, gpus=0).up(detached=True)
    try:
        assert attached(directory).environment == {"JOBPOOL_OAR_LAB": str(directory)}
        with pytest.raises(LabFailed, match="already"):
            OarLab(directory).up()
        with pytest.raises(LabFailed, match="a machine has one OAR"):
            OarLab(tmp_path / "other").up()
    finally:
        lab_down(directory)


def test_it_ends_with_its_owner_even_by_kill_9(directory: Path) -> None:
    code = "import time; from jobpool.testing.labs.oar import OarLab; OarLab(DIRECTORY).up(); time.sleep(300)"
    owner = subprocess.Popen([sys.executable, "-c", code.replace("DIRECTORY", repr(str(directory)))])
    assert wait_until(lambda: (directory / "lab.json").exists() and attached(directory)._keeper.is_running, 60)  # type: ignore[attr-defined]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert wait_until(lambda: not directory.exists(), 60)


def test_an_ordinary_user_cannot_bring_it_up(tmp_path: Path) -> None:
    code = "from jobpool.testing.labs.oar import OarLab; OarLab('/tmp/nobodys').up()"
    become = ["setpriv", "--reuid=tester", "--regid=tester", "--clear-groups"]
    done = subprocess.run(
        [*become, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/"},
    )
    assert BatchSystemUnavailable.__name__ in done.stderr
    assert "must be brought up by root" in done.stderr
