"""SLURM's answers about a site, read: what may be asked for."""

from __future__ import annotations

import pytest
from goldens import answers, completed, golden

from jobpool.batch.slurm.accounts import parse_accounting
from jobpool.batch.slurm.fields import time as _time
from jobpool.batch.slurm.limits import _gpus
from jobpool.batch.slurm.system import Slurm
from jobpool.model.command import Command, Completed
from jobpool.model.site import Amounts, Limits, Partition, User
from jobpool.model.units import Duration, Memory

slurm = Slurm()
COMMAND = Command(("slurm",))


def site() -> Limits:
    return slurm.parse_limits([completed(answer) for answer in answers("limits")["private cluster"]])


def partition(name: str) -> Partition:
    return next(partition for partition in site().partitions if partition.name == name)


def test_limits_of_a_site() -> None:
    limits = site()
    assert [found.name for found in limits.partitions] == [
        "short", "long", "plain", "gpu", "preempt", "closed", "percpu", "down", "inactive",
    ]  # fmt: skip
    assert (limits.max_array_size, limits.max_jobs, limits.licenses, limits.unknown) == (1001, 10000, ("matlab:2",), ())


def test_limits_of_partitions() -> None:
    assert [found.name for found in site().partitions if found.default] == ["short"]
    assert [found.name for found in site().partitions if not found.up] == ["down", "inactive"]
    assert (partition("short").max_time, partition("short").default_time) == (Duration(3600), Duration(600))
    assert (partition("plain").max_time, partition("long").max_time) == (None, Duration(172800))
    assert partition("closed").allow_groups == ("nosuchgroup",)
    assert partition("short").allow_groups == partition("short").allow_accounts == partition("short").allow_qos == ()
    assert partition("percpu").max_memory_per_cpu == Memory(2000 * 2**20)
    assert partition("percpu").default_memory_per_cpu == Memory(1000 * 2**20)
    assert partition("gpu").max_memory_per_node == Memory(100000 * 2**20)


def accounted() -> Limits:
    return slurm.parse_limits([completed(answer) for answer in answers("limits_accounting")["cluster with accounting"]])


def test_what_the_user_may_have() -> None:
    limits = accounted()
    assert limits.unknown == ()
    assert limits.user == User(name="root", groups=("root",), privileged=True)
    accounting = limits.accounting
    assert accounting is not None
    assert (accounting.enforces_accounts, accounting.enforces_limits, accounting.enforces_qos) == (True, True, True)
    assert (accounting.default_account, [account.name for account in accounting.accounts]) == (
        "root", ["lab", "second", "root"],
    )  # fmt: skip
    lab = accounting.accounts[0]
    assert (lab.default_qos, "maxwall" in lab.qos, "tres" in lab.qos) == ("normal", True, False)
    assert (lab.quota.max_time, lab.quota.max_jobs, lab.quota.max_submit) == (Duration(1200), 3, 5)
    assert lab.quota.per_job == Amounts(cpus=8, memory=Memory(4 * 2**30), gpus=2)
    assert lab.quota.of_all == Amounts(cpus=16)
    qos = {quota.name: quota for quota in accounting.qos}
    assert (qos["maxwall"].max_time, qos["maxjobs"].max_jobs, qos["maxsubmit"].max_submit) == (Duration(1800), 2, 3)
    assert qos["tres"].together == Amounts(cpus=4, memory=Memory(2 * 2**30))
    assert (qos["tres"].per_node, qos["tres"].at_least) == (Amounts(cpus=2), Amounts(cpus=2))
    assert [quota.name for quota in accounting.qos if quota.over_partition] == ["zero"]


def test_accounts_of_another_cluster_in_the_same_database_do_not_count() -> None:
    config = {"ClusterName": "here", "AccountingStorageEnforce": "associations"}
    rows = "here|a|a||normal|||||||\nelsewhere|b|b||normal|||||||\n"
    found = parse_accounting("", rows, config)
    assert ([account.name for account in found.accounts], found.default_account) == (["a"], "a")


def test_a_plugin_of_the_site_is_named_as_unknown() -> None:
    config = Completed(COMMAND, 0, "AccountingStorageType = accounting_storage/none\nJobSubmitPlugins = lua\n")
    (unknown,) = slurm.parse_limits([config, *[Completed(COMMAND, 0)] * 8]).unknown
    assert unknown == "rules for submitting: the site's own plugin (lua) may refuse or change jobs"


@pytest.mark.parametrize(
    ("gather", "parameters", "count"),
    [
        ("linux", "OverMemoryKill", "OverMemoryKill"),
        ("linux", "UsePss,OverMemoryKill", "OverMemoryKill"),
        ("linux", "NoShared,OverMemoryKill", ""),
        ("cgroup", "OverMemoryKill", ""),
        ("linux", "(null)", ""),
    ],
)
def test_whether_mapped_files_count_as_a_jobs_memory(gather: str, parameters: str, count: str) -> None:
    config = f"JobAcctGatherType = jobacct_gather/{gather}\nJobAcctGatherParams = {parameters}\n"
    assert slurm.parse_limits([Completed(COMMAND, 0, config)]).mapped_files_counted_by == count


@pytest.mark.parametrize(
    ("config", "partition", "whole"),
    [
        ("SelectType = select/cons_tres\n", "OverSubscribe=EXCLUSIVE", "OverSubscribe=EXCLUSIVE"),
        ("SelectType = select/linear\n", "OverSubscribe=NO", "SelectType=select/linear"),
        ("SelectType = select/cons_tres\n", "OverSubscribe=FORCE:4 ExclusiveUser=YES", ""),
    ],
)
def test_who_gives_out_whole_nodes(config: str, partition: str, whole: str) -> None:
    done = [Completed(COMMAND, 0, config), Completed(COMMAND, 0, f"PartitionName=p {partition}\n")]
    assert [found.whole_nodes for found in slurm.parse_limits(done).partitions] == [whole]


def test_reservations_and_how_full_it_is() -> None:
    limits = accounted()
    assert limits.reservations is not None
    mine, later, theirs = limits.reservations
    assert (mine.name, mine.users, mine.starts_in) == ("mine", ("root",), 0.0)
    assert later.starts_in is not None
    assert later.ends_in == later.starts_in + 3600
    assert (theirs.users, theirs.accounts) == ((), ("second",))
    found = {each.name: each for each in limits.partitions}
    # An array, as well as a job that waits in two partitions, is one waiting job in each.
    assert (found["long"].waiting, found["short"].waiting, found["gpu"].waiting) == (2, 1, 0)
    assert (found["short"].idle_cpus, found["short"].usable_cpus) == (124, 128)
    assert (found["exq"].qos, found["resv"].needs_reservation, found["minn"].min_nodes) == ("grpcpus", True, 2)
    assert (found["maxcpu"].max_cpus_per_node, found["qosp"].allow_qos) == (8, ("maxwall",))


def test_without_accounting_nothing_of_it_is_unknown() -> None:
    config = Completed(COMMAND, 0, "AccountingStorageType = accounting_storage/none\n")
    failed = Completed(COMMAND, 1, "", "You are not running a supported accounting_storage plugin")
    limits = slurm.parse_limits([config, *[Completed(COMMAND, 0)] * 6, failed, failed])
    assert (limits.accounting, limits.unknown) == (None, ())


def test_shapes_of_nodes() -> None:
    plain, fast = partition("short").nodes
    assert (plain.count, plain.cores, plain.threads_per_core, plain.memory) == (2, 16, 2, Memory(64000 * 2**20))
    assert (fast.count, fast.features) == (1, ("fast",))
    assert (partition("plain").nodes[0].cores, partition("plain").nodes[0].threads_per_core) == (8, 1)
    assert partition("gpu").nodes[0].gpus == 4


def test_limits_of_the_whole_cluster_hold_where_a_partition_has_none() -> None:
    config = Completed(
        COMMAND, 0, "MaxMemPerCPU = 2000\nMaxArraySize = 1001\nSchedulerParameters = a,max_array_tasks=100\n"
    )
    found = slurm.parse_limits(
        [config, Completed(COMMAND, 0, "PartitionName=a MaxMemPerNode=UNLIMITED\nPartitionName=b MaxMemPerNode=5\n")]
    )
    assert found.max_array_size == 100
    assert [part.max_memory_per_cpu for part in found.partitions] == [Memory(2000 * 2**20), None]


def test_what_cannot_be_read_is_said() -> None:
    done = golden("squeue_failures", "controller stopped")
    limits = slurm.parse_limits([done] * 9)
    assert [line.partition(":")[0] for line in limits.unknown] == [
        "configuration", "partitions", "nodes", "licences", "waiting jobs", "groups", "reservations", "limits of QoS",
        "accounts",
    ]  # fmt: skip
    assert (limits.licenses, limits.reservations, limits.user, limits.accounting) == (None, None, None, None)
    assert all("Unable to contact" in line for line in limits.unknown)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gpu:4", 4),
        ("gpu:a100:4", 4),
        ("gpu:a100:4(S:0-1),gpu:2,shard:8", 6),
        ("gpu:a100_1g.5gb:7", 7),
        ("(null)", 0),
        ("mps:100", 0),
    ],
)
def test_gpus(text: str, count: int) -> None:
    assert _gpus(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-00:00:00", 86400), ("01:00:00", 3600), ("10:00", 600), ("90", 5400), ("UNLIMITED", None), ("", None)],
)
def test_times(text: str, seconds: float | None) -> None:
    assert _time(text) == seconds
