"""What a request becomes for PBS, and what its commands and jobs see of the caller's environment."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch.base import JobScript
from jobpool.batch.pbs.directives import pbs_time
from jobpool.batch.pbs.system import Pbs
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

pbs = Pbs()
MANNERS = ["-j oe", "-k doe", "-m n"]


def texts(**request: Any) -> list[str]:
    return [directive.text for directive in pbs.directives(Request(**request), Limits())]


def job(**request: Any) -> JobScript:
    return JobScript(
        name="pool-1",
        request=Request(**request),
        directory=Path("/pools/one"),
        log_directory=Path("/data/my logs/100%"),
        working_directory=Path("/home/me/it's #1"),
        argv=("/usr/bin/python3", "-m", "agent", "a b"),
        environment={"A": "it's", "B": "two\nlines"},
    )


def text(asked: JobScript, **environment: str) -> str:
    return pbs.prepare(asked, count=1, environment=environment).files["pool-1.sh"]


def variables(**environment: str) -> str:
    return pbs.prepare(replace(job(), environment={}), count=1, environment=environment).files["environment.sh"]


def test_the_least() -> None:
    assert texts() == ["-l select=1:ncpus=1", "-l place=pack", *MANNERS]


def test_everything() -> None:
    assert texts(
        cores=2,
        memory=Memory.parse("2 GiB"),
        gpus=1,
        walltime=Duration.parse("29h 30s"),
        workers_per_job=3,
        threads_per_core=2,
        partition="long",
        account="lab",
        licenses=("matlab:2", "ansys"),
        constraint="cpu_type=rome",
        job_extra=("#PBS -W umask=0077", "-l software=x"),
        system_options=(
            ("gpus", "naccelerators"),
            ("place", "pack:excl"),
            ("project", "bio"),
            ("select", "scratch=10gb"),
        ),
    ) == [
        "-l select=1:ncpus=12:mem=6400mb:naccelerators=3:cpu_type=rome:scratch=10gb",
        "-l place=pack:excl",
        "-l walltime=29:00:30",
        "-l matlab=2",
        "-l ansys=1",
        "-q long",
        "-A lab",
        "-P bio",
        *MANNERS,
        "-W umask=0077",
        "-l software=x",
    ]


def test_each_directive_has_a_reason() -> None:
    request = Request(cores=2, memory=Memory.parse("1 GiB"), walltime=Duration(60), partition="long")
    assert all(directive.why.endswith(".") for directive in pbs.directives(request, Limits()))


def test_a_site_that_counts_threads_and_no_memory() -> None:
    options = (("memory", "none"), ("ncpus_per_core", "2"))
    assert texts(cores=3, memory=Memory.parse("1 GiB"), system_options=options)[0] == "-l select=1:ncpus=6"
    assert texts(constraint="bigmem")[0] == "-l select=1:ncpus=1:bigmem=True"


def test_a_reservation_is_a_queue() -> None:
    assert "-q R12" in texts(reservation="R12")


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "00:00:01"), (90, "00:01:30"), (360_000, "100:00:00")])
def test_times_have_no_days(seconds: float, told: str) -> None:
    assert pbs_time(Duration(seconds)) == told


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"qos": "high"}, "PBS has no such setting"),
        ({"exclude": ("n1",)}, "PBS has no such setting"),
        ({"system_options": (("selekt", "a=1"),)}, "did you mean select?"),
        ({"system_options": (("select", "a=1 -l b"),)}, "cannot be part of a chunk"),
        ({"system_options": (("memory", "pmem"),)}, "none of mem, vmem, none"),
        ({"system_options": (("ncpus_per_core", "0"),)}, "no number of CPUs"),
        ({"constraint": "a=1+2:b"}, "cannot be part of a chunk"),
        ({"partition": "a b"}, "no blanks and no quotes"),
        ({"partition": "a", "reservation": "R1"}, "a reservation is a queue"),
        ({"licenses": ("a=b",)}, "'name' or 'name:count'"),
        ({"job_skip": ("",)}, "would leave out every directive"),
        ({"job_extra": ("-N other",)}, "use name="),
        ({"job_extra": ("-J 0-3",)}, "the pool counts its jobs itself"),
        ({"job_extra": ("-r n",)}, "PBS refuses an array"),
        ({"job_extra": ("-l select=2",)}, "already"),
        ({"job_extra": ("-lmem=2gb",)}, "already; use memory="),
        ({"job_extra": ("-V -hq long",), "partition": "short"}, "use partition="),
        ({"job_extra": ("mem=2gb",)}, "not an option of qsub"),
        ({"job_extra": ("a\n#PBS -q x",)}, "single line"),
    ],
)
def test_what_cannot_be_is_refused_at_the_call(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        texts(**request_)
    assert words in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        texts(licenses=("a=b",), constraint="+", system_options=(("memory", "x"),))
    assert all(words in str(caught.value) for words in ("licenses", "constraint", "memory"))


def test_what_is_skipped_may_be_said_otherwise() -> None:
    assert texts(job_skip=("-l select", "-k"), job_extra=("-l select=1:ncpus=1:mem=1gb",)) == [
        "-l place=pack",
        "-j oe",
        "-m n",
        "-l select=1:ncpus=1:mem=1gb",
    ]


def test_one_job_is_no_array_and_the_script_is_on_stdin() -> None:
    made = pbs.prepare(job(), count=1, environment={})
    assert made.command.argv == ("qsub", "-f", "-N", "pool-1", "-o", "/data/my logs/100%/pool-1-0.log")
    assert made.command.stdin == made.files["pool-1.sh"]
    assert pbs.prepare(job(), count=20, environment={}).command.argv == (
        "qsub", "-f", "-N", "pool-1", "-J", "0-19", "-o", "/data/my logs/100%/pool-1-^array_index^.log",
    )  # fmt: skip
    by_file = pbs.prepare(replace(job(), by_file=True), count=1, environment={}).command
    assert (by_file.argv[-1], by_file.stdin) == ("/pools/one/pool-1.sh", None)
    assert pbs.log_path(job(), JobId("13[4].node1"), 4) == Path("/data/my logs/100%/pool-1-4.log")


@pytest.mark.parametrize("path", ["/data/a:b", "/data/kö", "/data/a^b", "/data/a,b", "/data/$HOME/`x`"])
def test_a_log_where_qsub_would_misread_the_path_is_opened_by_the_script(path: str, tmp_path: Path) -> None:
    asked = replace(job(), log_directory=Path(f"{tmp_path}{path}"), working_directory=tmp_path, argv=("echo", "hello"))
    asked.log_directory.mkdir(parents=True)
    asked = replace(asked, directory=tmp_path)
    (tmp_path / "exits").mkdir()
    made = pbs.prepare(asked, count=3, environment={})
    assert made.command.argv[-1] == "/dev/null"
    environment = {"PATH": os.defpath, "PBS_ARRAY_INDEX": "2", "PBS_JOBID": "13[2].node1", "PBS_NODEFILE": "/dev/null"}
    subprocess.run(["bash"], input=made.command.stdin, env=environment, text=True, check=True, timeout=60)
    assert "hello" in pbs.log_path(asked, JobId("13[2].node1"), 2).read_text()


def test_the_script_runs_where_the_pool_was_made_with_the_callers_variables(tmp_path: Path) -> None:
    hostile = {"A": "it's", "B": 'two\n"lines"', "C": "$(touch /nowhere) `x` \\"}
    asked = replace(
        job(),
        directory=tmp_path,
        working_directory=tmp_path / "it's #1",
        argv=("sh", "-c", 'env; pwd; echo "$@"', "sh", "a b"),
        environment={},
    )
    (tmp_path / "exits").mkdir()
    asked.working_directory.mkdir()
    given = {"PBS_JOBID": "1.node1", "PBS_SERVER": "node9", "NCPUS": "4", "TMPDIR": "/x", "UID": "0"}
    (tmp_path / "environment.sh").write_text(variables(**hostile, **given))
    script = text(asked)
    environment = {"PATH": os.defpath, "PBS_JOBID": "2.node1", "PBS_NODEFILE": str(tmp_path / "nodes"), "NCPUS": "2"}
    (tmp_path / "nodes").write_text("n7\nn7\n")
    done = subprocess.run(["bash"], input=script, env=environment, capture_output=True, text=True, check=True)
    assert all(f"{name}={value}" in done.stdout for name, value in hostile.items())
    assert "PBS_JOBID=2.node1" in done.stdout
    assert "PBS_SERVER=node9" in done.stdout
    assert "TMPDIR=" not in done.stdout
    assert str(asked.working_directory) in done.stdout.splitlines()
    assert "a b --index 0 --job-id 2.node1 --node n7 --cpus 2" in done.stdout
    assert (tmp_path / "exits" / "pool-1-0").read_text().splitlines()[1].endswith(" 0")


def test_the_command_sees_the_way_to_the_server_and_nothing_of_the_job_around_it() -> None:
    inside = {"PBS_JOBID": "1.node1", "PBS_DPREFIX": "#X", "PBS_CONF_FILE": "/etc/x.conf", "PATH": "/bin"}
    made = pbs.prepare(job(), count=1, environment=inside)
    assert dict(made.command.environment or ()) == {"PBS_CONF_FILE": "/etc/x.conf", "PATH": "/bin"}
    assert pbs.cancel([], [JobId("1.node1")])[0].unset.cleaned(inside) == {
        "PBS_CONF_FILE": "/etc/x.conf",
        "PATH": "/bin",
    }


def test_gpus_and_cores_of_the_job_around_are_not_those_of_a_new_one() -> None:
    inside = {"PBS_JOBID": "1.node1", "CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "7"}
    assert "CUDA_VISIBLE_DEVICES" not in variables(**inside)
    assert "OMP_NUM_THREADS" not in variables(**inside)
    assert variables(OMP_NUM_THREADS="7") == "export OMP_NUM_THREADS=7\n"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError):
        pbs.prepare(replace(job(), name="a b"), count=1, environment={})
