"""What LSF tells people: its reasons, its site, and what bsub scripts ask for."""

from __future__ import annotations

from typing import Any

import pytest
from goldens import golden

from jobpool.batch import registry
from jobpool.batch.explainer import Enforcement
from jobpool.batch.lsf.explainer import LsfExplainer
from jobpool.batch.user_script import ScriptWish
from jobpool.model.command import Command, Completed
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.rules import Wish
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.explain_script import explain_script
from jobpool.tools.explain_script import cluster_of, explain_cluster, read_call

LSF = LsfExplainer()
GIB = 2**30


def said(stdout: str = "", *, stderr: str = "", code: int | None = 0) -> Completed:
    return Completed(Command(("lsf",)), code, stdout, stderr)


def test_the_registry_knows_it() -> None:
    assert registry.explainer("lsf") == LSF
    assert registry.title("lsf") == "LSF"


# Reasons


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("New job is waiting for scheduling;", "has not looked at the job yet"),
        ("Job's resource requirements not satisfied: 1 host;", "'jobpool check' tells"),
        ("Job's requirements for resource reservation not satisfied: 3 hosts;", "What it reserves"),
        ("Not enough processors to meet the job's spanning requirement: 1 host;", "so many job slots"),
        ("Not enough hosts to meet the job's spanning requirement;", "so many job slots"),
        ("Not enough job slot(s): 2 hosts;", "enough job slots are free"),
        ("The job array has reached its job slot limit.", "elements of its array"),
        ("The job array has reached its running element limit;", "elements of its array"),
        ("The queue has reached its job slot limit;", "slots that the queue may use"),
        ("User has reached the per-user job slot limit of the queue;", "You use as many job slots"),
        ("The user has reached his/her job slot limit;", "You use as many job slots"),
        ("One of the user's groups has reached its job slot limit;", "Your group uses"),
        ("The queue is inactivated by the administrator;", "try another queue"),
        ("The queue is inactivated by its time windows;", "at certain times only"),
        ("Dispatch windows closed;", "at certain times only"),
        ("Job will not finish before queue's run window is closed;", "ask for less walltime"),
        ("Dependency condition invalid or never satisfied;", "can no longer end as needed"),
        ("Job dependency condition not satisfied;", "waits for another job"),
        ("The job was suspended by the user while pending;", "'bresume JOB'"),
        ("Job was suspended by LSF admin or root while pending;", "An administrator holds it"),
        ("The job's pre-exec command exited with non-zero status;", "has failed on the host"),
        ("Unable to open job's I/O buffers;", "Its start failed"),
        ("Closed by LSF administrator: 1 host;", "closed by an administrator"),
        ("Load information unavailable: 1 host;", "do not answer"),
        ("LIM is unreachable now: 1 host;", "do not answer"),
        ("Load threshold reached: 1 host;", "too busy"),
        ("Not specified in job submission: 81 hosts;", "Other hosts are not for this job"),
        ("Running an exclusive job: 1 host;", "a host for itself"),
        ("Not the same type as the submission host: 1 host;", "select[type==any]"),
        ("Requeued job is waiting for rescheduling;", "wait a minute"),
        ("Just started a job recently: 2 hosts;", "starts in a moment"),
        ("Job slot limit reached: 1 host;", "All job slots of the hosts"),
    ],
)
def test_each_reason_is_told_in_plain_words(reason: str, words: str) -> None:
    assert words in LSF.explain_reason(reason)


def test_several_reasons_are_each_told_once_and_unknown_ones_not_at_all() -> None:
    recorded = golden("bjobs", "why it waits (-p)", system="lsf").stdout
    told = LSF.explain_reason(recorded.replace("\n", " "))
    for words in ("closed by an administrator", "'jobpool check' tells", "do not answer", "select[type==any]"):
        assert told.count(words) == 1
    assert LSF.explain_reason("Something new: 2 hosts;") == ""
    assert LSF.explain_reason("") == ""


# The user's variables, times and logs


def test_variables_of_a_job_and_of_bsub_are_remarked_on() -> None:
    told = LSF.remarks({"LSB_JOBID": "12", "LSB_DEFAULTQUEUE": "night", "BSUB_QUIET": "Y", "LSB_NTRIES": "5"})
    assert [remark.text.split(" ")[0] for remark in told] == ["this", "BSUB_QUIET,"]
    assert LSF.remarks({"PATH": "/bin", "LSF_ENVDIR": "/opt/lsf"}) == ()


@pytest.mark.parametrize(("text", "seconds"), [("90", 5400), ("1:30", 5400), ("01:30", 5400), ("90 min", 5400)])
def test_times_are_minutes_at_the_end(text: str, seconds: int) -> None:
    assert LSF.read_walltime(text) == Duration(seconds)


@pytest.mark.parametrize("text", ["1:30:00", "soon", "1:2:3:4", ""])
def test_a_time_that_bsub_does_not_take_has_a_meaning_of_its_own_or_none(text: str) -> None:
    if text == "1:30:00":
        assert LSF.read_walltime(text) == Duration(5400)
    else:
        with pytest.raises(ValueError, match=r"time|unit"):
            LSF.read_walltime(text)


def test_a_log_s_name_tells_the_job() -> None:
    assert LSF.job_of_log("jp-my-pool-0123abcd-2-1234_10") == ("jp-my-pool-0123abcd-2", JobId("1234[10]"), 9)
    assert LSF.job_of_log("jp-my-pool-0123abcd-2-1234") == ("jp-my-pool-0123abcd-2", JobId("1234"), 0)
    assert LSF.job_of_log("server") is None


# The site


def site(config: Completed, parameters: str = "", queue: Completed | None = None) -> Any:
    return LSF.parse_site([config, said(parameters), queue or said('{"RECORDS": []}'), said()])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", Enforcement(("cores", "memory"), "LSB_RESOURCE_ENFORCE=not set")),
        ('LSB_RESOURCE_ENFORCE="cpu memory"\n', Enforcement((), "LSB_RESOURCE_ENFORCE=cpu memory")),
        ("LSB_JOB_MEMLIMIT=Y\n", Enforcement(("cores",), "LSB_RESOURCE_ENFORCE=not set")),
    ],
)
def test_what_jobs_are_not_held_to(config: str, expected: Enforcement) -> None:
    assert site(said(config)).enforcement == expected


def test_facts_of_a_site_and_what_is_not_known() -> None:
    queue = said('{"RECORDS": [{"JOBID": "1", "STAT": "RUN"}, {"JOBID": "2", "STAT": "RUN"}]}')
    known = site(said(""), "    CLEAN_PERIOD = 3600 (seconds)\n", queue)
    assert (known.forgets_after, known.own_jobs, known.accounting) == ("3600 s (CLEAN_PERIOD)", {"RUN": 2}, "")
    down = said(stderr="LIM is down; try later", code=255)
    unknown = LSF.parse_site([down, down, down, said(code=None)])
    assert (unknown.enforcement, unknown.own_jobs) == (None, None)
    assert unknown.accounting == "bhist cannot be run"


def left(stdout: str, code: int = 0) -> Any:
    assert [command.argv for command in LSF.left_commands("alice")] == [("busers", "-w", "alice")]
    return LSF.parse_left([said(stdout, code=code)], user="alice", uid=1000, account=None, qos=())


def test_what_is_left_of_the_user_s_limits() -> None:
    head = "USER/GROUP          JL/P    MAX  NJOBS   PEND    RUN  SSUSP  USUSP    RSV  MPEND  PJOBS MPJOBS \n"
    assert left(
        f"{head}alice                  -    200     24     20      1      0      3      0      -     20   1000\n"
    ) == (
        ("job slots at once, in use or asked for (alice)", 200.0, 24.0),
        ("pending jobs (alice)", 1000.0, 20.0),
    )
    assert (
        left(f"{head}alice                  -      -      4      0      1      0      3      0      -      0      - \n")
        == ()
    )
    assert left(golden("relative", "limits of a user", system="lsf").stdout) == ()
    assert left("", code=255) is None


# Scripts


SCRIPT = """#!/bin/bash
#BSUB -J train
#BSUB -q gpu
#BSUB -P bio
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -R "rusage[mem=16GB] select[type==X86_64]"
#BSUB -M 16GB
#BSUB -W 4:30
#BSUB -gpu "num=2:mode=exclusive_process"
#BSUB -o out.%J
export OMP_NUM_THREADS=8
python train.py
#BSUB -x
"""


def test_a_script_is_read_as_bsub_reads_it_on_stdin() -> None:
    asked = LSF.read_script(SCRIPT)
    assert asked.wish == Wish(cpus_per_task=8, memory=Memory(16 * GIB), exclusive=True)  # -x counts behind commands too
    assert (asked.nodes, asked.gpus, asked.sets_threads, asked.steps) == (1, 2, True, False)
    request = asked.request
    assert (request.partition, request.account, request.walltime) == ("gpu", "bio", Duration(16200))
    assert request.constraint == "type==X86_64"
    assert LSF.directs(SCRIPT)
    assert LSF.pitfalls(asked, (), ()) == ()


def pitfalls(*directives: str, body: str = "./run") -> str:
    text = "\n".join(["#!/bin/bash", *(f"#BSUB {line}" for line in directives), body, ""])
    return "\n".join(LSF.pitfalls(LSF.read_script(text), (), (Partition(name="x", max_time=Duration(3600)),)))


def test_pitfalls() -> None:
    good = ("-n 2", '-R "span[hosts=1] rusage[mem=2GB]"', "-W 10", "-o out")
    assert pitfalls(*good) == ""
    assert "span[hosts=1]" in pitfalls("-n 2", *good[2:], '-R "rusage[mem=2GB]"')
    assert "without a unit counts KB" in pitfalls("-M 2000", *good[2:])
    assert "reserves nothing" in pitfalls("-M 2GB", *good[2:])
    assert "no memory" in pitfalls(*good[2:])
    assert "the job gets 1 h" in pitfalls("-n 1", good[1], "-o out")
    assert "comes by mail" in pitfalls(*good[:3])
    assert "first host alone" in pitfalls("-n 8", '-R "span[ptile=4]"', *good[2:])
    assert "first host alone" not in pitfalls("-n 8", '-R "span[ptile=4]"', *good[2:], body="mpirun ./run")


def test_a_script_of_another_batch_system_is_refused_and_a_mixed_one_told() -> None:
    with pytest.raises(ConfigError, match="script for SLURM"):
        LSF.read_script("#!/bin/bash\n#SBATCH -n 1\n")
    assert not LSF.directs("#!/bin/bash\n#SBATCH -n 1\n")
    mixed = LSF.read_script("#!/bin/bash\n#SBATCH -n 1\n#BSUB -n 2\n")
    assert "SLURM" in mixed.unread[0]


def test_a_script_on_a_node() -> None:
    shape = NodeShape(count=2, cores=16, threads_per_core=1, memory=Memory(64 * GIB), gpus=4)
    limits = Limits(partitions=(Partition(name="gpu", nodes=(shape,)),))
    found = explain_script(LSF.read_script(SCRIPT.replace("#BSUB -x\n", "")), limits, LSF)
    (node,) = found.nodes
    assert (node.job.cores, node.job.memory) == (8, Memory(16 * GIB))
    assert dict(found.keywords)["gpus"] == "2"
    assert dict(found.keywords)["partition"] == "'gpu'"
    small = explain_script(LSF.read_script(SCRIPT.replace("-n 8", "-n 17")), limits, LSF)
    assert "no node of partition gpu can hold" in small.problems[0]


def test_the_script_of_dask_jobqueue_s_cluster() -> None:
    arguments = {
        "queue": "long",
        "project": "bio",
        "cores": 4,
        "walltime": "01:00",
        "lsf_units": "mb",
        "job_extra_directives": ["-B"],
        "job_directives_skip": ["-q"],
        "job_script_prologue": ["module load x"],
    }
    assert LSF.cluster_script(arguments, 8 * 10**9).splitlines() == [
        "#!/usr/bin/env bash",
        '#BSUB -P "bio"',
        "#BSUB -n 4",
        '#BSUB -R "span[hosts=1]"',
        "#BSUB -M 8000",
        "#BSUB -W 01:00",
        "#BSUB -B",
        "module load x",
        "dask worker",
    ]
    least = LSF.read_script(LSF.cluster_script({"cores": 1}, 10**9))
    assert (least.wish.cpus, least.request.walltime) == (1, Duration(1800))


def test_it_is_what_dask_jobqueue_writes(tmp_path: Any) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    keywords: dict[str, Any] = {
        "queue": "long",
        "project": "bio",
        "cores": 4,
        "memory": "8GB",
        "walltime": "01:00",
        "lsf_units": "mb",
        "job_extra_directives": ["-B"],
    }
    job = jobqueue.lsf.LSFJob("tcp://127.0.0.1:1", name="x", nanny=True, processes=1, **keywords)
    theirs = [line for line in job.job_script().splitlines() if line.startswith("#BSUB") and "-J" not in line]
    ours = LSF.cluster_script(keywords, 8 * 10**9).splitlines()
    assert [line for line in ours if line.startswith("#BSUB")] == theirs


def test_an_empty_script_asks_for_one_slot() -> None:
    asked = LSF.read_script("#!/bin/bash\n./run\n")
    assert isinstance(asked, ScriptWish)
    assert (asked.wish.cpus, asked.wish.memory, asked.nodes) == (1, None, 1)


def test_a_call_of_dask_jobqueue_s_cluster_is_explained_by_its_name() -> None:
    call = "LSFCluster(cores=4, memory='8GB', queue='long', walltime='01:30', lsf_units='mb')"
    shape = NodeShape(count=2, cores=16, threads_per_core=1, memory=Memory(64 * GIB))
    limits = Limits(rules=LSF.rules, partitions=(Partition(name="long", nodes=(shape,)),))
    found = explain_cluster(read_call(call), cluster=cluster_of(call), limits=limits)
    assert dict(found.keywords)["walltime"] == "'1 h 30 min'"
    assert dict(found.keywords)["workers_per_job"] == "4"
    assert any("-M is a limit and reserves nothing" in pitfall for pitfall in found.pitfalls)
