"""The benches run and print what they promise; limits that a busy machine does not move are kept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


def bench(name: str, *options: str) -> str:
    """Run a bench in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(BENCH / name), *options],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def figure(printed: str, limit: str) -> float:
    """Return the value of the line about a limit."""
    [value] = re.findall(rf"^(?:kept|MISSED) +{re.escape(limit)}: ([\d.e+-]+)", printed, re.MULTILINE)
    return float(value)


def test_import_of_jobpool_is_light() -> None:
    printed = bench("import_time.py", "--repeats", "5")
    # The smallest of a few: a median measures the machine's other work, too.
    assert figure(printed, "import jobpool over a bare interpreter, smallest") <= 60
    assert printed.count("heavy modules") == 2
    assert "MISSED  heavy modules" not in printed


def test_a_call_in_map_costs_less_than_a_tenth_of_dask() -> None:
    sizes = ("--few", "2000", "--items", "4000", "--many", "8000")
    printed = bench("map_overhead.py", "--quick", *sizes)
    assert "kept    of raw Client.map's time" in printed
    for part in ("jobpool", "raw Dask", "ProcessPoolExecutor", "ProcessPoolExecutor, best chunks"):
        assert re.search(rf"^{re.escape(part)} +[\d.]+ ", printed, re.MULTILINE)


@pytest.mark.usefixtures("slurm_lab")  # not for its jobs: it says, or fails, where there is no SLURM
def test_a_hundred_calls_are_one_sbatch() -> None:
    printed = bench("one_sbatch.py", "--check")
    assert printed.count("kept") == 8


@pytest.mark.usefixtures("slurm_lab")
def test_startup_beside_peers() -> None:
    printed = bench("startup.py", "--repeats", "1", "--jobs", "4")
    for part in ("jobpool", "LocalCluster", "jobpool on SLURM", "dask-jobqueue", "sbatch array"):
        assert re.search(rf"^{re.escape(part)} +[\d.]+ ", printed, re.MULTILINE)
    # One turn beside other tests is no measurement of start-up: what is asserted is that there are figures to judge.
    assert figure(printed, "local, to the first result") > 0
    assert figure(printed, "SLURM, of dask-jobqueue's time") > 0
