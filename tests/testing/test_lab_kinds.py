"""Which practice batch system is meant, before any of it is brought up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobpool.model.errors import ConfigError
from jobpool.testing import LabFailed, lab_up
from jobpool.testing.labs.registry import missing, unset_line


def test_a_lab_of_another_batch_system_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    record = tmp_path / "lab.json"
    for there in ({"system": "htcondor"}, {}):
        record.write_text(json.dumps(there))
        with pytest.raises(LabFailed, match=r"holds a lab of (HTCondor|SLURM)") as caught:
            lab_up(tmp_path, system="sge")
        assert "jobpool lab down" in str(caught.value)
        assert json.loads(record.read_text()) == there


def test_options_that_a_lab_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a lab of Grid Engine has no option accounting"):
        missing("sge", accounting=True)
    with pytest.raises(ConfigError, match="a lab of HTCondor has no option accounting"):
        lab_up(tmp_path, system="htcondor", accounting=True)


def test_a_shell_forgets_all_that_led_it_to_the_lab(tmp_path: Path) -> None:
    lab = {"X_ROOT": f"{tmp_path}/root", "X_PORT": "29111", "X_CELL": "default", "PATH": f"{tmp_path}/bin:/bin"}
    shell = {**lab, "HOME": "/home/alice", "X_CELL": "another"}
    assert unset_line(tmp_path, shell, lab) == "unset X_ROOT X_PORT"
    assert unset_line(tmp_path, {"X_PORT": "29111"}, lab) == ""
    assert unset_line(tmp_path, {"X_ROOT": f"{tmp_path}/root"}) == "unset X_ROOT"
