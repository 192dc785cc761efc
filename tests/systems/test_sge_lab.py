"""The practice Grid Engine itself: it is real, it is quick, it leaves nothing. Run with ``--system=sge``, as root."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from site_sge import lab_or_skip
from sites import PATIENCE

from jobpool.testing import LabFailed, wait_until
from jobpool.testing.labs.machine import processes_of
from jobpool.testing.labs.sge import GridEngineLab

pytestmark = pytest.mark.real("sge")

COMMAND = (sys.executable, "-c", "import sys; from jobpool.cli.main import main; sys.exit(main())")


@pytest.mark.alone
def test_up_is_quick(tmp_path: Path) -> None:
    lab = lab_or_skip(tmp_path / "lab")
    begin = time.monotonic()
    with lab:
        assert time.monotonic() - begin < 5
        with pytest.raises(LabFailed, match="is up in"):
            GridEngineLab(tmp_path / "lab").up()
    assert not (tmp_path / "lab").exists()


def test_what_is_no_place_for_a_lab(tmp_path: Path) -> None:
    lab_or_skip(tmp_path)
    with pytest.raises(LabFailed, match="has a character in its name"):
        GridEngineLab(tmp_path / "a b").up()
    (tmp_path / "spool").mkdir()
    with pytest.raises(LabFailed, match="holds what is not a lab's: spool"):
        GridEngineLab(tmp_path).up()
    with pytest.raises(LabFailed, match="there is no lab"):
        GridEngineLab.attach(tmp_path)


def test_a_lab_ends_with_its_owner_and_leaves_nothing(tmp_path: Path) -> None:
    lab_or_skip(tmp_path)
    code = f"""
import sys, time
from jobpool.testing.labs.sge import GridEngineLab
lab = GridEngineLab({str(tmp_path / "lab")!r})
lab.up()
lab.run("qsub", "-terse", "-S", "/bin/sh", "-o", "/dev/null", "-j", "y", input="sleep 300\\n")
print("up", flush=True)
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        mark = f"JOBPOOL_LAB={tmp_path / 'lab'}"
        assert wait_until(lambda: len(processes_of([mark])) >= 4, PATIENCE)  # two daemons, a shepherd, its job
        owner.kill()
    assert wait_until(lambda: not (tmp_path / "lab").exists(), PATIENCE)
    assert processes_of([mark]) == []


def test_a_lab_outlives_its_maker_and_is_found_again(tmp_path: Path) -> None:
    lab_or_skip(tmp_path)
    argv = [*COMMAND, "lab"]
    place = ["--directory", str(tmp_path / "lab")]
    done = subprocess.run([*argv, "up", "--system", "sge", *place], capture_output=True, text=True, check=True)
    try:
        assert "SGE_ROOT=" in done.stdout
        assert GridEngineLab.attach(tmp_path / "lab").run("qconf", "-sql").stdout.split() == [
            "all.q",
            "closed",
            "short",
        ]
    finally:
        subprocess.run([*argv, "down", *place], check=True, capture_output=True)
    assert not (tmp_path / "lab").exists()
