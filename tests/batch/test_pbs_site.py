"""What a PBS site allows and says of itself, whether there is one, and why its jobs wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from goldens import answers, golden

from jobpool.batch.base import Machine
from jobpool.batch.pbs.explainer import make
from jobpool.batch.pbs.presence import presence
from jobpool.batch.pbs.system import Pbs
from jobpool.batch.registry import detect
from jobpool.model.command import Command, Completed
from jobpool.model.errors import BatchSystemUnavailable, ConfigError
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check
from jobpool.tools.explain_script import cluster_of, explain_cluster, read_call

pbs, explainer = Pbs(), make()
PROGRAMS = ("qsub", "qstat", "qdel", "pbsnodes")


def said(file: str, situation: str) -> Completed:
    return golden(file, situation, system="pbs")


def site(nodes: str = "nodes", user: str = "uid=1000(alice) gid=1000(alice) groups=1000(alice),20(bio)\n") -> Limits:
    asked = Completed(Command(("id",)), 0, user)
    return pbs.parse_limits([said("limits", "queues"), said("limits", "server"), said("limits", nodes), asked])


def problems(**request: object) -> list[str]:
    return [str(problem) for problem in check(Request(**request), site())]  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- the limits


def test_queues_are_partitions() -> None:
    found = {partition.name: partition for partition in site().partitions}
    assert [name for name, partition in found.items() if partition.default] == ["workq"]
    assert {name for name, partition in found.items() if not partition.up} == {"off", "closed"}
    short = found["short"]
    assert (short.max_time, short.default_time) == (Duration(600), Duration(300))
    assert (short.max_cpus_per_node, short.max_memory_per_node) == (4, Memory(4 * 2**30))
    assert found["bobs"].allow_users == ("bob",)
    assert found["workq"].waiting == 7


def test_nodes_have_shapes_and_are_idle_or_not() -> None:
    workq = site().partitions[0]
    assert workq.nodes == (NodeShape(count=1, cores=2, threads_per_core=1, memory=Memory(8 * 2**30)),)
    assert (workq.idle_cpus, workq.usable_cpus) == (0, 2)
    down = site("nodes: down").partitions[0]
    assert (down.nodes[0].cores, down.nodes[0].gpus) == (16, 2)
    assert (down.idle_cpus, down.usable_cpus) == (0, 0)


def test_the_smallest_limit_on_arrays_holds_for_all() -> None:
    assert site().max_array_size == 20


def test_what_could_not_be_read_is_said() -> None:
    stopped = [said("limits", "server stopped: qstat -Qf")] * 2 + [said("limits", "server stopped: pbsnodes")]
    found = pbs.parse_limits(stopped)
    assert found.partitions == ()
    assert [text.partition(":")[0] for text in found.unknown] == ["queues", "server", "nodes"]
    assert "Connection refused" in found.unknown[0]
    assert "timestamp" not in found.unknown[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"partition": "short", "walltime": Duration(3600)}, "longer than partition 'short' allows"),
        ({"partition": "closed"}, "is down"),
        ({"partition": "bobs"}, "is for the user(s) bob; you are alice"),
        ({"partition": "nosuch"}, "there is no partition 'nosuch'"),
        ({"gpus": 1}, "GPU"),
        ({"memory": Memory(100 * 2**30)}, "memory"),
        ({"cores": 3}, "cores"),
    ],
)
def test_what_the_site_would_refuse_or_never_start_is_found_before(asked: dict[str, object], words: str) -> None:
    assert any(words in problem for problem in problems(**asked)), problems(**asked)


def test_a_constraint_is_a_resource_of_nodes() -> None:
    constraint = explainer.rules.read_constraint("cpu_type=rome:fast=True")
    assert constraint is not None
    assert constraint.holds(frozenset({"cpu_type=rome", "fast=True", "x=1"}))
    assert not constraint.holds(frozenset({"cpu_type=rome"}))


def test_a_site_without_a_history_says_so() -> None:
    facts = explainer.parse_site([said("limits", "server"), Completed(Command(("qstat",)), 0, "")])
    assert facts.accounting == "job_history_enable is off"
    assert facts.own_jobs == {}


# ------------------------------------------------------------------------------------------------------- is there one?


def machine(*done: Completed, **environment: str) -> Machine:
    left = list(done)

    def run(command: Command) -> Completed:
        return left.pop(0)

    return Machine(lambda name: name if name in PROGRAMS else None, run, environment, lambda path: False)


def test_the_commands_say_whose_they_are_also_without_a_server() -> None:
    version = said("detect", "qstat --version with the server stopped")
    assert presence(machine(version, said("limits", "server stopped: qstat -Qf"))) is None
    assert detect(machine(version, said("detect", "qstat -B"))) == "pbs"
    frozen = Completed(Command(("qstat",)), None, "", "qstat: no answer in 10 s")
    assert presence(machine(version, frozen)) is None


def test_without_a_configuration_there_is_no_cluster() -> None:
    lost = said("detect", "no /etc/pbs.conf")
    absent = presence(machine(lost, lost))
    assert absent is not None
    assert "belongs to no cluster" in absent.why
    assert "pbs conf variables not found" in absent.words


def test_the_commands_of_others_are_not_taken_for_its_own() -> None:
    grid_engine = Completed(Command(("qstat",)), 1, "", 'qstat: invalid option argument "--version"\n')
    absent = presence(machine(grid_engine))
    assert absent is not None
    assert "another batch system's" in absent.why
    torque = Completed(Command(("qstat",)), 0, "", "Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e\n")
    with pytest.raises(BatchSystemUnavailable, match="TORQUE"):
        presence(machine(torque))


def test_a_lost_configuration_is_told() -> None:
    with pytest.raises(BatchSystemUnavailable, match=r"/gone/pbs\.conf"):
        presence(machine(PBS_CONF_FILE="/gone/pbs.conf"))


# -------------------------------------------------------------------------------------------------------- why it waits


def comments() -> set[str]:
    found = set()
    for answer in answers("qstat", system="pbs").values():
        for line in answer["stdout"].splitlines():
            if '"comment"' in line:
                found.add(line.split('":')[1].strip().strip('",'))
    return {text for text in found if text.startswith(("Not Running", "Can Never Run", "job held", "Job held"))}


@pytest.mark.parametrize("comment", sorted(comments()))
def test_each_comment_that_was_seen_is_explained(comment: str) -> None:
    assert explainer.explain_reason(comment).endswith((".", "="))


def test_what_is_missing_is_told_with_its_amounts() -> None:
    never = "Can Never Run: Insufficient amount of resource: mem (R: 100gb A: 8gb T: 8gb)"
    amounts = "(100gb asked for, 8gb free, 8gb in all)"
    told = f"It asks for more mem than any node has {amounts}, so it never starts; ask for less."
    assert explainer.explain_reason(never) == told
    now = "Not Running: Insufficient amount of resource: ncpus (R: 8 A: 2 T: 8)"
    assert explainer.explain_reason(now) == "It waits until enough ncpus is free (8 asked for, 2 free, 8 in all)."
    assert "never starts" in explainer.explain_reason(
        "Can Never Run: Insufficient amount of resource: host (nosuch != node1)"
    )
    assert explainer.explain_reason("something new") == ""


# ------------------------------------------------------------------------------------------------------------- scripts

SCRIPT = """#!/bin/bash
#PBS -N mine
#PBS -q short@server -A bio
#PBS -l select=2:ncpus=4:mem=8gb:ngpus=1:mpiprocs=4
#PBS -l walltime=10:00:00,place=scatter:excl
mpirun ./a
#PBS -V
"""


def test_a_script_is_read_as_qsub_reads_it() -> None:
    wish = explainer.read_script(SCRIPT)
    assert explainer.directs(SCRIPT)
    assert (wish.nodes, wish.wish.cpus_per_task, wish.wish.memory, wish.gpus) == (2, 4, Memory(8 * 2**30), 1)
    assert (wish.request.partition, wish.request.account) == ("short", "bio")
    assert wish.request.walltime == Duration(36000)
    assert wish.wish.exclusive
    assert wish.steps
    assert wish.ignored == ("#PBS -V",)
    assert wish.problems == ()


@pytest.mark.parametrize(
    ("directives", "words"),
    [
        ("-l walltime=1-00:00:00", "without days"),
        ("-J 0-0", "two jobs at least"),
        ("-J 1,3,5", "there are no lists"),
        ("-l select=1:ncpus=2 -l mem=1gb", "cannot stand beside -l select"),
        ("-l select=1:mem=1.5gb", "a whole number"),
    ],
)
def test_what_qsub_refuses_is_said(directives: str, words: str) -> None:
    (problem,) = explainer.read_script(f"#!/bin/sh\n#PBS {directives}\ntrue\n").problems
    assert words in problem


def test_old_forms_are_read() -> None:
    wish = explainer.read_script("#PBS -l nodes=1:ppn=4,mem=4gb\n")
    assert (wish.wish.cpus_per_task, wish.wish.memory) == (4, Memory(4 * 2**30))
    assert explainer.read_script("#PBS -l ncpus=3\n").wish.cpus_per_task == 3


def test_a_script_of_another_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="SLURM"):
        explainer.read_script("#!/bin/sh\n#SBATCH -n 1\n")


def test_pitfalls_have_a_cure() -> None:
    wish = explainer.read_script("#PBS -l select=2:ncpus=4 -V\n./a\n#PBS -q x\n")
    told = explainer.pitfalls(wish, [], [])
    assert len(told) == 6
    assert any("move it to the head" in text for text in told)
    assert any("select=1:ncpus=N" in text for text in told)


def test_the_script_of_dasks_cluster() -> None:
    arguments = {"queue": "short", "account": "bio", "cores": 4, "walltime": "01:00:00"}
    script = explainer.cluster_script(arguments, 16 * 10**9)
    assert script.splitlines()[1:] == [
        "#PBS -N dask-worker",
        "#PBS -q short",
        "#PBS -A bio",
        "#PBS -l select=1:ncpus=4:mem=15GB",
        "#PBS -l walltime=01:00:00",
        "dask worker",
    ]
    wish = explainer.read_script(script)
    assert (wish.wish.cpus_per_task, wish.wish.memory) == (4, Memory(15 * 2**30))


def test_dasks_cluster_for_pbs_is_known_by_its_name() -> None:
    call = "PBSCluster(cores=4, memory='8GB', queue='short', walltime='00:05:00')"
    arguments = read_call(call)
    found = explain_cluster(arguments, cluster=cluster_of(call), limits=site())
    assert ("workers_per_job", "4") in found.keywords
    assert ("partition", "'short'") in found.keywords


def test_a_name_of_a_log_tells_the_job(tmp_path: Path) -> None:
    assert explainer.job_of_log("jp-a-b-0123abcd-2-13") == ("jp-a-b-0123abcd-2", "jp-a-b-0123abcd-2-13", 13)
    assert explainer.job_of_log("other") is None
