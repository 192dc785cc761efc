"""An existing job script, read as sbatch reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobpool.batch.slurm.read_script import read_script, slurm_size
from jobpool.model.units import Memory


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("--cpus-per-task=4", {"cpus-per-task": "4"}),
        ("--cpus-per-task 4", {"cpus-per-task": "4"}),
        ("-c 4 -n2", {"cpus-per-task": "4", "ntasks": "2"}),
        ("-J 'my job' # -c 9", {"job-name": "my job"}),
        ("--exclusive -c 4", {"exclusive": "", "cpus-per-task": "4"}),
        ("--exclusive=user", {"exclusive": "user"}),
        ("-H -t 5", {"hold": "", "time": "5"}),
        ("--mem=4G --mem=8G", {"mem": "8G"}),
        ("-J 'open", {"job-name": "'open"}),
    ],
)
def test_the_forms_of_directives(line: str, options: dict[str, str]) -> None:
    assert read_script(f"#!/bin/sh\n#SBATCH {line}\n").options == options


def test_directives_behind_the_first_command_do_not_count() -> None:
    script = read_script(
        "#!/bin/sh\n# a comment\n\n#SBATCH -c 3\n#SBATCHING\n##SBATCH -c 4\necho\n  # b\n#SBATCH -c 5\n"
    )
    assert script.options == {"cpus-per-task": "3"}
    assert script.ignored == ("#SBATCH -c 5",)
    assert script.commands == ("echo",)


@pytest.mark.parametrize(
    ("text", "mebibytes"), [("4G", 4096), ("500", 500), ("512MB", 512), ("1t", 1 << 20), ("0", 0), ("lots", None)]
)
def test_sizes(text: str, mebibytes: int | None) -> None:
    assert slurm_size(text) == (None if mebibytes is None else Memory(mebibytes * 2**20))


@given(st.text(max_size=200))
def test_anything_can_be_read(text: str) -> None:
    read_script(f"#!/bin/sh\n#SBATCH {text}\n{text}")
