"""What a request becomes for HTCondor: the submit description, the script, and what both keep out."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobpool.batch.base import JobScript, Tracked
from jobpool.batch.htcondor.description import PERIODIC_REMOVE
from jobpool.batch.htcondor.environment import for_jobs
from jobpool.batch.htcondor.explainer import make as make_explainer
from jobpool.batch.htcondor.rules import HTCondorRules
from jobpool.batch.htcondor.system import HTCondor
from jobpool.config.jobqueue_yaml import section_of, translate
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.tools.explain_script import cluster_of, explain_cluster, read_call

condor = HTCondor()

ENDS = [
    "job_max_vacate_time = 30",
    f"periodic_remove = {PERIODIC_REMOVE}",
    "should_transfer_files = IF_NEEDED",
    'transfer_output_files = ""',
    "stream_output = true",
    "stream_error = true",
    "notification = never",
]


def texts(**request: Any) -> list[str]:
    return [directive.text for directive in condor.directives(Request(**request), Limits())]


def job(**request: Any) -> JobScript:
    return JobScript(
        name="jp-pool-1",
        request=Request(**request),
        directory=Path('/pools/it\'s "one"'),
        log_directory=Path("/data/my logs/100% $(HOME)"),
        working_directory=Path("/home/me/it's #1"),
        argv=("/usr/bin/python3", "-m", "agent", "a b"),
        environment={"A": "it's", "B": "two\nlines"},
    )


def test_the_least() -> None:
    assert texts() == ["request_cpus = 1", "request_memory = 1280MB", "requirements = (NumJobStarts =?= 0)", *ENDS]


def test_memory_is_left_to_a_site_that_has_a_default() -> None:
    site = Limits(rules=HTCondorRules(has_default_memory=True))
    assert not any("request_memory" in line.text for line in condor.directives(Request(), site))
    assert site.rules.as_written(Request()).memory is None
    assert HTCondorRules().as_written(Request()).memory == Memory(2**30)


def test_everything() -> None:
    assert texts(
        cores=2,
        memory=Memory.parse("2 GiB"),
        gpus=1,
        walltime=Duration.parse("29h 30.5s"),
        workers_per_job=3,
        threads_per_core=2,
        account="group.lab",
        licenses=("matlab:2", "idl"),
        constraint='OpSysAndVer == "Debian13"',
        exclude=("n1", 'n"2'),
        job_extra=("+WantThis = true", "rank = KFlops"),
        system_options=(("request_disk", "2GB"), ("should_transfer_files", "no")),
    ) == [
        "request_cpus = 12",
        "request_memory = 6400MB",
        "request_disk = 2GB",
        "request_gpus = 3",
        "concurrency_limits = matlab:2, idl",
        "accounting_group = group.lab",
        'requirements = (NumJobStarts =?= 0) && (TARGET.Machine =!= "n1") && (TARGET.Machine =!= "n\\"2") && '
        '(OpSysAndVer == "Debian13")',
        "allowed_job_duration = 104431",
        "job_max_vacate_time = 30",
        f"periodic_remove = {PERIODIC_REMOVE}",
        "should_transfer_files = NO",
        "notification = never",
        "+WantThis = true",
        "rank = KFlops",
    ]


def test_each_line_has_a_reason() -> None:
    request = Request(memory=Memory(2**30), walltime=Duration(60), gpus=1, licenses=("a",), exclude=("b",))
    for directive in condor.directives(request, Limits()):
        assert directive.why.endswith(".")
        assert len(directive.why) > 7


def test_lines_can_be_left_out_and_said_otherwise() -> None:
    lines = texts(memory=Memory(2**30), job_skip=("request_memory", "stream_"), job_extra=("Request_Memory = 5GB",))
    assert "Request_Memory = 5GB" in lines
    assert not any(line.startswith(("request_memory", "stream_")) for line in lines)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"partition": "long"}, "partition='long' cannot be used: HTCondor has no such setting"),
        ({"qos": "high"}, "the nearest that it has is account="),
        ({"reservation": "course"}, "reservation='course'"),
        ({"job_extra": ("--mem=1G",)}, "not a line 'key = value'"),
        ({"job_extra": ("queue 5",)}, "not a line 'key = value'"),
        ({"job_extra": ("Batch_Name = mine",)}, "use name="),
        ({"job_extra": ("request_cpus = 3",)}, "job_skip=\\['request_cpus'\\]"),
        ({"job_extra": ("a = b\nqueue 7",)}, "single line"),
        ({"job_extra": ("a = b \\",)}, "backslash"),
        ({"constraint": "x \\"}, "backslash"),
        ({"job_skip": ("",)}, "would leave out every line"),
        ({"system_options": (("request_disc", "1GB"),)}, "did you mean request_disk"),
        ({"system_options": (("should_transfer_files", "maybe"),)}, "IF_NEEDED, NO or YES"),
    ],
)
def test_what_cannot_be_said_is_refused(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        texts(**request_)


def test_the_description() -> None:
    made = condor.prepare(job(), count=3, environment={})
    assert list(made.files) == ["jp-pool-1.sh", "environment.sh", "jp-pool-1.sub"]
    assert made.command.argv == ("condor_submit", "-terse")
    assert made.command.stdin == made.files["jp-pool-1.sub"]
    head = made.files["jp-pool-1.sub"].splitlines()
    assert head[:7] == [
        "batch_name = jp-pool-1",
        "executable = /bin/bash",
        "transfer_executable = false",
        'arguments = "\'/pools/it\'\'s ""one""/jp-pool-1.sh\' $(ProcId) $(ClusterId).$(ProcId)"',
        "initialdir = /home/me/it's #1",
        "output = /data/my logs/100% $(DOLLAR)(HOME)/jp-pool-1-$(ClusterId).$(ProcId).log",
        "error = /data/my logs/100% $(DOLLAR)(HOME)/jp-pool-1-$(ClusterId).$(ProcId).log",
    ]
    assert head[-1] == "queue 3"
    log = condor.log_path(job(), JobId("7.2"), 2)
    assert log == Path("/data/my logs/100% $(HOME)/jp-pool-1-7.2.log")
    assert make_explainer().job_of_log("jp-pool-1-7.2") == ("jp-pool-1", "7.2", 2)


def test_a_program_of_the_site_is_given_the_description_as_a_file() -> None:
    made = condor.prepare(replace(job(), by_file=True, directory=Path("/pools/one")), count=1, environment={})
    assert made.command.argv == ("condor_submit", "-terse", "/pools/one/jp-pool-1.sub")
    assert made.command.stdin is None


@pytest.mark.parametrize("place", ["/a $$(x)", "/a ", "/a\\", "/a\nb"])
def test_places_that_cannot_be_written_are_refused(place: str) -> None:
    with pytest.raises(ConfigError):
        condor.prepare(replace(job(), working_directory=Path(place)), count=1, environment={})


def run_script(directory: Path, job: JobScript, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script as HTCondor does: with next to no variables, its ids as arguments, and files on the job."""
    (directory / "exits").mkdir()
    made = condor.prepare(job, count=1, environment=environment)
    script, machine, ad = (directory / name for name in ("job.sh", "machine.ad", "job.ad"))
    script.write_text(made.files[f"{job.name}.sh"])
    (directory / "environment.sh").write_text(made.files["environment.sh"])
    machine.write_text('Name = "slot1_1@node1"\nMachine = "node1"\nCpus = 2\n')
    ad.write_text("JobCurrentStartDate = 1796030075\n")
    own = {"_CONDOR_MACHINE_AD": str(machine), "_CONDOR_JOB_AD": str(ad), "TMPDIR": "/scratch"}
    return subprocess.run(
        ["/bin/bash", str(script), "3", "12.3"], env=own, cwd="/", capture_output=True, text=True, check=False
    )


def test_the_script_hands_on_what_the_job_is_told(tmp_path: Path) -> None:
    work = tmp_path / "it's #1"
    work.mkdir()
    own = JobScript(
        name="jp-pool-1",
        request=Request(walltime=Duration(90), setup=('echo "args: $#"',)),
        directory=tmp_path,
        log_directory=tmp_path,
        working_directory=work,
        argv=("/bin/bash", "-c", 'echo "$@"; pwd; echo "$NASTY|$TMPDIR|$HOME|$_CONDOR_SLOT"; exit 7', "x"),
        environment={"NASTY": 'it\'s "$HOME" `x`\\ ü'},
    )
    given = {"HOME": "/home/me", "TMPDIR": "/mine", "PATH": "/bin:/usr/bin", "_CONDOR_SLOT": "slot1_9", "BAD-NAME": "x"}
    done = run_script(tmp_path, own, given)
    assert done.returncode == 7, done.stderr
    args, options, directory, variables = done.stdout.splitlines()
    assert args == "args: 0"
    assert options.startswith(
        "--index 3 --job-id 12.3 --node node1 --began 1796030075 --ends 1796030165 --cpus 2 --notice TERM --script-age"
    )
    assert directory == str(work)
    assert variables == 'it\'s "$HOME" `x`\\ ü|/scratch|/home/me|'
    began, ended = (tmp_path / "exits" / "jp-pool-1-3").read_text().splitlines()
    assert began.startswith("began ")
    assert ended.endswith(" 7")


def test_a_script_whose_directory_is_gone_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    own = replace(job(), directory=tmp_path, working_directory=gone)
    done = run_script(tmp_path, own, {})
    assert done.returncode == 1
    assert f"{gone}: No such file or directory" in done.stdout


def test_commands_do_not_see_the_job_that_they_run_in() -> None:
    inside = {"_CONDOR_JOB_AD": "x", "_CONDOR_SLOT": "slot1_1", "BATCH_SYSTEM": "HTCondor", "_CHIRP_X": "y"}
    kept = {"CONDOR_CONFIG": "/etc/x", "_CONDOR_SCHEDD_HOST": "submit", "HOME": "/home/me"}
    [poll] = condor.poll([Tracked("jp-a")])
    assert poll.unset.cleaned({**inside, **kept}) == kept
    expected = "".join(f"export {name}={value}\n" for name, value in kept.items())
    assert for_jobs({**inside, **kept, "CUDA_VISIBLE_DEVICES": "3"}, {}) == expected


DESCRIPTION = """
# a comment
Executable = /home/me/prog
arguments = -n \\
   5
RequestCpus = 4
request_memory = 2.5 GB
request_gpus = 1
allowed_execute_duration = 600
accounting_group = lab
queue 10
request_cpus = 99
"""


def test_a_submit_description_is_read() -> None:
    explainer = make_explainer()
    assert explainer.directs(DESCRIPTION)
    assert not explainer.directs("#!/bin/bash\n#SBATCH --mem=4G\nqueue\n")
    asked = explainer.read_script(DESCRIPTION)
    assert (asked.wish.cpus, asked.wish.memory, asked.gpus) == (4, Memory(2.5 * 2**30), 1)
    assert (asked.request.walltime, asked.request.account, asked.unread) == (Duration(600), "lab", ())
    told = explainer.pitfalls(asked, (), ())
    assert any("acts only where files are transferred" in text for text in told)
    assert any("no job_max_vacate_time" in text for text in told)
    assert not any("no request_memory" in text for text in told)
    with pytest.raises(ConfigError, match="no line 'queue'"):
        explainer.read_script("#!/bin/bash\nhostname\n")


def test_an_expression_is_not_read_as_a_number() -> None:
    asked = make_explainer().read_script("executable = /bin/true\nrequest_memory = lots\nqueue\n")
    [unread] = asked.unread
    assert "request_memory = lots" in unread


def test_the_script_of_dasks_cluster_is_read_as_it_would_be_submitted() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue.htcondor")
    arguments = {"cores": 4, "memory": "8GiB", "disk": "1GB", "job_extra_directives": {"accounting_group": "lab"}}
    theirs = jobqueue.HTCondorJob("tcp://x:1", name="w", **arguments).job_script()
    asked = make_explainer().read_script(make_explainer().cluster_script(arguments, 8 * 2**30))
    assert (asked.wish.cpus, asked.wish.memory, asked.request.account) == (4, Memory(8 * 2**30), "lab")
    for line in ("MY.DaskWorkerCores = 4", f"MY.DaskWorkerMemory = {8 * 2**30}", "accounting_group = lab"):
        assert line in theirs


def test_dasks_cluster_is_explained_by_its_name() -> None:
    call = 'dask_jobqueue.HTCondorCluster(cores=4, memory="8GiB", disk="1GB", processes=2)'
    shape = NodeShape(count=3, cores=16, threads_per_core=1, memory=Memory(2**35))
    limits = Limits(partitions=(Partition(name="pool", default=True, nodes=(shape,)),))
    found = explain_cluster(read_call(call), cluster=cluster_of(call), limits=limits)
    assert dict(found.keywords)["cores"] == "2"
    assert found.nodes[0].job.memory == Memory(2**33)
    assert found.problems == ()


def test_a_section_of_dasks_file_is_read() -> None:
    table = {"htcondor": {"cores": 4, "memory": "8GiB", "job-extra-directives": {"rank": "KFlops", "+Is": "true"}}}
    found, problems = translate(section_of(table, "htcondor"), "htcondor")
    assert problems == []
    assert found["job_extra"] == ("job-extra-directives", ["rank = KFlops", "+Is = true"])
