"""What a SLURM site allows: partitions, the shapes of their nodes, sizes of arrays, licences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jobpool.model import Command, Completed, Limits, NodeShape, Partition
from jobpool.units import Duration, Memory

__all__ = ["commands", "parse"]

_NODE_FORMAT = "%R|%D|%X|%Y|%Z|%m|%G|%f"
"""For sinfo: partition, number of nodes, sockets, cores per socket, threads per core, MiB, GPUs, features."""

_SUBJECTS = ("configuration", "partitions", "nodes", "licences")

_UNLIMITED = frozenset({"", "UNLIMITED", "INFINITE", "NONE", "N/A", "(null)", "Unknown"})

Fields = Mapping[str, str]


def commands() -> tuple[Command, ...]:
    """Make the commands. Their answers are small on any site: sinfo counts nodes that are exactly alike in one line."""
    return (
        Command(("scontrol", "show", "config")),
        Command(("scontrol", "--all", "--oneliner", "show", "partition")),
        Command(("sinfo", "--all", "--noheader", "--exact", f"--format={_NODE_FORMAT}")),
        Command(("scontrol", "--oneliner", "show", "licenses")),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    texts = [answer.stdout if answer.ok else "" for answer in done]
    unknown = tuple(
        f"{subject}: {answer.words or f'the command ended with {answer.returncode}'}"
        for subject, answer in zip(_SUBJECTS, done, strict=False)
        if not answer.ok
    )
    config_text, partition_text, node_text, license_text, *_ = (*texts, "", "", "", "")
    config = _config(config_text)
    shapes = _shapes(node_text)
    partitions = [_fields(line) for line in partition_text.splitlines()]
    return Limits(
        partitions=tuple(_partition(fields, config, shapes) for fields in partitions if fields.get("PartitionName")),
        max_array_size=_max_array(config),
        max_jobs=_count(config.get("MaxJobCount", "")),
        licenses=tuple(
            f"{fields['LicenseName']}:{fields.get('Total', '')}".rstrip(":")
            for fields in map(_fields, license_text.splitlines())
            if fields.get("LicenseName")
        ),
        unknown=unknown,
    )


def _config(text: str) -> Fields:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _fields(line: str) -> Fields:
    """Split ``A=1 B=x=y`` of ``scontrol --oneliner``."""
    pairs = (word.partition("=") for word in line.split())
    return {name: value for name, equals, value in pairs if equals}


def _partition(fields: Fields, config: Fields, shapes: Mapping[str, tuple[NodeShape, ...]]) -> Partition:
    def memory(name: str) -> Memory | None:
        # A partition without the limit has the cluster's.
        per_cpu, per_node = f"{name}PerCPU", f"{name}PerNode"
        return _mebibytes(fields.get(per_cpu, "")) or (
            None if _mebibytes(fields.get(per_node, "")) else _mebibytes(config.get(per_cpu, ""))
        )

    name = fields["PartitionName"]
    return Partition(
        name=name,
        default=fields.get("Default") == "YES",
        up=fields.get("State", "UP") == "UP",
        max_time=_time(fields.get("MaxTime", "")),
        default_time=_time(fields.get("DefaultTime", "")),
        max_nodes=_count(fields.get("MaxNodes", "")),
        max_memory_per_cpu=memory("MaxMem"),
        default_memory_per_cpu=memory("DefMem"),
        max_memory_per_node=_mebibytes(fields.get("MaxMemPerNode", "")) or _mebibytes(config.get("MaxMemPerNode", "")),
        allow_groups=_names(fields.get("AllowGroups", "ALL")),
        allow_accounts=_names(fields.get("AllowAccounts", "ALL")),
        allow_qos=_names(fields.get("AllowQos", "ALL")),
        nodes=shapes.get(name, ()),
    )


def _shapes(text: str) -> Mapping[str, tuple[NodeShape, ...]]:
    shapes: dict[str, tuple[NodeShape, ...]] = {}
    for line in text.splitlines():
        partition, *numbers, gpus, features = (line.split("|") + [""] * 8)[:8]
        if not all(_count(number) is not None for number in numbers):
            continue
        count, sockets, cores, threads, memory = (int(number) for number in numbers)
        shape = NodeShape(
            count=count,
            cores=sockets * cores,
            threads_per_core=threads,
            memory=Memory(memory * 2**20),
            gpus=_gpus(gpus),
            features=() if features in _UNLIMITED else tuple(features.split(",")),
        )
        shapes[partition] = (*shapes.get(partition, ()), shape)
    return shapes


def _gpus(gres: str) -> int:
    """Add up ``gpu:a100:4(S:0-1),gpu:2,shard:8``."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]*[^\d:,()][^:,()]*)?:(\d{1,6})", gres))


def _max_array(config: Fields) -> int | None:
    # The scheduler may allow fewer elements than the index could count.
    fewer = re.search(r"\bmax_array_tasks=(\d{1,9})\b", config.get("SchedulerParameters", ""))
    sizes = [_count(config.get("MaxArraySize", "")), int(fewer[1]) if fewer else None]
    return min((size for size in sizes if size is not None), default=None)


def _time(text: str) -> Duration | None:
    """Read ``1-00:00:00``, ``10:00`` or a number of minutes."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d\d)", text)
    if match:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return Duration(days * 86400 + hours * 3600 + minutes * 60 + seconds)
    minutes_only = _count(text)
    return None if minutes_only is None else Duration(minutes_only * 60)


def _mebibytes(text: str) -> Memory | None:
    count = _count(text)
    return Memory(count * 2**20) if count else None


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def _names(text: str) -> tuple[str, ...]:
    return () if text in _UNLIMITED or text == "ALL" else tuple(text.split(","))
