"""What an LSF site allows, read from the tables that its commands print for people."""

from __future__ import annotations

from typing import Any

import pytest
from goldens import golden

from jobpool.batch.lsf.limits import config_of
from jobpool.batch.lsf.queues import parse_queues
from jobpool.batch.lsf.rules import LsfRules
from jobpool.batch.lsf.system import Lsf
from jobpool.model.command import Command, Completed
from jobpool.model.request import Request
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory
from jobpool.site.check import check
from jobpool.testing import FakeCluster
from jobpool.testing.fake.dialects import IMITATED

lsf = Lsf()
GIB = 2**30
USABLE = "QUEUE_NAME PRIO STATUS\nnormal 30 Open:Active\n"
PARAMETERS = "    MAX_JOB_ARRAY_SIZE = 5000\n    JOB_TERMINATE_INTERVAL = 30 \n RESOURCE_RESERVE_PER_TASK = N\n"
GROUPS = "GROUP_NAME    HOSTS\nold           node3\n"


def said(stdout: str = "", *, stderr: str = "", code: int = 0) -> Completed:
    return Completed(Command(("lsf",)), code, stdout, stderr)


def answer(file: str, situation: str) -> Completed:
    return golden(file, situation, system="lsf")


def site(**changes: Completed) -> Limits:
    answers = {
        "queues": answer("bqueues", "long form (-l)"),
        "usable": Completed(Command(("bqueues", "-w", "-u", "alice")), 0, USABLE),
        "hosts": answer("bhosts", "several (-w)"),
        "shapes": answer("lshosts", "shapes"),
        "gpus": answer("lshosts", "GPUs"),
        "groups": said(GROUPS),
        "parameters": said(PARAMETERS),
        "all_parameters": said(),
        "configuration": said("LSF_UNIT_FOR_LIMITS=MB\n"),
    }
    return lsf.parse_limits([*{**answers, **changes}.values()])


def test_the_commands_are_those_that_all_versions_have() -> None:
    argv = [command.argv for command in lsf.limits("alice")]
    assert argv[:2] == [("bqueues", "-l"), ("bqueues", "-w", "-u", "alice")]
    assert len(argv) == 9
    assert all(("LSB_NTRIES", "1") in command.variables for command in lsf.limits("alice"))


def test_queues_with_their_limits() -> None:
    normal, gpu = parse_queues(answer("bqueues", "long form (-l)").stdout)
    assert (normal.name, normal.default, normal.open, normal.pending) == ("normal", True, True, 3)
    assert (normal.max_time, normal.default_time) == (Duration(86400), Duration(1800))
    assert (normal.max_slots, normal.max_memory) == (64, Memory(48 * GIB))
    assert (normal.users, normal.hosts) == ((), ("node1", "node2+3", "old/"))
    assert normal.policies == ("BACKFILL", "EXCLUSIVE")
    assert (gpu.name, gpu.default, gpu.open, gpu.max_time) == ("gpu", False, False, None)
    assert (gpu.users, gpu.hosts) == (("bob", "bio/"), ("all", "~node3"))


def test_queues_of_an_open_relative() -> None:
    short, normal = parse_queues(answer("relative", "queues").stdout)
    assert (short.max_time, short.default_time, short.max_slots) == (Duration(600), Duration(120), 4)
    assert (short.users, short.hosts, short.default) == (("nobody",), ("node1",), False)
    assert (normal.max_time, normal.default_time, normal.default) == (Duration(3600), None, True)
    assert (normal.users, normal.hosts) == ((), ("all",))


def test_partitions_with_the_shapes_of_their_hosts() -> None:
    known = said(answer("lshosts", "shapes").stdout.replace("8      -      -", "8    15G      -"))
    limits = site(shapes=known)
    normal, gpu = limits.partitions
    assert normal == Partition(
        name="normal",
        default=True,
        max_time=Duration(86400),
        default_time=Duration(1800),
        max_cpus_per_node=64,
        max_memory_per_node=Memory(48 * GIB),
        node_names="node1 node2 node3",
        nodes=(
            NodeShape(count=1, cores=8, threads_per_core=1, memory=Memory(15.3 * GIB), gpus=4),
            NodeShape(count=1, cores=12, threads_per_core=1, memory=Memory(63 * GIB), gpus=2),
            NodeShape(count=1, cores=8, threads_per_core=1, memory=Memory(15 * GIB)),
        ),
        idle_cpus=6,
        usable_cpus=20,
        waiting=3,
    )
    assert (gpu.node_names, gpu.up, gpu.allow_groups) == ("node1 node2", False, ("bob", "bio/"))
    assert limits.unknown == ()
    assert (limits.max_array_size, limits.kill_wait) == (5000, Duration(60))


def test_hosts_that_have_not_told_their_memory_keep_the_others_from_being_compared() -> None:
    normal, gpu = site().partitions
    assert (normal.nodes, len(gpu.nodes)) == ((), 2)


def test_a_group_of_hosts_that_is_not_known_is_said() -> None:
    limits = site(groups=answer("relative", "no host groups"))
    assert limits.partitions[0].nodes == ()
    assert limits.unknown == ("nodes of queue 'normal': node1 node2+3 old/ cannot be read",)


def test_gpus_that_are_not_told_are_not_none_where_the_site_has_some() -> None:
    missing = answer("lshosts", "no such option")
    assert len(site(gpus=missing).partitions[1].nodes) == 2
    limits = site(gpus=missing, configuration=said("LSF_GPU_AUTOCONFIG=Y\n"))
    assert limits.partitions[1].nodes == ()
    assert limits.unknown == ("GPUs: lshosts: invalid option -- 'g'",)


@pytest.mark.parametrize(
    ("parameters", "rules"),
    [
        ("RESOURCE_RESERVE_PER_TASK = Y\n", LsfRules("task")),
        ("RESOURCE_RESERVE_PER_SLOT = Y\n", LsfRules("task")),
        ("RESOURCE_RESERVE_PER_TASK = N\n", LsfRules("host")),
        ("", LsfRules("host")),
    ],
)
def test_what_memory_is_counted_for(parameters: str, rules: LsfRules) -> None:
    assert site(all_parameters=said(parameters)).rules == rules


@pytest.mark.parametrize(
    ("configuration", "confined"),
    [('LSB_RESOURCE_ENFORCE="cpu memory"\n', True), ("LSB_RESOURCE_ENFORCE=memory\n", None), ("", None)],
)
def test_whether_jobs_are_kept_to_their_cores(configuration: str, confined: bool | None) -> None:
    assert site(configuration=said(configuration)).confined is confined


def test_a_daemon_that_is_down_leaves_all_unknown_in_its_words() -> None:
    down = said(stderr="LIM is down; try later", code=255)
    limits = lsf.parse_limits([down] * 9)
    assert limits.partitions == ()
    assert limits.max_array_size == 1000
    assert [text.partition(": ")[2] for text in limits.unknown] == ["LIM is down; try later"] * 4


def test_parameters_of_an_open_relative() -> None:
    told = config_of(answer("relative", "parameters").stdout)
    assert (told["MAX_JOB_ARRAY_SIZE"], told["CLEAN_PERIOD"], told["JOB_TERMINATE_INTERVAL"]) == ("1000", "3600", "10")
    assert told["RESOURCE_RESERVE_PER_TASK"] == "N"


def test_lines_of_a_configuration() -> None:
    text = '#LSF_A=1\nLSF_B="x y"   # why\nLSF_C=Y\nnoise\n LSB_D = 5 (seconds)\n'
    assert config_of(text) == {"LSF_B": "x y", "LSF_C": "Y", "LSB_D": "5"}


# What is made of them


def fake_limits() -> Limits:
    cluster = FakeCluster(dialect=IMITATED["lsf"])
    commands = [command for command in lsf.limits("alice") if command.argv[0] != "sh"]
    return lsf.parse_limits([cluster.run(command) for command in commands])


def problems(**request: Any) -> list[str]:
    return [problem.setting for problem in check(Request(**request), fake_limits())]


def test_requests_are_compared_with_the_limits() -> None:
    assert problems() == []
    assert problems(partition="nosuch") == ["partition"]
    assert problems(partition="closed") == ["partition"]
    assert problems(partition="short", walltime=Duration(2 * 3600)) == ["walltime"]
    assert problems(partition="short", cores=17) == ["cores"]
    assert problems(partition="short", memory=Memory(65 * GIB)) == ["memory"]
    assert problems(partition="short", gpus=1) == ["gpus"]
    assert problems(partition="gpu", gpus=4) == []


def test_what_a_node_gives_is_counted_in_slots() -> None:
    rules, shape = LsfRules(), NodeShape(count=1, cores=16, threads_per_core=1, memory=Memory(64 * GIB))
    queue = Partition(name="x", nodes=(shape,))
    grant = rules.grant(rules.wish_of(Request(cores=4, memory=Memory(GIB))), queue, shape)
    assert grant is not None
    assert (grant.cores, grant.cpus, grant.memory) == (4, 4, Memory(GIB + 256 * 2**20))
    two = Request(cores=9, system_options=(("slots_per_core", "2"),))
    assert rules.cpus_given(two, queue) == 18
    assert rules.grant(rules.wish_of(two), queue, shape) is None
    whole = rules.grant(rules.wish_of(Request(job_extra=("-x",))), queue, shape)
    assert whole is not None
    assert whole.cores == 16


def test_a_request_is_as_its_directives_say_it() -> None:
    asked = Request(memory=Memory(GIB), partition="a", job_skip=("-M", "-q"), job_extra=("-q night",))
    written = LsfRules().as_written(asked)
    assert (written.memory, written.partition) == (None, "night")
    assert LsfRules().as_written(Request(partition="a")) == Request(partition="a")
