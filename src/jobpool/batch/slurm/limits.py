"""What a SLURM site allows: partitions, the shapes of their nodes, sizes of arrays, licences, and how full it is.

Who may use what, and how much of it, is in ``accounts``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from jobpool.batch.slurm import accounts
from jobpool.batch.slurm.environment import command
from jobpool.batch.slurm.fields import Fields, count, fields_of, mebibytes, names, pairs_of_lines, time, word
from jobpool.batch.slurm.rules import SlurmRules
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory

__all__ = ["commands", "parse"]

_NODE_FORMAT = "%R|%D|%X|%Y|%Z|%m|%G|%f|%C"
"""For sinfo: partition, number of nodes, sockets, cores per socket, threads per core, MiB, GPUs, features, and CPUs as
allocated/idle/other/total."""

_SUBJECTS = (
    "configuration", "partitions", "nodes", "licences", "waiting jobs", "groups", "reservations", "limits of QoS",
    "accounts",
)  # fmt: skip


def commands(user: str) -> tuple[Command, ...]:
    """Make the commands. Their answers are small on any site: sinfo counts nodes that are exactly alike in one line."""
    return (
        command("scontrol", "show", "config"),
        command("scontrol", "--all", "--oneliner", "show", "partition"),
        command("sinfo", "--all", "--noheader", "--exact", f"--format={_NODE_FORMAT}"),
        command("scontrol", "--oneliner", "show", "licenses"),
        command("squeue", "--all", "--noheader", "--states=PENDING", "--Format=Partition: ", timeout=20.0),
        *accounts.commands(user),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    answers = dict(zip(_SUBJECTS, done, strict=False))
    texts = {subject: answer.stdout for subject, answer in answers.items() if answer.ok}
    config_text = texts.get("configuration", "")
    config = pairs_of_lines(config_text)
    # A cluster that never had accounting is not one whose accounting cannot be read.
    accounted = config.get("AccountingStorageType", "accounting_storage/none") != "accounting_storage/none"
    missing = [subject for subject in answers if subject not in texts]
    if not accounted and config:
        missing = [subject for subject in missing if subject not in ("limits of QoS", "accounts")]
    shapes, usable = _shapes(texts.get("nodes", ""))
    waiting = _waiting(texts["waiting jobs"]) if "waiting jobs" in texts else None
    partitions = [fields_of(line) for line in texts.get("partitions", "").splitlines()]
    hidden = _hidden(partitions, shapes)
    for name in hidden:
        del shapes[name]
    return Limits(
        rules=SlurmRules(),
        partitions=tuple(
            _partition(fields, config, shapes, usable, waiting) for fields in partitions if fields.get("PartitionName")
        ),
        max_array_size=_max_array(config),
        max_jobs=count(config.get("MaxJobCount", "")),
        licenses=_licenses(texts["licences"]) if "licences" in texts else None,
        reservations=(
            accounts.parse_reservations(texts["reservations"], config_text) if "reservations" in texts else None
        ),
        confined=_confined(config),
        unconfined_words="neither task/affinity nor cgroups",
        mapped_files_counted_by="OverMemoryKill" if _mapped_files_count(config) else "",
        kill_wait=None if (seconds := count(config.get("KillWait", "").split(" ")[0])) is None else Duration(seconds),
        user=accounts.parse_user(texts.get("groups", ""), config),
        accounting=(
            accounts.parse_accounting(texts["limits of QoS"], texts["accounts"], config)
            if accounted and {"limits of QoS", "accounts"} <= texts.keys()
            else None
        ),
        unknown=(
            *(f"{subject}: {_why_not(answers[subject])}" for subject in missing),
            *hidden.values(),
            *_rules_of_plugins(config),
        ),
    )


def _why_not(done: Completed) -> str:
    return done.words or f"the command ended with {done.returncode}"


def _hidden(partitions: Sequence[Fields], shapes: Mapping[str, tuple[NodeShape, ...]]) -> dict[str, str]:
    """Name the partitions of which sinfo shows a part, and say so: the nodes that it hides may be those that fit.

    It hides nodes of a cloud that are powered down (unless ``PrivateData=cloud``); they are started for jobs.
    """
    found = {}
    for fields in partitions:
        name, there = fields.get("PartitionName", ""), count(fields.get("TotalNodes", "")) or 0
        shown = sum(shape.count for shape in shapes.get(name, ()))
        if 0 < shown < there:
            found[name] = f"nodes of partition {name!r}: sinfo shows {shown} of {there}, so none of them is compared"
    return found


def _rules_of_plugins(config: Fields) -> Iterator[str]:
    if plugins := word(config.get("JobSubmitPlugins", "")):
        yield f"rules for submitting: the site's own plugin ({plugins}) may refuse or change jobs"


def _licenses(text: str) -> tuple[str, ...]:
    return tuple(
        f"{fields['LicenseName']}:{fields.get('Total', '')}".rstrip(":")
        for fields in map(fields_of, text.splitlines())
        if fields.get("LicenseName")
    )


def _waiting(text: str) -> Counter[str]:
    """Count jobs in each partition; one that waits in several is in each of them."""
    return Counter(name for line in text.splitlines() for name in line.strip().split(",") if name)


def _partition(
    fields: Fields,
    config: Fields,
    shapes: Mapping[str, tuple[NodeShape, ...]],
    usable: Mapping[str, tuple[int, int]],
    waiting: Counter[str] | None,
) -> Partition:
    def per_cpu(name: str) -> Memory | None:
        # A partition without the limit has the cluster's.
        own, other = f"{name}PerCPU", f"{name}PerNode"
        return mebibytes(fields.get(own, "")) or (
            None if mebibytes(fields.get(other, "")) else mebibytes(config.get(own, ""))
        )

    def per_node(name: str) -> Memory | None:
        key = f"{name}PerNode"
        return mebibytes(fields.get(key, "")) or mebibytes(config.get(key, ""))

    name = fields["PartitionName"]
    idle, in_use = usable.get(name, (None, None))
    return Partition(
        name=name,
        default=fields.get("Default") == "YES",
        up=fields.get("State", "UP") == "UP",
        tier=count(fields.get("PriorityTier", "")) or 1,
        max_time=time(fields.get("MaxTime", "")),
        default_time=time(fields.get("DefaultTime", "")),
        min_nodes=count(fields.get("MinNodes", "")),
        max_nodes=(max_nodes := count(fields.get("MaxNodes", ""))),
        no_nodes="MaxNodes=0" if max_nodes == 0 else "",
        max_cpus_per_node=count(fields.get("MaxCPUsPerNode", "")),
        max_memory_per_cpu=per_cpu("MaxMem"),
        default_memory_per_cpu=per_cpu("DefMem"),
        max_memory_per_node=per_node("MaxMem"),
        default_memory_per_node=per_node("DefMem"),
        allow_groups=names(fields.get("AllowGroups", "ALL")),
        allow_accounts=names(fields.get("AllowAccounts", "ALL")),
        deny_accounts=names(fields.get("DenyAccounts", "")),
        allow_qos=names(fields.get("AllowQos", "ALL")),
        deny_qos=names(fields.get("DenyQos", "")),
        qos=word(fields.get("QoS", "")),
        needs_reservation=fields.get("ReqResv") == "YES",
        root_only=fields.get("RootOnly") == "YES",
        node_names=word(fields.get("Nodes", "")) or "",
        nodes=shapes.get(name, ()),
        idle_cpus=idle,
        usable_cpus=in_use,
        waiting=None if waiting is None else waiting[name],
        whole_nodes=_whole_nodes(fields, config),
    )


def _whole_nodes(fields: Fields, config: Fields) -> str:
    """Say which setting gives each job a node for itself, and has it charged for it."""
    if fields.get("OverSubscribe") == "EXCLUSIVE":
        return "OverSubscribe=EXCLUSIVE"
    return "SelectType=select/linear" if config.get("SelectType") == "select/linear" else ""


def _shapes(text: str) -> tuple[dict[str, tuple[NodeShape, ...]], Mapping[str, tuple[int, int]]]:
    """Return, by partition, the shapes of its nodes, and its CPUs that are idle and that are in service."""
    shapes: dict[str, tuple[NodeShape, ...]] = {}
    usable: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        partition, *numbers, gpus, features, cpus = (line.split("|") + [""] * 9)[:9]
        if not all(count(number) is not None for number in numbers):
            continue
        number, sockets, cores, threads, memory = (int(text) for text in numbers)
        shape = NodeShape(
            count=number,
            cores=sockets * cores,
            threads_per_core=threads,
            memory=Memory(memory * 2**20),
            gpus=_gpus(gpus),
            features=names(features),
        )
        shapes[partition] = (*shapes.get(partition, ()), shape)
        if match := re.fullmatch(r"(\d{1,9})/(\d{1,9})/\d+/\d+", cpus):
            idle, all_usable = usable.get(partition, (0, 0))
            usable[partition] = idle + int(match[2]), all_usable + int(match[1]) + int(match[2])
    return shapes, usable


def _gpus(gres: str) -> int:
    """Add up ``gpu:a100:4(S:0-1),gpu:2,shard:8``."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]*[^\d:,()][^:,()]*)?:(\d{1,6})", gres))


def _confined(config: Fields) -> bool | None:
    plugins = config.get("TaskPlugin", "").split(",")
    if plugins == [""]:
        return None
    return "task/affinity" in plugins or ("task/cgroup" in plugins and config.get("ConstrainCores") == "yes")


def _mapped_files_count(config: Fields) -> bool:
    # It adds up the resident memory of processes. NoShared leaves out what is shared, files among it; cgroups (v1 and
    # v2) tell the plugin anonymous memory alone.
    how = config.get("JobAcctGatherParams", "").lower().split(",")
    plain = config.get("JobAcctGatherType") == "jobacct_gather/linux"
    return plain and "overmemorykill" in how and "noshared" not in how


def _max_array(config: Fields) -> int | None:
    # The scheduler may allow fewer elements than the index could count.
    fewer = re.search(r"\bmax_array_tasks=(\d{1,9})\b", config.get("SchedulerParameters", ""))
    sizes = [count(config.get("MaxArraySize", "")), int(fewer[1]) if fewer else None]
    return min((size for size in sizes if size is not None), default=None)
