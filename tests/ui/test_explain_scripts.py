"""What an existing script, or a SLURMCluster, would really give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.cli.main import ExitCode, main
from jobpool.model.errors import ConfigError
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.testing import FakeCluster
from jobpool.tools.explain_script import cluster_script, explain_cluster, explain_script, read_call

NODE = NodeShape(count=4, cores=16, threads_per_core=2, memory=Memory(64 * 2**30))
PARTITION = Partition(
    name="p",
    default=True,
    max_time=Duration(7200),
    default_time=Duration(3600),
    default_memory_per_cpu=Memory(1000 * 2**20),
    nodes=(NODE,),
)
LIMITS = Limits(partitions=(PARTITION,))
QUIET = "export OMP_NUM_THREADS=1\npython analyse.py"


def pitfalls(head: str, body: str = QUIET, limits: Limits = LIMITS) -> str:
    directives = "\n".join(f"#SBATCH {line}" for line in head.splitlines())
    return "\n".join(explain_script(f"#!/bin/sh\n{directives}\n{body}\n", limits=limits).pitfalls)


SOUND = "--nodes=1\n--ntasks=1\n--cpus-per-task=4\n--threads-per-core=1\n--mem=4G\n--time=60"


def test_a_sound_script_has_no_pitfall() -> None:
    assert pitfalls(SOUND) == ""


@pytest.mark.parametrize(
    ("head", "body", "words"),
    [
        (SOUND.replace("--time=60", ""), QUIET, "no --time: the job gets 1 h"),
        (SOUND.replace("--mem=4G", ""), QUIET, "no --mem: the job gets 3.91 GiB"),
        (SOUND.replace("--threads-per-core=1", ""), QUIET, "4 CPU(s) are 2 core(s), not 4"),
        ("-N1 -c3 --mem=4G -t 60", QUIET, "3 CPU(s), rounded up to 4 are 2 core(s)"),
        (SOUND.replace("ntasks=1", "ntasks=4"), QUIET, "--ntasks=4 without srun or mpirun: the script runs once"),
        ("-n 4 --threads-per-core=1 --mem=4G -t 60", "srun ./mpi", "may spread the tasks over nodes"),
        ("-N 2 -c4 --threads-per-core=1 --mem=4G -t 60", QUIET, "--nodes=2 without srun"),
        ("-N1 -c4 --mem-per-cpu=1G -t 60", QUIET, "for both threads of a core: 4 GiB in all"),
        (SOUND + "\n--signal=USR1@60", QUIET, "--signal=B:USR1@60"),
        (SOUND.replace("--threads-per-core=1", "--hint=nomultithread"), QUIET, "not the batch script itself"),
        (SOUND, "python analyse.py", "OMP_NUM_THREADS is not set"),
        (SOUND, "srun python analyse.py", "is not handed on to srun"),
        (SOUND, QUIET + "\n#SBATCH -t 5", "'#SBATCH -t 5' stands behind the first command"),
    ],
)
def test_each_pitfall_is_named(head: str, body: str, words: str) -> None:
    assert words in pitfalls(head, body)


def test_cpus_that_memory_raises() -> None:
    limits = Limits(partitions=(Partition(name="p", default=True, nodes=(NODE,), max_memory_per_cpu=Memory(2**31)),))
    assert "memory per CPU raises 1 CPU(s) to 6" in pitfalls("-N1 -c1 --mem=9G -t 60", limits=limits)


@pytest.mark.parametrize(
    ("line", "name"),
    [("--cpu-bind=cores", "cpu-bind"), ("-n 1 --mpi=pmix", "mpi"), ("-l -c4", "label"), ("--pty", "pty")],
)
def test_options_of_srun_are_refused_by_sbatch(line: str, name: str) -> None:
    found = explain_script(f"#!/bin/sh\n#SBATCH {line}\n{QUIET}\n", limits=LIMITS)
    assert [problem.partition(":")[0] for problem in found.problems] == [f"--{name} is an option of srun"]
    found = explain_cluster({"cores": 1, "memory": "1GB", "job_extra_directives": [line]}, limits=LIMITS)
    assert [problem.partition(":")[0] for problem in found.problems] == [f"--{name} is an option of srun"]


def test_an_option_that_sbatch_has_not_is_a_pitfall() -> None:
    assert "sbatch has no option --cpu-per-task" in pitfalls(SOUND + "\n--cpu-per-task=4")


def test_a_script_of_another_batch_system_is_not_taken_for_one_of_slurm() -> None:
    with pytest.raises(ConfigError, match="a script for Cobalt: it has no #SBATCH line"):
        explain_script("#!/bin/sh\n#COBALT -n 1\npython x.py\n", limits=LIMITS)
    found = explain_script("#!/bin/sh\n#$ -pe smp 4\n#SBATCH -c2\npython x.py\n", limits=LIMITS)
    assert "the directives of Grid Engine are not explained; write them as #SBATCH lines" in found.pitfalls


def test_exclusive_for_a_user_is_not_the_whole_node() -> None:
    for value, cores in (("", 16), ("=user", 2)):
        found = explain_script(f"#!/bin/sh\n#SBATCH -c4 --exclusive{value}\n{QUIET}\n", limits=LIMITS)
        assert found.nodes[0].job.cores == cores


def test_a_part_of_a_whole_node_is_a_pitfall() -> None:
    whole = Limits(partitions=(replace(PARTITION, whole_nodes="OverSubscribe=EXCLUSIVE"),))
    told = "partition 'p' gives out whole nodes (OverSubscribe=EXCLUSIVE): 16 cores are taken and charged, and 4 are"
    assert told in pitfalls(SOUND, limits=whole)
    assert pitfalls(SOUND.replace("task=4", "task=16"), limits=whole) == ""
    assert explain_script("#!/bin/sh\n#SBATCH -c1 -t 5\ntrue\n", limits=whole).notes == ()


def test_what_would_never_start_is_told() -> None:
    found = explain_script("#!/bin/sh\n#SBATCH -c 99 -t 9-0 --gres=gpu:1\ntrue\n", limits=LIMITS)
    assert any("walltime 9 d is longer" in problem for problem in found.problems)
    assert any("no node of partition p can hold" in problem for problem in found.problems)
    assert "Refused, or never started:" in str(found)


def test_the_same_with_jobpool() -> None:
    found = explain_script(f"#!/bin/sh\n#SBATCH -p p -c4 -n2 --mem=8G -t 90 -A lab\n{QUIET}\n", limits=LIMITS)
    assert dict(found.keywords) == {
        "cores": "2", "max_workers": "2", "memory": "'4 GiB'", "walltime": "'1 h 30 min'", "partition": "'p'",
        "account": "'lab'",
    }  # fmt: skip


def test_the_same_with_jobpool_keeps_threads_licences_and_nodes() -> None:
    head = "#SBATCH -c4 --threads-per-core=2 -L matlab:1,idl:2 -x n[1-3],n7"
    found = dict(explain_script(f"#!/bin/sh\n{head}\n{QUIET}\n", limits=LIMITS).keywords)
    assert (found["cores"], found["threads_per_core"]) == ("2", "2")
    assert (found["licenses"], found["exclude"]) == ("['matlab:1', 'idl:2']", "['n[1-3],n7']")


def test_a_cluster_of_dask_jobqueue() -> None:
    arguments = {"cores": 4, "processes": 2, "memory": "8GB"}
    found = explain_cluster(arguments, limits=LIMITS)
    told = "\n".join(found.pitfalls)
    assert "each of its 2 process(es) may use 3.73 GiB" in told
    assert "jobs end after 30 minutes" in told
    assert "4 CPU(s) are 2 core(s), not 4" in told
    assert found.nodes[0].job.memory == Memory(8 * 2**30)
    assert dict(found.keywords)["workers_per_job"] == "2"
    assert dict(found.keywords)["cores"] == "1"


CALLS: list[dict[str, Any]] = [
    {"cores": 4, "processes": 2, "memory": "8GB", "walltime": "01:00:00", "queue": "long", "account": "lab"},
    {"cores": 6, "memory": "2000MB", "job_extra_directives": ["--exclusive"], "job_cpu": 3, "job_mem": "5G"},
    {"cores": 1, "memory": "1.5GiB", "job_directives_skip": ["--cpus-per-task"]},
]


def test_its_directives_are_those_of_dask_jobqueue(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    # In a process of its own: its import takes the SIGINT handler, and writes into the home directory.
    code = f"""
import json
from dask_jobqueue.slurm import SLURMJob
for call in {CALLS!r}:
    text = SLURMJob(scheduler="tcp://127.0.0.1:1", name="x", **call).job_script()
    print(json.dumps([line for line in text.splitlines() if line.startswith("#SBATCH") and "-J" not in line]))
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    for call, line in zip(CALLS, done.stdout.splitlines(), strict=True):
        ours = [text for text in cluster_script(call).splitlines() if text.startswith("#SBATCH")]
        assert ours == json.loads(line)


def test_a_call_is_read_and_not_run() -> None:
    assert read_call("dask_jobqueue.SLURMCluster(cores=4, memory='8GB', job_extra=['-x'])") == {
        "cores": 4, "memory": "8GB", "job_extra": ["-x"],
    }  # fmt: skip
    for text in ("f(x)", "f(4)", "cores=4", "f(memory=open('x'))", "("):
        with pytest.raises(ConfigError):
            read_call(text)
    for name, words in (
        ("MoabCluster", "with Moab"),
        ("Mine", "is not"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_call(f"{name}(cores=4, memory='8GB')")
    with pytest.raises(ConfigError, match="needs cores"):
        explain_cluster({"memory": "1GB"}, limits=LIMITS)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH -c 3 -p long\npython x.py\n")
    with FakeCluster(tmp_path / "fake") as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        assert main(["explain", "--script", str(script)]) == ExitCode.DONE
        out = capsys.readouterr().out
        assert "On a node of partition 'long' (16 cores with 2 hardware threads, 64 GiB): 2 core(s), 4 CPU(s)" in out
        assert main(["explain", "--cluster", "SLURMCluster(cores=2, memory='4GB')"]) == ExitCode.DONE
        assert "JobPoolExecutor(workers_per_job=2, cores=1" in capsys.readouterr().out
        assert main(["explain", "--script", str(script), "cores=2"]) == ExitCode.USAGE
