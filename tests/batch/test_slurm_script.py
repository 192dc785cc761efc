"""What a request becomes for SLURM, and what sbatch sees of the caller's environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_steps import tracked

from jobpool.batch.base import JobScript
from jobpool.batch.slurm.job_side import JOB_SIDE
from jobpool.batch.slurm.script import slurm_time
from jobpool.batch.slurm.system import Slurm
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

slurm = Slurm()


def texts(**request: Any) -> list[str]:
    return [directive.text for directive in slurm.directives(Request(**request), Limits())]


def text(asked: JobScript, count: int = 1) -> str:
    (text,) = slurm.prepare(asked, count=count, environment={}).files.values()
    return text


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


def test_the_least() -> None:
    assert texts() == ["--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--threads-per-core=1"]


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
        qos="high",
        reservation="course 1",
        licenses=("matlab:2", "idl"),
        constraint="[intel|amd]&ib",
        exclude=("n1", "n[3-4]"),
        job_extra=("--mail-type=END", "#SBATCH --comment='my job'"),
    ) == [
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=12",
        "--threads-per-core=2",
        "--mem=6400M",
        "--time=1-05:01:00",
        "--gres=gpu:3",
        "--licenses=matlab:2,idl",
        "--partition=long",
        "--account=lab",
        "--qos=high",
        '--reservation="course 1"',
        '--constraint="[intel|amd]&ib"',
        "--exclude=n1,n[3-4]",
        "--mail-type=END",
        "--comment='my job'",
    ]


def test_each_directive_has_a_reason() -> None:
    request = Request(
        memory=Memory(2**30), walltime=Duration(60), gpus=1, partition="x", licenses=("a",), exclude=("b",)
    )
    for directive in slurm.directives(request, Limits()):
        assert directive.why.endswith(".")
        assert len(directive.why) > 10


def test_skipped_directives() -> None:
    assert texts(memory=Memory(2**30), job_skip=("--mem", "--threads-per-core"), job_extra=("--mem=0",)) == [
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--mem=0",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0-00:01:00"),
        (1, "0-00:01:00"),
        (60, "0-00:01:00"),
        (61, "0-00:02:00"),
        (18000, "0-05:00:00"),
        (1e6, "11-13:47:00"),
    ],
)
def test_walltime_has_whole_minutes_and_is_never_zero(seconds: float, text: str) -> None:
    assert slurm_time(Duration(seconds)) == text


@pytest.mark.parametrize(
    "request_",
    [
        {"partition": "a\nb"},
        {"account": "a\0"},
        {"qos": ""},
        {"licenses": ("a", "b\r")},
        {"exclude": ("\n",)},
        {"job_extra": ("--x\n#SBATCH --y",)},
        {"job_extra": ("mail me",)},
        {"job_skip": ("",)},
        {"constraint": "x" * 5000},
    ],
)
def test_what_cannot_be_written_down_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        slurm.directives(Request(**request_), Limits())


def test_the_script() -> None:
    assert text(job(setup=("module load ffmpeg", "ulimit -c 0")), count=2) == "\n".join(
        [
            "#!/bin/bash",
            '#SBATCH --output="/data/my logs/100%%/pool-1-%A_%a.log"',
            "#SBATCH --open-mode=append",
            '#SBATCH --chdir="/home/me/it\'s #1"',
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            "#SBATCH --cpus-per-task=1",
            "#SBATCH --threads-per-core=1",
            "",
            "umask 077",
            "export A='it'\"'\"'s'",
            r"export B=$'two\x0alines'",
            "type module >/dev/null 2>&1 ||"
            ' for init in /etc/profile.d/*mod*.sh; do if [ -r "$init" ]; then . "$init"; fi; done',
            "module load ffmpeg",
            "ulimit -c 0",
            "exec /usr/bin/python3 -m agent 'a b' --index \"${SLURM_ARRAY_TASK_ID:-0}\""
            ' --job-id "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"'
            ' --node "${SLURMD_NODENAME:-}" --began "${SLURM_JOB_START_TIME:-}" --ends "${SLURM_JOB_END_TIME:-}"'
            ' --cpus "${SLURM_CPUS_ON_NODE:-}" --cluster "${SLURM_CLUSTER_NAME:-}"'
            f" --step-variables '{JOB_SIDE.step_variables}' --notice TERM --suspension TSTP",
            "",
        ]
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("--job-name=x", "use name="),
        ("-Jx", "use name="),
        ("-J x", "use name="),
        ("--job-n=x", "use name="),
        ("#SBATCH --job-name x", "use name="),
        ("--array=0-3", "use max_workers="),
        ("--arr 0-3", "use max_workers="),
        ("-a0-3", "use max_workers="),
        ("-Ha 0-3", "use max_workers="),
        ("--exclusive --array=0-3", "use max_workers="),
        ("--of-a-plugin --array=0-3", "use max_workers="),
        ("--stepmgr --array=0-3", "use max_workers="),
        ("--output=/tmp/x", "use log_directory="),
        ("-e x", "use log_directory="),
        ("--open-mode=truncate", "log"),
        ("--chdir=/", "change to it"),
        ("--nodes=2", "one job is one node"),
        ("-n 4", "use workers_per_job="),
        ("--tasks-per-node=4", "use workers_per_job="),
        ("--cpus-per-task=4", "use cores="),
        ("--hint=nomultithread", "use threads_per_core="),
        ("--mem=1G", "use memory="),
        ("--mem-per-cpu=1G", "use memory="),
        ("-t 10", "use walltime="),
        ("-p other", "use partition="),
        ("--gres=tmp:1", "use gpus="),
        ("--exclude=n1", "use exclude="),
        ("--signal=B:USR1@60", "checkpoint"),
        ("--wrap=true", "use setup="),
        ("--test-only", "no job"),
        ("-W", "would not come back"),
        ("-Q", "the job's id"),
        ("-M other", "SLURM_CLUSTERS"),
        ("--no=1", "write it in full"),
        ("mail me", "is not an option"),
    ],
)
def test_an_option_that_is_the_pools_own_is_refused_with_what_to_use(extra: str, words: str) -> None:
    request = {"memory": Memory(2**30), "walltime": Duration(3600), "partition": "long", "gpus": 1}
    with pytest.raises(ConfigError, match="job_extra") as caught:
        texts(**request, job_extra=(extra,))
    assert words in str(caught.value)


def test_all_options_that_are_refused_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        texts(job_extra=("--array=0-3 -o x", "--mail-type=END", "-J y"))
    assert [problem.partition(" is the pool's own")[0].split()[-1] for problem in caught.value.problems] == [
        "--array", "--output", "--job-name",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "extra",
    [
        *("--mail-type=END", "--begin=now+1hour", "--dependency=afterok:7", "--exclusive", "-H", "--gres=tmp:1"),
        *("--nodes=1", "-n1", "--cpus-per-task=1", "--mem=300M", "--time=10", "-p x", "--requeue", "--export=ALL,A=1"),
        *("--new-in-slurm-30=x", "--of-a-plugin x", "--comment='--array=0-3'", "--nodelist=n1"),
    ],
)
def test_all_other_options_are_the_users(extra: str) -> None:
    assert texts(job_extra=(extra,))[-1] == extra


def test_what_is_left_out_may_be_said_anew() -> None:
    request = {"memory": Memory(2**30), "gpus": 1, "job_skip": ("--mem", "--gres", "--threads-per-core")}
    assert texts(**request, job_extra=("--mem-per-cpu=1G", "--gres=gpu:a100:1,tmp:1", "--hint=nomultithread"))


def test_a_backslash_in_the_log_directory_is_refused() -> None:
    with pytest.raises(ConfigError, match="backslash"):
        text(replace(job(), log_directory=Path("/a\\b")))


def test_submit_is_one_command_with_the_script_on_stdin() -> None:
    many = slurm.prepare(job(), count=20, environment={})
    assert many.command.argv == ("sbatch", "--parsable", "--job-name=pool-1", "--array=0-19")
    assert many.files == {"pool-1.sh": many.command.stdin}
    one = slurm.prepare(job(), count=1, environment={})
    assert one.command.argv == ("sbatch", "--parsable", "--job-name=pool-1")
    assert one.command.stdin == text(job(), count=20).replace("-%A_%a.log", "-%A.log")


def test_a_program_around_sbatch_that_reads_no_stdin_is_given_the_file() -> None:
    made = slurm.prepare(replace(job(), by_file=True), count=1, environment={})
    assert made.command.argv == ("sbatch", "--parsable", "--job-name=pool-1", "/pools/one/pool-1.sh")
    assert made.command.stdin is None
    assert made.files == {"pool-1.sh": text(job())}


def test_log_paths() -> None:
    assert slurm.log_path(job(), JobId("1343_7"), 7) == Path("/data/my logs/100%/pool-1-1343_7.log")
    assert slurm.log_path(job(), JobId("1343"), 0) == Path("/data/my logs/100%/pool-1-1343.log")


def environment(asked: JobScript, **variables: str) -> dict[str, str]:
    return dict(slurm.prepare(asked, count=1, environment=variables).command.environment or ())


def test_another_allocation_does_not_leak_into_the_job() -> None:
    left = environment(
        job(),
        PATH="/bin",
        SLURM_CONF="/etc/slurm.conf",
        SLURM_JOB_ID="1",
        SLURM_CPU_BIND="quiet,mask_cpu:0x1",
        SLURM_ARRAY_TASK_ID="3",
        SBATCH_EXPORT="NONE",
        SBATCH_MEM_PER_NODE="1",
        SBATCH_JOB_NAME="x",
        SBATCH_ARRAY_INX="0-3",
        SBATCH_OUTPUT="/dev/null",
        SBATCH_WAIT="1",
        PMI_RANK="0",
        PMIX_RANK="0",
        CUDA_VISIBLE_DEVICES="0",
        SLURMISH="kept",
    )
    assert left == {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SLURMISH": "kept"}


def test_outside_an_allocation_the_users_devices_stay() -> None:
    assert environment(job(), CUDA_VISIBLE_DEVICES="") == {"CUDA_VISIBLE_DEVICES": ""}


def test_site_defaults_stay_where_the_script_says_nothing() -> None:
    defaults = {"SBATCH_ACCOUNT": "lab", "SBATCH_PARTITION": "long"}
    assert environment(job(), **defaults) == defaults
    assert environment(job(partition="short"), **defaults) == {"SBATCH_ACCOUNT": "lab"}
    assert environment(job(job_extra=("-A other", "-p x")), **defaults) == {}
    assert environment(job(job_extra=("--exclusive --acco=other -px",)), **defaults) == {}


def test_the_environment_is_not_printed_with_the_command() -> None:
    command = slurm.prepare(job(), count=1, environment={"TOKEN": "secret"}).command
    assert "secret" not in repr(command)


def test_cancel_packs_ids_and_takes_names_one_by_one() -> None:
    ids = [JobId(id) for id in ("7_1", "7_0", "7_2", "7_5", "9", "7_5", "8_3", "-x", "9;rm")]
    assert [command.argv for command in slurm.cancel(tracked("a", "b"), ids)] == [
        ("scancel", "9", "7_[0-2,5]", "8_[3]"),
        ("scancel", "--name=a"),
        ("scancel", "--name=b"),
    ]
    assert slurm.cancel((), ()) == ()


def test_poll_and_account_are_one_command_each_for_all_names() -> None:
    (poll,), (by_name,) = slurm.poll(tracked("a", "b")), slurm.account(tracked("a", "b"))
    assert poll.argv[:7] == (
        "squeue", "--me", "--all", "--array", "--states=all", "--noheader", "--name=a,b",
    )  # fmt: skip
    assert "--name=a,b" in by_name.argv
    ids = [JobId(id) for id in ("7_0", "7_1", "9", "-x")]
    (by_id,) = slurm.account(tracked("a", "b", ids=ids))
    assert {"--name=a,b", "--jobs=7,9"} <= set(by_id.argv)
    with pytest.raises(ConfigError):
        slurm.poll(tracked("a,b"))
