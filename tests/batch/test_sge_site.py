"""What a Grid Engine site allows, and what it tells people: from recorded answers."""

from __future__ import annotations

from typing import Any

import pytest
from goldens import answers, golden

from jobpool.batch.base import Machine, NoCluster
from jobpool.batch.registry import explainer
from jobpool.batch.sge.fields import by_host, fields_of, size, time
from jobpool.batch.sge.rules import GridEngineRules
from jobpool.batch.sge.system import GridEngine
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable, ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits
from jobpool.model.units import Duration, Memory
from jobpool.site.check import judge

sge, people = GridEngine(), explainer("sge")
COMMAND = Command(("q",))


def said(text: str, returncode: int = 0) -> Completed:
    return Completed(COMMAND, returncode, *((text, "") if returncode == 0 else ("", text)))


def told(situation: str) -> str:
    return str(answers("limits", system="sge")[situation]["stdout"])


def limits(user: str = "alice", **changes: Completed) -> Limits:
    """Read the recorded answers in the order of the commands."""
    done = {
        "queues": golden("limits", "queues, all at once", system="sge"),
        "nodes": said(
            told("hosts with resources").replace(" </host>\n</qhost>", f"{QUEUES_OF_HOST} </host>\n</qhost>")
        ),
        "environments": said(told("environment mpi") + "\n" + told("environment smp")),
        "resources": golden("limits", "resources", system="sge"),
        "configuration": golden("limits", "global", system="sge"),
        "scheduler": golden("limits", "scheduler", system="sge"),
        "lists": golden("limits", "user list", system="sge"),
        "slots": golden("limits", "cluster queues", system="sge"),
        "groups": said(f"uid=1000({user}) gid=1000({user}) groups=1000({user}),7(bio)"),
    }
    assert len(done) == len(sge.limits(user))
    return sge.parse_limits(list({**done, **changes}.values()))


_TEXT = told("hosts with queues")
QUEUES_OF_HOST = _TEXT[_TEXT.index(" <queue name=") : _TEXT.rindex(" </host>")]


def test_queues_are_partitions() -> None:
    found = {place.name: place for place in limits().partitions}
    assert list(found) == ["all.q", "short.q", "off.q", "closed.q"]
    short = found["short.q"]
    assert (short.max_time, short.default_time) == (Duration(600), Duration(600))
    assert (short.up, short.default, short.idle_cpus, short.usable_cpus) == (True, True, 4, 4)
    assert short.default_memory_per_cpu == Memory(512 * 2**20)
    assert found["all.q"].max_time is None
    assert (found["off.q"].up, found["off.q"].usable_cpus) == (False, 0)
    # A job that asks for no queue may come to any that is for its user.
    assert (found["closed.q"].allow_groups, found["closed.q"].default) == (("bob",), False)
    assert next(place for place in limits("bob").partitions if place.name == "closed.q").default


def test_nodes_have_the_slots_of_the_queue() -> None:
    (all_q,) = (place for place in limits().partitions if place.name == "all.q")
    (shape,) = all_q.nodes
    assert (shape.count, shape.cores, shape.threads_per_core, shape.gpus) == (1, 8, 1, 2)
    assert shape.memory == size("23.5G")
    assert all_q.node_names == "node1"


def test_what_the_site_calls_things() -> None:
    rules = limits().rules
    assert isinstance(rules, GridEngineRules)
    assert rules.environments == ("smp",)
    assert (rules.environment("all.q"), rules.memory_resource(), rules.gpu_resource()) == ("smp", "h_vmem", "gpu")
    assert rules.whole_node_option(Request(job_extra=("-l excl=true",))) == "-l excl=true"


def test_other_limits() -> None:
    found = limits()
    assert (found.max_array_size, found.max_jobs, found.kill_wait, found.confined) == (75000, None, Duration(5), False)
    assert found.user is not None
    assert found.user.groups == ("alice", "@alice", "@bio")
    assert sge.notices(found).delete == sge.notices(found).walltime
    assert (sge.notices(found).longest, sge.notices(Limits()).longest) == (5.0, 60.0)
    assert sge.notices(found).signals == ("USR2",)


def test_what_cannot_be_read_is_said() -> None:
    down = golden("limits", "qmaster stopped", system="sge")
    found = limits(queues=down, environments=down)
    assert [text.partition(":")[0] for text in found.unknown] == ["queues", "parallel environments"]
    assert "got send error" in found.unknown[0]
    assert found.partitions == ()
    assert isinstance(found.rules, GridEngineRules)
    assert found.rules.environment(None) == "smp"
    lost = limits(nodes=said(told("hosts, node lost").replace(">23.5G<", ">-<")))
    assert lost.unknown == ("nodes node1: they tell no size",)
    verified = limits(configuration=said("jsv_url /opt/jsv.sh\nenforce_project true\n"))
    assert len(verified.unknown) == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cores": 9}, "9 cores"),
        ({"memory": Memory(30 * 2**30)}, "memory"),
        ({"walltime": Duration(3600), "partition": "short.q"}, "walltime 1 h is longer"),
        ({"partition": "closed.q"}, "bob"),
        ({"partition": "off.q"}, "is down"),
        ({"partition": "nosuch.q"}, "there is no partition 'nosuch.q'"),
    ],
)
def test_what_cannot_run_is_told(asked: dict[str, Any], words: str) -> None:
    verdict = judge(Request(**asked), limits())
    assert words in str(verdict)
    assert not verdict.ok


def test_what_fits_is_told_with_the_best_queue_first() -> None:
    verdict = judge(Request(cores=2, walltime=Duration(300), partition="auto"), limits())
    assert verdict.ok
    assert [fit.partition for fit in verdict.fits] == ["short.q", "all.q"]  # with room now, all.q has one slot left


# ----------------------------------------------------------------------------------------------- which one is here


def answering(text: str, returncode: int | None = 0) -> Machine:
    return Machine(lambda name: f"/usr/bin/{name}", run=lambda command: Completed(command, returncode, "", text))


@pytest.mark.parametrize("situation", ["qstat -help", "qstat -help with qmaster down"])
def test_it_is_known_by_its_help(situation: str) -> None:
    assert sge.presence(Machine(run=lambda _: golden("detect", situation, system="sge"))) is None


@pytest.mark.parametrize("situation", ["no cell (SGE_ROOT wrong)", "no cell (SGE_CELL wrong)"])
def test_commands_without_a_cell_have_no_cluster(situation: str) -> None:
    found = sge.presence(Machine(run=lambda _: golden("detect", situation, system="sge")))
    assert isinstance(found, NoCluster)
    assert "doesn't exist" in found.words


def test_packages_that_were_never_set_up_are_no_cluster() -> None:
    words = (
        'error: unable to read qmaster name: qmaster hostname in "/var/lib/gridengine/default/common/act_qmaster" has '
        "zero length"
    )
    assert isinstance(sge.presence(answering(words, 1)), NoCluster)


def test_another_systems_qstat_is_told_apart_and_a_silent_one_is_not_judged() -> None:
    found = sge.presence(answering("qstat: invalid option -- 'h'\nusage: qstat [-f] [-J] [-p] ...\n", 2))
    assert isinstance(found, NoCluster)
    assert "another batch system's" in found.why
    assert sge.presence(answering("", None)) is None
    assert sge.presence(Machine()) is None


def test_a_way_that_is_lost_is_said() -> None:
    with pytest.raises(BatchSystemUnavailable, match="SGE_ROOT is '/gone'"):
        sge.presence(Machine(environment={"SGE_ROOT": "/gone"}, is_there=lambda _: False))


# ----------------------------------------------------------------------------------------------- what people are told


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ('(-l h_vmem=100G) cannot run at host "node1" because it offers only hc:h_vmem=11.500G', "node1 has hc:h_vmem"),
        ('cannot run in PE "smp" because it only offers 0 slots', "environment smp has room for 0"),
        (
            '(-l h_rt=3600) cannot run in queue "short.q" because of cluster queue',
            "short.q does not allow -l h_rt=3600",
        ),
        ('has no permission for cluster queue "closed.q"', "Queue closed.q is for other users"),
        ('queue instance "off.q@node1" dropped because it is disabled', "off.q@node1 is disabled now"),
        ('cannot run because it exceeds limit "alice/////" in rule "max_user_slots/1"', "rule max_user_slots/1"),
        ("job dropped because of user limitations", "maxujobs"),
        ("not all array tasks may be started due to 'max_aj_instances'", "max_aj_instances"),
        ("can't chdir to /nosuch/dir: No such file or directory", "working directory"),
        ("exit_status of job start = 100", "ended with 100"),
        ("job dropped because of job dependencies", "-hold_jid"),
        ("nobody knows", ""),
        ("", ""),
    ],
)
def test_reasons_in_words(reason: str, words: str) -> None:
    explained = people.explain_reason(reason)
    assert words in explained
    assert bool(explained) == bool(words)


def test_every_recorded_reason_is_explained() -> None:
    import html
    import re

    quiet = ("error state", "hold state", "turned off")
    for answer in answers("qstat_j", system="sge").values():
        for message in re.findall(r"<(?:MES|QIM)_message>([^<]*)<", answer["stdout"]):
            text = html.unescape(message)
            assert people.explain_reason(text) or any(word in text for word in quiet), text


def test_walltimes_as_qsub_reads_them() -> None:
    assert [people.read_walltime(text) for text in ("300", "5:0", "1:0:0", ":10:", "5 h")] == [
        Duration(300), Duration(300), Duration(3600), Duration(600), Duration(18000),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not a time"):
        people.read_walltime("soon")


def test_facts_of_the_site() -> None:
    config, no_job = golden("limits", "global", system="sge"), golden("qacct", "unknown", system="sge")
    queue = golden("qstat", "limit by resource quota (2 slots)", system="sge")
    facts = people.parse_site([config, no_job, queue])
    assert (facts.accounting, facts.forgets_after, facts.own_jobs) == ("", "at once", {"r": 2, "qw": 1})
    assert facts.enforcement is not None
    assert facts.enforcement.loose == ("cores",)
    assert people.parse_site([config, said("accounting: Permission denied", 1), queue]).accounting
    assert len(people.site_commands()) == 3


def test_what_is_left_of_quotas() -> None:
    (used,) = people.parse_left(
        [golden("limits", "my quotas, in use", system="sge")], user="alice", uid=1, account=None, qos=()
    ) or [None]
    assert used == ("slots (rule 'max_user_slots/1')", 2.0, 2.0)
    for text in ("quotas", "my quotas"):
        done = golden("limits", text, system="sge")
        assert people.parse_left([done], user="alice", uid=1, account=None, qos=()) == ()
    assert people.parse_left([said("down", 1)], user="alice", uid=1, account=None, qos=()) is None


def test_variables_around() -> None:
    assert people.remarks({}) == ()
    (inside,) = people.remarks({"JOB_ID": "7", "SGE_TASK_ID": "undefined"})
    assert "job 7" in inside.text
    assert "SGE_DEBUG_LEVEL" in people.remarks({"SGE_DEBUG_LEVEL": "2 0"})[0].text
    assert people.job_of_log("jp-a-b-0123abcd-2-13.4") == ("jp-a-b-0123abcd-2", "13.4", 3)
    assert people.job_of_log("jp-a-b-0123abcd-2-13") == ("jp-a-b-0123abcd-2", "13", 0)
    assert people.job_of_log("other") is None


SCRIPT = """\
#!/bin/bash
#$ -N mine -cwd   # a comment
#$ -pe smp 4 -q all.q
#$ -l h_vmem=4G,gpu=1
echo hello
#$ -P bio
mpirun ./program
"""


def test_a_script_of_the_users() -> None:
    asked = people.read_script(SCRIPT)
    assert (asked.wish.cpus, asked.wish.memory_per_cpu, asked.gpus) == (4, Memory(4 * 2**30), 4)
    assert (asked.request.partition, asked.request.account, asked.request.walltime) == ("all.q", "bio", None)
    assert asked.steps
    assert people.directs(SCRIPT)
    assert not people.directs("#!/bin/sh\n#SBATCH -n 1\n")
    sentences = people.pitfalls(asked, (), limits().partitions)
    for words in ("4 GiB times 4 slots are 16 GiB", "address space", "no -l h_rt", "no -S"):
        assert any(words in sentence for sentence in sentences), words
    other = people.read_script("#$ -l s_rt=60,h_rt=90 -V -S /bin/sh\n#PBS -q x\n")
    assert other.unread
    assert any("not ended by h_rt" in sentence for sentence in people.pitfalls(other, (), ()))
    with pytest.raises(ConfigError, match="script for SLURM"):
        people.read_script("#!/bin/sh\n#SBATCH -n 1\n")


def test_the_script_of_dask_jobqueue() -> None:
    arguments = {"queue": "all.q", "project": "bio", "resource_spec": "h_vmem=4G", "walltime": "01:00:00", "cores": 4}
    text = people.cluster_script({**arguments, "job_extra_directives": ["-pe smp 4"]}, 2**32)
    assert [line for line in text.splitlines() if line.startswith("#$")] == [
        "#$ -N dask-worker", "#$ -q all.q", "#$ -P bio", "#$ -l h_vmem=4G", "#$ -l h_rt=01:00:00", "#$ -cwd",
        "#$ -j y", "#$ -pe smp 4",
    ]  # fmt: skip
    asked = people.read_script(text)
    assert (asked.wish.cpus, asked.request.walltime) == (4, Duration(3600))


def test_how_answers_are_written() -> None:
    assert [size(text) for text in ("23.541G", "512M", "525.938MB", "0.000B", "1k", "INFINITY", "x")] == [
        Memory(int(23.541 * 2**30)), Memory(2**29), Memory(int(525.938 * 2**20)), Memory(0), Memory(1000), None, None,
    ]  # fmt: skip
    assert [time(text) for text in ("00:10:00", "300", "5s", "INFINITY")] == [
        Duration(600), Duration(300), Duration(5), None,
    ]  # fmt: skip
    assert by_host("2,[node1=4],[@big=8]") == ("2", {"node1": "4", "@big": "8"})
    assert fields_of("a 1\nb x,\\\n  y\n#c 2\n") == {"a": "1", "b": "x, y"}
