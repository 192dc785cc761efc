"""What OAR tells people: reasons, times, the site, and what its job scripts and dask-jobqueue's ask for."""

from __future__ import annotations

import json

import pytest
from goldens import golden

from jobpool.batch.oar.explainer import OarExplainer
from jobpool.batch.oar.reasons import explain_reason, reason_of
from jobpool.batch.oar.rules import OarRules
from jobpool.batch.oar.system import Oar
from jobpool.batch.registry import explainer
from jobpool.config.jobqueue_yaml import section_of, translate
from jobpool.model.command import Command, Completed
from jobpool.model.errors import ConfigError
from jobpool.model.job import JobId
from jobpool.model.site import Limits
from jobpool.model.units import Duration
from jobpool.tools.explain_script import cluster_of, explain_cluster, explain_script, read_call

oar = OarExplainer()


def site() -> Limits:
    answers = [golden("limits", "nodes", system="oar"), golden("oarstat", "empty queue", system="oar")]
    return Oar().parse_limits(answers)


@pytest.mark.parametrize(
    ("state", "message", "reason", "words"),
    [
        ("Waiting", "R=4,W=0:2:0,J=B,N=full-1 (Karma=0.000,quota_ok)", "resources", "until enough resources are free"),
        ("Waiting", "R=1,W=0:2:0,J=B,N=a,Q=prod,P=bio,T=besteffort (Karma=1.5,quota_ok)", "resources", "are free"),
        ("Waiting", "R=1,W=0:2:0,J=B,N=running-1", "new", "has not looked at it yet"),
        ("Waiting", "FIFO scheduling OK", "FIFO scheduling OK", "until enough resources are free"),
        ("Hold", "R=1,W=0:2:0,J=B,N=held-1", "Hold", "'oarresume JOB'"),
        (
            "Waiting",
            "Cannot determine scheduling time due to dependency with the job 558",
            "Cannot determine scheduling time due to dependency with the job 558",
            "waits for another job to end",
        ),
        (
            "Waiting",
            "No enough matching resources (quota_exceeded:Gantt_quotas->{default}=[9]>[8])",
            "No enough matching resources (quota_exceeded:Gantt_quotas->{default}=[9]>[8])",
            "quota",
        ),
        ("Waiting", "No enough matching resources (no_matching_hole)", None, "No resources fit now"),
        ("Waiting", "Cannot find enough resources for job 7 yet", None, "No resources fit now"),
        ("Waiting", "Container 12 does not exist", None, "container job"),
        ("Waiting", "Token value cannot be retrieved (matlab)", None, "token"),
    ],
)
def test_reasons_are_told_in_plain_words(state: str, message: str, reason: str | None, words: str) -> None:
    assert reason_of(state, message) == (message if reason is None else reason)
    assert words in explain_reason(reason_of(state, message))


def test_of_other_reasons_nothing_is_said() -> None:
    assert explain_reason("Mercury is in retrograde") == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 3600), ("1:30", 5400), ("0:20:00", 1200), ("72:00:00", 259200), ("5 min", 300)]
)
def test_times_begin_with_hours(text: str, seconds: int) -> None:
    assert oar.read_walltime(text) == Duration(seconds)


def test_the_name_of_a_log_tells_its_job() -> None:
    assert oar.job_of_log("jp-pool-1a2b3c4d-5e6f7a8b-1-553") == ("jp-pool-1a2b3c4d-5e6f7a8b-1", JobId("553"), None)
    assert oar.job_of_log("server") is None


def test_the_database_is_the_accounting() -> None:
    queue = golden("oarstat", "mixed: running, array partly running, held, dependency, waiting", system="oar")
    facts = oar.parse_site([queue])
    assert facts.accounting == ""
    assert facts.own_jobs == {"Running": 4, "Waiting": 5, "Hold": 1}
    down = Completed(Command(("oarstat",)), 25, "", "DB connection error, exiting.\n")
    assert oar.parse_site([down]).accounting == "DB connection error, exiting."


def test_inside_of_a_job_that_is_said() -> None:
    (remark,) = oar.remarks({"OAR_JOB_ID": "7"})
    assert "inside of job 7" in remark.text
    assert oar.remarks({}) == ()


# Scripts


SCRIPT = """#!/bin/bash
#OAR -n mine
#OAR -l /nodes=1/core=3,walltime=2:30:00
#OAR -q production
#OAR --project=bio
#OAR -p "mem >= 2000"
#OAR -t inner=17
export OMP_NUM_THREADS=3
python work.py
"""


def test_a_script_is_read_as_oarsub_reads_it() -> None:
    assert oar.directs(SCRIPT)
    asked = oar.read_script(SCRIPT)
    assert (asked.wish.cpus, asked.nodes, asked.sets_threads, asked.steps) == (3, 1, True, False)
    assert asked.request.walltime == Duration(9000)
    assert (asked.request.partition, asked.request.account) == ("production", "bio")
    assert (asked.request.constraint, asked.request.reservation) == ("mem >= 2000", "17")
    assert asked.unread == ()


def test_a_script_of_another_batch_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="script for SLURM"):
        oar.read_script("#!/bin/bash\n#SBATCH -n 1\n")
    mixed = oar.read_script("#SBATCH -n 1\n#OAR -l /core=2\n#OAR -l /core=4\n#OAR --nosuch=1\n")
    assert [text.split(";")[0].split(",")[0] for text in mixed.unread] == [
        "the directives of SLURM are not explained",
        "several -l are alternatives",
        "oarsub has no option --nosuch",
    ]


def test_a_script_is_explained_with_its_pitfalls() -> None:
    told = explain_script("#!/bin/bash\n#OAR -l core=2,walltime=3\npython work.py\n", limits=site())
    assert [(node.partition, node.job.cores) for node in told.nodes] == [("default", 2)]
    text = "\n".join(told.pitfalls)
    assert "'oarsub -S SCRIPT' alone" in text
    assert "walltime=N is hours" in text
    assert "may be on several nodes" in text
    assert "killed without a signal" in text
    assert dict(told.keywords)["walltime"] == "'3 h'"
    assert explain_script("#OAR -l /nodes=1/core=9,walltime=1:0:0\ntrue\n", limits=site()).problems != ()


# dask-jobqueue


def test_the_script_of_dasks_cluster() -> None:
    arguments = {
        "cores": 4, "memory": "8GB", "queue": "production", "project": "bio", "walltime": "01:00:00",
        "job_extra_directives": ["-t besteffort", "-p gpu=1"], "memory_per_core_property_name": "memcore",
    }  # fmt: skip
    assert oar.cluster_script(arguments, 8 * 10**9).splitlines()[1:7] == [
        "#OAR -n dask-worker",
        "#OAR -q production",
        "#OAR --project bio",
        "#OAR -l /nodes=1/core=4,walltime=01:00:00",
        "#OAR -t besteffort",
        "#OAR -p gpu=1",
    ]
    assert "#OAR -p 'gpu=1 AND memcore>=1908'" in oar.cluster_script(arguments, 8 * 10**9)
    skipped = {**arguments, "job_directives_skip": ["-q"], "memory_per_core_property_name": "not_applicable"}
    assert "-q" not in oar.cluster_script(skipped, 8 * 10**9)


def test_a_call_of_dasks_cluster_is_explained() -> None:
    text = "OARCluster(cores=4, memory='8GB', processes=2)"
    told = explain_cluster(read_call(text), cluster=cluster_of(text), limits=site())
    assert [node.job.cores for node in told.nodes] == [4]
    assert dict(told.keywords)["workers_per_job"] == "2"


def test_dasks_section_reads_times_as_oar_does() -> None:
    section = section_of({"oar": {"queue": "default", "project": "bio", "walltime": "1:30", "cores": 4}}, "oar")
    settings, problems = translate(section, "oar")
    assert problems == []
    assert settings["walltime"] == ("walltime", Duration(5400))
    assert (settings["partition"], settings["account"]) == (("queue", "default"), ("project", "bio"))


def test_the_registry_knows_it() -> None:
    assert isinstance(explainer("oar"), OarExplainer)
    assert OarExplainer().rules == OarRules()
    assert json.dumps(sorted(oar.surroundings.variables)) == '["OAR_"]'
