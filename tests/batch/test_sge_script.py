"""What a request becomes for Grid Engine, and what qsub and the jobs see of the caller's environment."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch.base import JobScript
from jobpool.batch.environment_file import FILE as ENVIRONMENT
from jobpool.batch.sge.environment import for_jobs
from jobpool.batch.sge.rules import GridEngineRules, Resource
from jobpool.batch.sge.script import sge_time
from jobpool.batch.sge.system import GridEngine
from jobpool.host.home import _SECRETS
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.rules import Wish
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory

sge = GridEngine()

RULES = GridEngineRules(
    environments=("fill", "smp"),
    of_queues=(("all.q", ("fill", "smp")), ("big.q", ("fill",)), ("serial.q", ())),
    resources=(
        Resource(name="h_vmem", shortcut="h_vmem", type="MEMORY", consumable="YES", default="512M"),
        Resource(name="mem_free", shortcut="mf", type="MEMORY"),
        Resource(name="ngpus", shortcut="g", type="INT", consumable="JOB"),
        Resource(name="matlab", shortcut="matlab", type="INT", consumable="YES"),
        Resource(name="whole", shortcut="w", type="BOOL", consumable="YES", exclusive=True),
    ),
)
ALWAYS = ["-S /bin/bash", "-notify", "-r n", "-m n", "-sync n"]


def texts(rules: GridEngineRules = RULES, **request: Any) -> list[str]:
    """Return the directives, but for those that are always there."""
    made = [directive.text for directive in sge.directives(Request(**request), Limits(rules=rules))]
    extra = len(request.get("job_extra", ()))
    return [text for text in made if text not in ALWAYS or extra]


def problems(**request: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        texts(**request)
    return str(caught.value)


def job(**request: Any) -> JobScript:
    return JobScript(
        name="pool-1",
        request=Request(**request),
        directory=Path("/pools/it's one"),
        log_directory=Path('/data/my logs:/#1 "x"'),
        working_directory=Path("/home/me/it's, $HOME #1"),
        argv=("/usr/bin/python3", "-m", "agent", "a b"),
        environment={"A": "it's", "B": "two\nlines"},
    )


def test_the_least() -> None:
    assert [directive.text for directive in sge.directives(Request(), Limits())] == ALWAYS
    assert all(directive.why.endswith(".") for directive in sge.directives(Request(), Limits()))


def test_everything() -> None:
    assert texts(
        cores=2,
        memory=Memory.parse("2 GiB"),
        gpus=1,
        walltime=Duration.parse("29h 30s"),
        workers_per_job=3,
        partition="all.q",
        account="bio",
        reservation="12",
        licenses=("matlab:6",),
        constraint="arch=lx-amd64,avx=true",
        exclude=("n1", "n2"),
        job_extra=("-p -10", "#$ -l scratch=1G"),
    ) == [
        "-pe smp 6",
        "-l h_vmem=1323M",
        "-l h_rt=29:00:30",
        "-l ngpus=3",
        "-l matlab=1",
        "-q all.q",
        "-P bio",
        "-ar 12",
        "-l arch=lx-amd64,avx=true",
        "-l h=!(n1|n2)",
        *ALWAYS,
        "-p -10",
        "-l scratch=1G",
    ]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"cores": 4}, ["-pe smp 4"]),
        ({"cores": 4, "partition": "big.q"}, ["-pe fill 4", "-q big.q"]),
        ({"cores": 2, "threads_per_core": 2}, ["-pe smp 4"]),
        ({"cores": 2, "system_options": (("slots_per_core", "2"),)}, ["-pe smp 4"]),
        ({"cores": 2, "system_options": (("parallel_environment", "omp"),)}, ["-pe omp 2"]),
        ({"memory": Memory.parse("1 GiB")}, ["-l h_vmem=2304M"]),
        ({"memory": Memory.parse("1 GiB"), "system_options": (("memory_margin", "0 B"),)}, ["-l h_vmem=1280M"]),
        (
            {"memory": Memory.parse("1 GiB"), "system_options": (("memory_resource", "mem_free"),)},
            ["-l mem_free=1280M"],
        ),
        ({"gpus": 2, "system_options": (("gpu_resource", "cards"),)}, ["-l cards=2"]),
        ({"memory": Memory.parse("1 GiB"), "job_skip": ("-l h_vmem",)}, []),
        ({"walltime": Duration(0.2)}, ["-l h_rt=0:00:01"]),
    ],
)
def test_settings(request_: dict[str, Any], expected: list[str]) -> None:
    assert texts(**request_) == expected


def test_names_that_a_site_has_not_are_asked_for() -> None:
    assert "parallel_environment" in problems(cores=2, partition="serial.q")
    bare = GridEngineRules(environments=(), resources=())
    for asked, option in (
        ({"cores": 2}, "parallel_environment"),
        ({"memory": Memory(2**30)}, "memory_resource"),
        ({"gpus": 1}, "gpu_resource"),
    ):
        with pytest.raises(ConfigError, match=option):
            texts(bare, **asked)
    # Before anything is known of the site, the usual names are taken.
    assert texts(GridEngineRules(), cores=2, gpus=2, memory=Memory(2**30)) == [
        "-pe smp 2",
        "-l h_vmem=1152M",
        "-l gpu=1",
    ]


def test_what_counts_for_each_slot_must_be_divisible() -> None:
    assert "cannot be divided among 4 slots" in problems(cores=4, licenses=("matlab:2",))
    assert texts(cores=2, gpus=1) == ["-pe smp 2", "-l ngpus=1"]  # this one counts for the whole job


def test_settings_without_a_word() -> None:
    assert "qos='high' cannot be used: Grid Engine has no such setting" in problems(qos="high")
    assert "did you mean parallel_environment?" in problems(system_options=(("paralel_environment", "smp"),))
    told = problems(system_options=(("memory_margin", "much"), ("slots_per_core", "0")))
    assert "memory_margin" in told
    assert "slots_per_core='0'" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-N other", "use name="),
        ("-t 1-3", "max_workers="),
        ("-o /tmp", "log_directory="),
        ("-sync y", "before the job's end"),
        ("-r y", "run a job again"),
        ("-w e", "disabled for a moment"),
        ("-l h_rt=5", "walltime="),
        ("-l s_rt=5,x=1", "not ended by h_rt"),
        ("-q short.q", "partition="),
        ("-pe mpi 3", "parallel_environment"),
        ("mem_free=1G", "does not begin with '-'"),
        ("two\nlines", "single line"),
    ],
)
def test_options_of_the_users_that_cannot_be(line: str, words: str) -> None:
    assert words in problems(cores=2, partition="all.q", walltime=Duration(60), job_extra=(line,))


def test_options_of_the_users_where_the_script_is_silent() -> None:
    assert texts(job_extra=("-q short.q", "-l h_rt=5", "-pe mpi 2"))[-3:] == ["-q short.q", "-l h_rt=5", "-pe mpi 2"]
    request = Request(partition="all.q", walltime=Duration(60), job_skip=("-q", "-l h_rt"), job_extra=("-q short.q",))
    written = RULES.as_written(request)
    assert (written.partition, written.walltime) == ("short.q", None)


@pytest.mark.parametrize("value", ["a b", "a#b", 'a"b', "a'b", "a\\b", "é", "a\nb", ""])
def test_a_value_that_cannot_stand_in_a_directive(value: str) -> None:
    assert "partition" in problems(partition=value)


def test_the_script() -> None:
    made = sge.prepare(job(cores=2, setup=("module load x\r\n",)), count=3, environment={"PATH": "/bin", "X": "a\nb"})
    script = made.files["pool-1.sh"]
    assert script.splitlines()[:8] == ["#!/bin/bash", "#$ -pe smp 2", *(f"#$ {text}" for text in ALWAYS), ""]
    assert "export A='it'\"'\"'s'\nexport B=$'two\\x0alines'\n" in made.files[ENVIRONMENT]
    assert made.command.stdin == script
    assert made.command.argv == (
        "qsub", "-terse", "-N", "pool-1", "-t", "1-3", "-wd", "/home/me/it's, $HOME #1", "-j", "y",
        "-o", ':/data/my logs:/#1 "x"/pool-1-$JOB_ID.$TASK_ID.log',
    )  # fmt: skip
    assert sge.log_path(job(), JobId("12.3"), 2) == Path('/data/my logs:/#1 "x"/pool-1-12.3.log')
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_one_job_is_no_array_and_a_wrapper_gets_a_file() -> None:
    made = sge.prepare(replace(job(), by_file=True), count=1, environment={})
    assert made.command.argv[:4] == ("qsub", "-terse", "-N", "pool-1")
    assert "-t" not in made.command.argv
    assert made.command.argv[-3:] == ("-o", ':/data/my logs:/#1 "x"/pool-1-$JOB_ID.log', "/pools/it's one/pool-1.sh")
    assert made.command.stdin is None


def test_a_line_of_setup_is_no_option() -> None:
    with pytest.raises(ConfigError, match="give it as job_extra"):
        sge.prepare(job(setup=("echo x\n#$ -q other.q",)), count=1, environment={})


@pytest.mark.parametrize("character", [",", "$", "\n"])
def test_a_log_directory_that_would_be_another_one(character: str) -> None:
    with pytest.raises(ConfigError, match="log directory"):
        sge.prepare(replace(job(), log_directory=Path(f"/data/a{character}b")), count=1, environment={})


def test_a_job_gets_the_users_variables_and_keeps_its_own(tmp_path: Path) -> None:
    theirs = {"X": "a\nb'c", "JOB_ID": "7", "SGE_TASK_ID": "3", "NSLOTS": "4", "TMPDIR": "/tmp/7.1.q", "PE": "x"}
    file = tmp_path / ENVIRONMENT
    others = {"BASH_FUNC_f%%": "() { :; }", "SHLVL": "3", "BIG": "x" * 200_000, "UID": "5"}
    file.write_text(for_jobs({**theirs, **others}, {}))
    script = f'set -e; SGE_TASK_ID=9; JOB_ID=8; . "{file}"; echo "$X,$JOB_ID,$SGE_TASK_ID,$NSLOTS,$PE,${{BIG:-}}"'
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/bin:/usr/bin"}
    )
    assert done.stdout == "a\nb'c,8,9,,,\n"
    assert ENVIRONMENT in _SECRETS


def test_qsub_sees_the_way_to_the_cluster_and_no_job() -> None:
    variables = {
        "SGE_ROOT": "/sge",
        "SGE_DEBUG_LEVEL": "2",
        "JOB_ID": "7",
        "SGE_TASK_ID": "1",
        "QUEUE": "q",
        "HOME": "/h",
    }
    made = sge.prepare(job(), count=1, environment=variables)
    assert dict(made.command.environment or ()) == {"SGE_ROOT": "/sge", "HOME": "/h"}
    # Outside of a job these may be the user's own.
    made = sge.prepare(job(), count=1, environment={"QUEUE": "q", "TMPDIR": "/scratch"})
    assert dict(made.command.environment or ()) == {"QUEUE": "q", "TMPDIR": "/scratch"}


def test_the_job_tells_the_agent_its_place() -> None:
    script = sge.prepare(job(), count=3, environment={}).files["pool-1.sh"]
    (line,) = [line for line in script.splitlines() if "-m agent" in line]
    task = next(line for line in script.splitlines() if line.startswith("task="))
    told = line.replace("/usr/bin/python3", "printf '%s\\n'").partition(" --script-age")[0]
    for number, expected in (("3", ["2", "12.3"]), ("undefined", ["0", "12"])):
        shell = f"JOB_ID=12 SGE_TASK_ID={number} NSLOTS=2 HOSTNAME=node1; {task}; {told}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
        words = done.stdout.splitlines()
        found = dict(itertools.pairwise(words))
        assert [found["--index"], found["--job-id"]] == expected
        assert (found["--node"], found["--cpus"], found["--notice"]) == ("node1", "2", "USR2")


def test_what_a_node_gives() -> None:
    shape = NodeShape(count=1, cores=4, threads_per_core=2, memory=Memory(8 * 2**30))
    place = Partition(name="all.q", default_memory_per_cpu=Memory(2**30))
    asked = RULES.wish_of(Request(cores=3, memory=Memory(2**30)))
    assert (asked.cpus, asked.memory) == (3, Memory(2**31 + 256 * 2**20))
    given = RULES.grant(asked, place, shape)
    assert given is not None
    assert (given.cpus, given.cores, given.memory) == (3, 2, asked.memory)
    assert RULES.grant(Wish(cpus_per_task=9), place, shape) is None
    assert RULES.grant(Wish(cpus_per_task=4, memory_per_cpu=Memory(4 * 2**30)), place, shape) is None
    whole = RULES.wish_of(Request(job_extra=("-l whole=1",)))
    assert whole.exclusive
    assert RULES.grant(whole, place, shape).cpus == 8  # type: ignore[union-attr]
    assert RULES.whole_node_option(Request(job_extra=("-l other=1",))) == ""


def test_times() -> None:
    assert [sge_time(Duration(seconds)) for seconds in (0.1, 61, 3600, 100 * 3600)] == [
        "0:00:01", "0:01:01", "1:00:00", "100:00:00",
    ]  # fmt: skip
