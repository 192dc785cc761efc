"""What a request becomes for LSF, and what bsub sees of the caller's environment."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_steps import tracked

from jobpool.batch.base import JobScript
from jobpool.batch.lsf.environment import for_jobs
from jobpool.batch.lsf.options import SYSTEM_OPTIONS
from jobpool.batch.lsf.rules import LsfRules
from jobpool.batch.lsf.system import Lsf
from jobpool.config.files import Places
from jobpool.config.resolve import resolve
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

lsf = Lsf()
GIB = Memory(2**30)


def texts(site: Limits | None = None, **request: Any) -> list[str]:
    return [directive.text for directive in lsf.directives(Request(**request), site or Limits())]


def options(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def job(**request: Any) -> JobScript:
    return JobScript(
        name="pool-1",
        request=Request(**request),
        directory=Path("/pools/one"),
        log_directory=Path("/data/my logs/100%J"),
        working_directory=Path("/home/me/it's #1"),
        argv=("/usr/bin/python3", "-m", "agent", "a b"),
        environment={"A": "it's", "B": "two\nlines"},
    )


ALWAYS = ["-rn", "-o /dev/null"]


def test_the_least() -> None:
    assert texts() == ["-n 1", '-R "span[hosts=1]"', *ALWAYS]


def test_everything() -> None:
    assert texts(
        cores=2,
        memory=Memory.parse("2 GiB"),
        gpus=1,
        walltime=Duration.parse("29h 30s"),
        workers_per_job=3,
        partition="long",
        account="my lab",
        reservation="user1#0",
        licenses=("matlab:2", "idl"),
        constraint="mem>4000 && type==X86_64",
        exclude=("node1", "node-2.local"),
        job_extra=("-B", "#BSUB -u me@example.org"),
        system_options=options(user_group="bio", job_group="/a/b", application="py", service_class="gold"),
    ) == [
        "-n 6",
        '-R "span[hosts=1]"',
        '-R "rusage[mem=6400MB]"',
        "-M 6400MB",
        "-W 1741",
        '-gpu "num=3"',
        '-R "rusage[matlab=2,idl=1]"',
        "-q long",
        '-P "my lab"',
        '-U "user1#0"',
        "-G bio",
        "-g /a/b",
        "-app py",
        "-sla gold",
        '-R "select[mem>4000 && type==X86_64]"',
        "-R \"select[hname!='node1' && hname!='node-2.local']\"",
        *ALWAYS,
        "-B",
        "-u me@example.org",
    ]


def test_each_directive_has_a_reason() -> None:
    request = Request(memory=GIB, walltime=Duration(60), gpus=1, partition="x", licenses=("a",), exclude=("b",))
    for directive in lsf.directives(request, Limits()):
        assert directive.why.endswith(".")
        assert len(directive.why) > 10


def memory_of(site: Limits | None = None, **values: str) -> list[str]:
    found = texts(site, cores=4, memory=Memory(2**30 - 2**28), system_options=options(**values))
    return [text for text in found if "mem=" in text or text.startswith("-M")]


def test_memory_is_of_the_job_and_always_has_a_unit_unless_a_version_takes_none() -> None:
    assert memory_of() == ['-R "rusage[mem=1024MB]"', "-M 1024MB"]
    assert memory_of(memory_unit="GB") == ['-R "rusage[mem=1]"', "-M 1"]
    assert memory_of(memory_unit="KB") == ['-R "rusage[mem=1048576]"', "-M 1048576"]


def test_memory_is_divided_where_the_site_counts_it_for_each_task() -> None:
    per_task = Limits(rules=LsfRules("task"))
    assert memory_of(per_task) == ['-R "rusage[mem=256MB]"', "-M 1024MB"]
    assert memory_of(memory_per="task") == ['-R "rusage[mem=256MB]"', "-M 1024MB"]
    assert memory_of(per_task, memory_per="job") == ['-R "rusage[mem=1024MB/job]"', "-M 1024MB"]
    assert memory_of(per_task, memory_per="host") == ['-R "rusage[mem=1024MB]"', "-M 1024MB"]


def test_the_limit_of_memory_can_be_enforced_or_left_out() -> None:
    assert memory_of(memory_limit="enforced")[1] == "-M 1024MB!"
    assert memory_of(memory_limit="none") == ['-R "rusage[mem=1024MB]"']


def test_gpus_in_the_words_of_the_site() -> None:
    more = options(gpu_options="mode=exclusive_process:j_exclusive=yes")
    assert '-gpu "num=2:mode=exclusive_process:j_exclusive=yes"' in texts(gpus=2, system_options=more)
    older = options(gpu_resource="ngpus_excl_p")
    assert '-R "rusage[ngpus_excl_p=2]"' in texts(gpus=2, system_options=older)


def test_slots_that_are_hardware_threads() -> None:
    assert texts(cores=2, system_options=options(slots_per_core="2"))[0] == "-n 4"
    assert texts(cores=2, threads_per_core=2)[0] == "-n 4"


@pytest.mark.parametrize(("seconds", "text"), [(0, "-W 1"), (1, "-W 1"), (60, "-W 1"), (61, "-W 2"), (18000, "-W 300")])
def test_walltime_has_whole_minutes_and_is_never_zero(seconds: float, text: str) -> None:
    assert text in texts(walltime=Duration(seconds))


def test_skipped_directives() -> None:
    assert texts(memory=GIB, job_skip=("-M", '-R "rusage', "-rn"), job_extra=("-M 5GB",)) == [
        "-n 1",
        '-R "span[hosts=1]"',
        "-o /dev/null",
        "-M 5GB",
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "a\nb"}, "single line"),
        ({"partition": 'a" -x'}, "must not contain"),
        ({"account": "$(id)"}, "must not contain"),
        ({"account": "a\\b"}, "must not contain"),
        ({"account": "`id`"}, "must not contain"),
        ({"constraint": 'x"] -x'}, "must not contain"),
        ({"exclude": ("node[1-3]",)}, "name of one node"),
        ({"exclude": ("a'b",)}, "name of one node"),
        ({"licenses": ("matlab:2]",)}, "NAME:COUNT"),
        ({"job_extra": ("-x\n#BSUB -y",)}, "single line"),
        ({"job_extra": ("mail me",)}, "not an option of bsub"),
        ({"job_skip": ("",)}, "leave out every directive"),
        ({"constraint": "x" * 5000}, "longer than"),
        ({"qos": "high"}, "LSF has no such setting"),
        ({"system_options": options(memory_unit="MiB")}, "GB or KB or MB or TB|KB or MB or GB or TB"),
        ({"system_options": options(slots_per_core="0")}, "whole number"),
        ({"system_options": options(application="a b$")}, "must not contain"),
        ({"system_options": options(aplication="x")}, "did you mean application"),
        ({"gpus": 1, "system_options": options(gpu_resource="a]")}, "one word"),
        ({"gpus": 1, "system_options": options(gpu_options='x" -x')}, "must not contain"),
    ],
)
def test_what_cannot_be_written_down_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lsf.directives(Request(**asked), Limits())


@pytest.mark.parametrize(
    ("extra", "asked", "words"),
    [
        ("-J mine", {}, "use name="),
        ("-Jmine", {}, "use name="),
        ("-o mine.log", {}, "use log_directory="),
        ("-oo mine.log", {}, "use log_directory="),
        ("-e err", {}, "use log_directory="),
        ("-cwd /tmp", {}, "change to it first"),
        ("-K", {}, "would not come back"),
        ("-Is", {}, "no terminal"),
        ("-r", {}, "asks for new jobs itself"),
        ("-n 4", {}, "cores="),
        ("-n4", {}, "cores="),
        ("-W 1:00", {"walltime": Duration(60)}, "walltime="),
        ("-M 5GB", {"memory": GIB}, "memory="),
        ("-q night", {"partition": "day"}, "partition="),
        ('-R "span[ptile=2]"', {}, "one job is one node"),
        ('-R "select[x] rusage[swp=1, mem=5]"', {"memory": GIB}, "memory="),
    ],
)
def test_options_that_are_the_pools_or_a_keyword_s_are_refused(extra: str, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lsf.directives(Request(job_extra=(extra,), **asked), Limits())


@pytest.mark.parametrize("extra", ["-x", "-W 1:00", "-M 5GB", "-q night", '-R "select[a] order[ut]"', "-H", "-sp 50"])
def test_other_options_are_free(extra: str) -> None:
    assert texts(job_extra=(extra,))[-1] == extra


def test_the_script() -> None:
    made = lsf.prepare(job(setup=("module load ffmpeg", "ulimit -c 0")), count=2, environment={})
    (text,) = made.files.values()
    lines = text.splitlines()
    assert lines[:5] == ["#!/bin/bash", "#BSUB -n 1", '#BSUB -R "span[hosts=1]"', "#BSUB -rn", "#BSUB -o /dev/null"]
    assert lines[6:13] == [
        "umask 077",
        "jobpool_element=${LSB_JOBINDEX:-0}",
        "jobpool_element=${jobpool_element#0}",
        "exec >>'/data/my logs/100%J/pool-1-'\"$LSB_JOBID${jobpool_element:+_$jobpool_element}\".log 2>&1 || exit 73",
        "cd -- '/home/me/it'\"'\"'s #1' || exit 72",
        "unset LSB_NTRIES",
        "export A='it'\"'\"'s'",
    ]
    assert lines[-1] == 'exit "$code"'
    assert "--notice USR2,INT,TERM" in text
    assert made.command.stdin == text
    assert made.command.argv == ("bsub", "-J", "pool-1[1-2]")
    assert list(made.files) == ["pool-1.sh"]


def run_script(directory: Path, count: int, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a job script as LSF does, with an agent that prints what it is told."""
    for name in ("logs", "work", "exits"):
        (directory / name).mkdir(exist_ok=True)
    asked = replace(
        job(setup=("echo set up",)),
        directory=directory,
        log_directory=directory / "logs",
        working_directory=directory / "work",
        argv=("printf", "<%s>\\n"),
    )
    made = lsf.prepare(asked, count=count, environment={})
    return subprocess.run(
        ["/bin/bash", "-s"],
        input=made.command.stdin,
        env={"PATH": "/usr/bin:/bin", "LSB_JOBID": "1234", "LSB_HOSTS": "node1 node1", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(log: Path) -> list[str]:
    words = [line.strip("<>") for line in log.read_text().splitlines()]
    return [
        f"{words[at]} {words[at + 1]}" for at in range(len(words)) if words[at] in ("--index", "--job-id", "--node")
    ]


def test_an_element_tells_the_agent_its_place_its_id_and_its_node(tmp_path: Path) -> None:
    assert run_script(tmp_path, 12, LSB_JOBINDEX="10").returncode == 0
    log = lsf.log_path(replace(job(), log_directory=tmp_path / "logs"), JobId("1234[10]"), 9)
    assert told(log) == ["--index 9", "--job-id 1234[10]", "--node node1"]
    began, ended = (tmp_path / "exits" / "pool-1-9").read_text().splitlines()
    assert began.startswith("began ")
    assert ended.endswith(" 0")


@pytest.mark.parametrize("variables", [{"LSB_JOBINDEX": "0"}, {}])
def test_a_job_that_is_no_element_has_index_0(tmp_path: Path, variables: dict[str, str]) -> None:
    assert run_script(tmp_path, 1, **variables).returncode == 0
    log = lsf.log_path(replace(job(), log_directory=tmp_path / "logs"), JobId("1234"), 0)
    assert log.name == "pool-1-1234.log"
    assert told(log) == ["--index 0", "--job-id 1234", "--node node1"]


def test_a_script_without_its_directories_says_so_by_its_exit_code(tmp_path: Path) -> None:
    run_script(tmp_path, 1)
    for name, code in (("work", 72), ("logs", 73)):
        for path in sorted((tmp_path / name).iterdir()):
            path.unlink()
        (tmp_path / name).rmdir()
        (tmp_path / name).write_text("")  # no directory, so that it is not made anew
        made = lsf.prepare(
            replace(job(), directory=tmp_path, log_directory=tmp_path / "logs", working_directory=tmp_path / "work"),
            count=1,
            environment={},
        )
        done = subprocess.run(
            ["/bin/bash", "-s"],
            input=made.command.stdin,
            env={"PATH": "/usr/bin:/bin", "LSB_JOBID": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr


def test_one_job_is_no_array() -> None:
    assert lsf.prepare(job(), count=1, environment={}).command.argv == ("bsub", "-J", "pool-1")


def test_the_specification_of_the_largest_array_is_short_enough() -> None:
    longest = replace(job(), name="p" * 60)
    assert len(lsf.prepare(longest, count=100_000, environment={}).command.argv[2]) <= 255


def test_a_script_as_a_file_has_its_directives_on_the_command_line() -> None:
    asked = replace(job(partition="long", memory=GIB), by_file=True)
    made = lsf.prepare(asked, count=2, environment={})
    assert made.command.stdin is None
    assert made.command.argv == (
        *("bsub", "-J", "pool-1[1-2]", "-n", "1", "-R", "span[hosts=1]", "-R", "rusage[mem=1280MB]", "-M", "1280MB"),
        *("-q", "long", "-rn", "-o", "/dev/null", "/bin/bash", "/pools/one/pool-1.sh"),
    )
    with pytest.raises(ConfigError, match="gives the path to a shell"):
        lsf.prepare(replace(asked, directory=Path("/pools/my own")), count=1, environment={})


def test_the_submit_command_tries_once_and_its_time_out_is_above_one_try() -> None:
    command = lsf.prepare(job(), count=1, environment={"LSB_NTRIES": "100"}).command
    assert dict(command.environment or ())["LSB_NTRIES"] == "1"
    assert command.timeout > 60


def test_inside_of_a_job_its_variables_do_not_mislead_a_new_one() -> None:
    inside = {
        "PATH": "/bin",
        "LSB_JOBID": "12",
        "LSB_JOBINDEX": "3",
        "LSB_MCPU_HOSTS": "node1 4",
        "LS_SUBCWD": "/x",
        "LSF_PM_TASKID": "1",
        "LSF_ENVDIR": "/opt/lsf/conf",
        "LSF_SERVERDIR": "/opt/lsf/etc",
        "BSUB_QUIET": "Y",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert for_jobs(inside, ()) == {
        "PATH": "/bin",
        "LSF_ENVDIR": "/opt/lsf/conf",
        "LSF_SERVERDIR": "/opt/lsf/etc",
        "LSB_NTRIES": "1",
    }
    assert for_jobs({"CUDA_VISIBLE_DEVICES": "0"}, ())["CUDA_VISIBLE_DEVICES"] == "0"


def test_defaults_of_the_user_stay_where_no_directive_says_otherwise() -> None:
    defaults = {"LSB_DEFAULTQUEUE": "night", "LSB_DEFAULTPROJECT": "bio"}
    command = lsf.prepare(job(partition="day"), count=1, environment=defaults).command
    assert dict(command.environment or ()) == {"LSB_DEFAULTPROJECT": "bio", "LSB_NTRIES": "1"}


def test_names_that_could_mean_more_are_refused() -> None:
    for name in ("pool*", "0", "-x", "a b", "a[1]"):
        with pytest.raises(ConfigError):
            lsf.prepare(replace(job(), name=name), count=1, environment={})
        with pytest.raises(ConfigError):
            lsf.cancel(tracked(name), [])
        with pytest.raises(ConfigError):
            lsf.find(name)


def test_what_jobs_are_told_before_they_are_killed() -> None:
    notices = lsf.notices(Limits())
    assert notices.signals == ("USR2", "INT", "TERM")
    assert (notices.after_delete, notices.longest) == (20.0, 600.0)
    assert lsf.notices(Limits(kill_wait=Duration(60))).after_delete == 60.0


def rows_of_the_page() -> list[list[str]]:
    text = (Path(__file__).parents[2] / "docs" / "on-lsf.md").read_text()
    [table] = re.findall(r"^\| you write \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


@pytest.mark.parametrize("row", rows_of_the_page(), ids=lambda row: row[0])
def test_the_page_s_directives_are_those_that_are_written(row: list[str], tmp_path: Path) -> None:
    call = ast.parse(f"f({row[0].strip('`')})", mode="eval").body
    assert isinstance(call, ast.Call)
    asked = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    settings = resolve({"scheduler": "lsf", **asked}, environment={}, cwd=tmp_path, places=Places())
    written = [directive.text for directive in lsf.directives(settings.request, Limits())]
    said = [text for text in re.findall(r"`([^`]+)`", row[1]) if text.startswith("-") and not text.startswith("-J")]
    if "max_workers" in asked:
        assert str(settings.max_workers) in row[1]
    else:
        assert said
    assert set(said) <= set(written)


def test_the_page_names_all_options_of_the_system() -> None:
    text = (Path(__file__).parents[2] / "docs" / "on-lsf.md").read_text()
    assert [name for name in SYSTEM_OPTIONS if f"`{name}`" not in text] == []
