"""The benches run and print what they promise; limits that a busy machine does not move are kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobpool.testing import SlurmLab

BENCH = Path(__file__).parents[1] / "bench"


def bench(name: str, *options: str, path: Path | None = None) -> str:
    """Run a bench in a process of its own, with a directory of modules or without, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(BENCH / name), *options],
        env=os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)},
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


def has_figures(printed: str, part: str) -> bool:
    """Whether a table has a line for a part, and a number in it."""
    return re.search(rf"^{re.escape(part)} +[\d.]+ ", printed, re.MULTILINE) is not None


@pytest.mark.alone
def test_import_of_jobpool_is_light() -> None:
    printed = bench("import_time.py", "--repeats", "5")
    # The smallest of a few: a median measures the machine's other work, too.
    assert figure(printed, "import jobpool over a bare interpreter, smallest") <= 60
    assert printed.count("heavy modules") == 2
    assert "MISSED  heavy modules" not in printed


@pytest.mark.alone
def test_a_call_in_map_costs_less_than_a_tenth_of_dask() -> None:
    sizes = ("--few", "2000", "--items", "4000", "--many", "8000")
    printed = bench("map_overhead.py", "--quick", "--where", "local", "--only", "ProcessPoolExecutor,raw Dask", *sizes)
    assert "kept    of raw Client.map's time" in printed
    for part in ("jobpool", "raw Dask", "ProcessPoolExecutor", "ProcessPoolExecutor, best chunks"):
        assert has_figures(printed, part)
    assert figure(printed, "memory with buffersize, for more items") <= 10


LOCAL = {
    "submits.py": (("--calls", "500", "--many", "1000"), ("jobpool", "ProcessPoolExecutor", "raw Dask")),
    "latency.py": (("--calls", "20"), ("jobpool", "ProcessPoolExecutor", "raw Dask")),
    "mixed_lengths.py": (("--short", "20", "--long", "2"), ("bare processes", "jobpool", "raw Dask")),
    "big_payloads.py": (("--calls", "4", "--few", "1"), ("jobpool", "jobpool, buffersize", "raw Dask")),
    "pending.py": (("--calls", "1000", "--few", "100"), ("jobpool", "raw Dask")),
    "hops.py": (("--calls", "1000", "--few", "100"), ("jobpool, submit", "jobpool, map", "raw Dask, map")),
}


@pytest.mark.parametrize("script", LOCAL)
def test_peers_are_measured_beside_jobpool(script: str) -> None:
    sizes, parts = LOCAL[script]
    # So few calls on a machine that runs other tests measure nothing; what a figure is worth is not asserted here.
    printed = bench(script, "--quick", "--where", "local", "--only", "ProcessPoolExecutor,raw Dask", *sizes)
    for part in parts:
        assert has_figures(printed, part)


@pytest.mark.usefixtures("slurm_lab")
def test_peers_are_measured_beside_jobpool_on_slurm() -> None:
    printed = bench("latency.py", "--quick", "--where", "slurm", "--only", "dask-jobqueue", "--calls", "20")
    assert has_figures(printed, "jobpool on SLURM")
    assert has_figures(printed, "dask-jobqueue")


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path) -> None:
    # As seen by a Python whose loky is hidden, be it installed or not.
    (tmp_path / "sitecustomize.py").write_text(HIDE_LOKY)
    printed = bench("latency.py", "--quick", "--where", "local", "--only", "loky", "--calls", "5", path=tmp_path)
    assert "SKIPPED, not installed: loky" in printed
    assert has_figures(printed, "jobpool")


HIDE_LOKY = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "loky" else found(name, *rest)
"""


@pytest.mark.usefixtures("slurm_lab")  # not for its jobs: it says, or fails, where there is no SLURM
def test_a_hundred_calls_are_one_sbatch() -> None:
    printed = bench("one_sbatch.py", "--check")
    assert printed.count("kept") == 8


def test_thread_counts_are_compared() -> None:
    printed = bench("threads.py", "--quick", "--size", "50", "--frames", "2")
    for part in ("of its cores (jobpool)", "one (dask-jobqueue)", "of the machine"):
        assert has_figures(printed, part)


@pytest.mark.usefixtures("slurm_lab")
def test_startup_beside_peers() -> None:
    printed = bench("startup.py", "--repeats", "1", "--jobs", "2")
    for part in ("jobpool", "LocalCluster", "jobpool on SLURM", "dask-jobqueue", "sbatch array"):
        assert has_figures(printed, part)
    # One turn beside other tests is no measurement of start-up: what is asserted is that there are figures to judge.
    assert figure(printed, "local, to the first result") > 0
    assert figure(printed, "SLURM, of dask-jobqueue's time") > 0


@pytest.mark.alone
def test_the_meter_costs_little() -> None:
    # The part that costs most, for a second: enough to see a meter that looks without a pause, not to see 1 %.
    printed = bench("meter_cost.py", "--part", "1 workers, near", "--seconds", "1")
    assert json.loads(printed)["of a CPU"] < 0.05


def test_work_that_is_lost_under_kills_is_counted(
    enter_lab: Callable[[SlurmLab], SlurmLab], slurm_lab: SlurmLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_lab(slurm_lab)
    monkeypatch.setenv("JOBPOOL_ADDRESSES", "127.0.0.1")
    # The peers take a minute and longer to get over so many kills.
    sizes = ("--calls", "10", "--longest", "3", "--every", "4", "--jobs", "2")
    printed = json.loads(bench("useful_work.py", "--part", "jobpool", *sizes))
    assert printed["errors"] == printed["calls without result"] == 0
    assert printed["kills"] > 0
    assert printed["useful/total"] == pytest.approx(printed["useful s"] / (printed["useful s"] + printed["lost s"]))
    assert printed["useful s"] > 13.9  # the work of the ten calls
