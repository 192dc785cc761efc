"""What a request becomes for OAR: options, the job script, and the command line of oarsub."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_steps import job_script

from jobpool.batch.oar.rules import OarRules
from jobpool.batch.oar.system import Oar
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory

oar = Oar()
SITE = Limits(rules=OarRules(core="core", gpu="gpu", memory="mem", known=True))
GIB = 2**30


def texts(site: Limits = SITE, **request: Any) -> list[str]:
    return [directive.text for directive in oar.directives(Request(**request), site)]


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        ({}, ["-l /nodes=1/core=1"]),
        ({"cores": 2, "workers_per_job": 3}, ["-l /nodes=1/core=6"]),
        ({"walltime": Duration(5400)}, ["-l /nodes=1/core=1,walltime=1:30:00"]),
        ({"walltime": Duration(0.2)}, ["-l /nodes=1/core=1,walltime=0:00:01"]),
        ({"walltime": Duration(3 * 86400)}, ["-l /nodes=1/core=1,walltime=72:00:00"]),
        ({"gpus": 1, "workers_per_job": 2}, ["-l /nodes=1/gpu=2", "-p 'gpu > 0'"]),
        ({"system_options": (("whole_node", "yes"),)}, ["-l /nodes=1"]),
        ({"system_options": (("core_property", "cpucore"),)}, ["-l /nodes=1/cpucore=1"]),
        ({"memory": Memory(2 * GIB)}, ["-l /nodes=1/core=1", "-p 'mem >= 2304'"]),
        (
            {"memory": Memory(2 * GIB), "cores": 2, "system_options": (("core_memory_property", "memcore"),)},
            ["-l /nodes=1/core=2", "-p 'memcore >= 1152'"],
        ),
        ({"memory": Memory(GIB), "system_options": (("memory_property", "none"),)}, ["-l /nodes=1/core=1"]),
        (
            {"memory": Memory(GIB), "constraint": "a = 'x' OR b", "exclude": ("n1", "n2.site")},
            [
                "-l /nodes=1/core=1",
                "-p " + shlex.quote("(a = 'x' OR b) AND (mem >= 1280) AND (network_address NOT IN ('n1', 'n2.site'))"),
            ],
        ),
        (
            {"partition": "production", "account": "my project", "reservation": "17"},
            ["-l /nodes=1/core=1", "-q production", "--project 'my project'", "-t inner=17"],
        ),
        ({"partition": "besteffort"}, ["-l /nodes=1/core=1", "-q besteffort", "--checkpoint 30 --signal 12"]),
        (
            {"job_extra": ("#OAR -t besteffort",)},
            ["-l /nodes=1/core=1", "--checkpoint 30 --signal 12", "-t besteffort"],
        ),
        (
            {"job_skip": ("-l",), "job_extra": ("-l /switch=1/core=4,walltime=1",)},
            ["-l /switch=1/core=4,walltime=1"],
        ),
        ({"licenses": ("matlab:2", "ansys")}, ["-l /nodes=1/core=1", "-t token:matlab=2", "-t token:ansys=1"]),
    ],
)
def test_each_setting_has_its_option(request_: Mapping[str, Any], options: list[str]) -> None:
    assert texts(**request_) == options


def test_each_option_says_why() -> None:
    request = Request(cores=2, memory=Memory(GIB), walltime=Duration(60), exclude=("n1",), partition="besteffort")
    assert all(directive.why.endswith(".") for directive in oar.directives(request, SITE))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"qos": "high"}, "OAR has no such setting; the nearest that it has is partition="),
        ({"partition": "a b"}, "cannot be the name of a queue"),
        ({"partition": "a,b"}, "a job is in one queue"),
        ({"account": "it's"}, "cannot be the name of a project"),
        ({"reservation": "mine"}, "the number of a container job"),
        ({"exclude": ("n1') OR ('1",)}, "cannot be the name of a node"),
        ({"constraint": "a\nb"}, "single line"),
        ({"licenses": ("a b",)}, "licenses"),
        ({"job_skip": ("",)}, "job_skip"),
        ({"system_options": (("cores_property", "core"),)}, "did you mean core_property?"),
        ({"system_options": (("core_property", "core=1,walltime"),)}, "is not the name of a property"),
        ({"system_options": (("whole_node", "maybe"),)}, "must be 'yes' or 'no'"),
        ({"job_extra": ("besteffort",)}, "it is not an option of oarsub"),
        ({"job_extra": ("-n mine",)}, "the pool finds its jobs by it"),
        ({"job_extra": ("--array 5",)}, "the pool counts its jobs itself"),
        ({"job_extra": ("--arr 5",)}, "write it in full"),
        ({"job_extra": ("-t idempotent",)}, "behind the pool's back"),
        ({"job_extra": ("-l /core=4",)}, "the pool says --resource already"),
        ({"job_extra": ("-p a=1",), "constraint": "b"}, "use constraint="),
        ({"job_extra": ("-t besteffort sleep",)}, "would take 'sleep' for the command"),
        ({"job_extra": ("-S",)}, "the pool writes the job's script itself"),
    ],
)
def test_what_cannot_be_said_is_refused(request_: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        texts(**request_)
    assert words in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        texts(job_extra=("-n a", "-d /tmp", "besteffort"))
    assert len(caught.value.problems) == 3


def test_gpus_of_a_site_that_names_them_otherwise() -> None:
    site = Limits(rules=OarRules(known=True))
    with pytest.raises(ConfigError, match="gpu_property"):
        texts(site, gpus=1)
    assert texts(site, gpus=1, system_options=(("gpu_property", "card"),))[0] == "-l /nodes=1/card=1"
    # Nothing is known of the site: OAR itself will say.
    assert texts(Limits(), gpus=1)[0] == "-l /nodes=1/gpu=1"


def test_oarsub_is_given_one_line_for_a_shell(tmp_path: Path) -> None:
    job = job_script(tmp_path / "a b", ["python", "-m", "agent"], name="jp-x-1", request=Request(cores=2))
    job = replace(job, site=SITE)
    made = oar.prepare(job, count=3, environment={"PATH": "/bin", "OAR_JOB_ID": "5", "HOME": "/home/alice"})
    log = f"{tmp_path}/a b/jp-x-1-%jobid%.log"
    assert made.command.argv == (
        "oarsub",
        "--name=jp-x-1",
        f"--directory={tmp_path}/a b",
        f"--stdout={log}",
        f"--stderr={log}",
        "-l",
        "/nodes=1/core=2",
        "--array=3",
        f"exec env -u BASH_ENV /bin/bash '{tmp_path}/a b/jp-x-1.sh'",
    )
    assert made.command.stdin is None
    assert made.command.environment == (("PATH", "/bin"), ("HOME", "/home/alice"))
    assert list(made.files) == ["jp-x-1.sh", "environment.sh"]
    assert oar.log_path(job, JobId("7"), 2) == tmp_path / "a b" / "jp-x-1-7.log"


def test_a_single_job_is_no_array(tmp_path: Path) -> None:
    argv = oar.prepare(job_script(tmp_path, ["true"]), count=1, environment={}).command.argv
    assert not [word for word in argv if word.startswith("--array")]


@pytest.mark.parametrize("name", ["it's", "back\\slash", "%jobid%", "é", "a+b,c=d"])
def test_places_that_oar_cannot_name_are_gone_to_by_the_script(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    job = replace(job_script(tmp_path, ["pwd"]), log_directory=place, working_directory=place)
    made = oar.prepare(job, count=1, environment={})
    assert {"--directory=/", "--stdout=/dev/null", "--stderr=/dev/null"} <= set(made.command.argv)
    (tmp_path / "job.sh").write_text(made.files["test.sh"].replace("exec pwd", "exec bash -c pwd"))
    environment = {"PATH": "/usr/bin:/bin", "OAR_JOB_ID": "42", "OAR_NODEFILE": "/dev/null"}
    subprocess.run(["bash", str(tmp_path / "job.sh")], env=environment, check=True)
    assert oar.log_path(job, JobId("42"), 0).read_text() == f"{place}\n"


def test_a_directory_whose_name_is_no_line_of_text_is_refused(tmp_path: Path) -> None:
    job = replace(job_script(tmp_path, ["true"]), log_directory=tmp_path / "two\nlines")
    with pytest.raises(ConfigError):
        oar.prepare(job, count=1, environment={})


SHOW = """printf '%s\\n' "$@"; printf '%s|' "$MINE" "$GIVEN" "${BASH_ENV-none}" "${PERL5LIB-none}" "$FROM_SETUP" """


def test_the_script_runs_with_what_the_user_has_set(tmp_path: Path) -> None:
    """As OAR's own programs leave the environment to it."""
    nodes = tmp_path / "nodes"
    nodes.write_text("node1\nnode1\n")
    job = job_script(
        tmp_path,
        ["bash", "-c", SHOW, "bash"],
        request=Request(setup=("export FROM_SETUP='a b'",)),
        environment={"GIVEN": "it's $HOME\n"},
    )
    mine = {"MINE": "x\ty `z`", "OAR_JOB_ID": "1", "SSH_CLIENT": "no", "BASH_FUNC_ml%%": "() { :; }", "odd-name": "1"}
    made = oar.prepare(job, count=2, environment=mine)
    script = tmp_path / "job.sh"
    script.write_text(made.files["test.sh"])
    (tmp_path / "environment.sh").write_text(made.files["environment.sh"])
    environment = {
        "PATH": "/usr/bin:/bin", "OAR_JOB_ID": "42", "OAR_ARRAY_INDEX": "2", "OAR_NODEFILE": str(nodes),
        "OAR_JOB_WALLTIME_SECONDS": "600", "PERL5LIB": "/usr/lib/oar", "OARDO_UID": "100",
    }  # fmt: skip
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=True)
    *words, last = done.stdout.split("\n")
    told = dict(zip(words[::2], words[1::2], strict=False))
    began = int(nodes.stat().st_mtime)
    assert told["--index"] == "1"
    assert told["--job-id"] == "42"
    assert told["--node"] == "node1"
    assert told["--cpus"] == "2"
    assert (int(told["--began"]), int(told["--ends"])) == (began, began + 600)
    assert told["--notice"] == "USR2"
    assert "\n".join([*words[16:], last]).endswith("none|none|a b|")
    assert "x\ty `z`|it's $HOME\n|" in done.stdout
    assert "SSH_CLIENT" not in made.files["test.sh"]
    assert "odd-name" not in made.files["test.sh"]


def test_a_script_says_what_was_asked_for(tmp_path: Path) -> None:
    text = oar.prepare(job_script(tmp_path, ["true"], request=Request(cores=3)), count=1, environment={}).files[
        "test.sh"
    ]
    assert text.splitlines()[:2] == ["#!/bin/bash", "#OAR -l /nodes=1/core=3"]
