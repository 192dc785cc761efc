"""What a PBS site allows: queues with their limits, the shapes of their nodes, and how full it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobpool.batch.pbs.answers import Row, table_of
from jobpool.batch.pbs.endings import size
from jobpool.batch.pbs.environment import command
from jobpool.batch.pbs.rules import PbsRules
from jobpool.model.command import Command, Completed
from jobpool.model.partition import NodeShape, Partition
from jobpool.model.site import Limits, User
from jobpool.model.units import Duration, Memory

__all__ = ["commands", "parse"]

_SUBJECTS = ("queues", "server", "nodes", "groups")

_BUILT_IN = frozenset(
    {
        *("arch", "host", "vnode", "mem", "vmem", "ncpus", "ngpus", "hbmem", "naccelerators", "accelerator"),
        *("accelerator_memory", "accelerator_model", "switch", "Qlist"),
    }
)
"""Resources of a node that are amounts, or its names: the others are words that a constraint can ask for."""

_GPUS = ("ngpus", "gpus", "naccelerators")

_AWAY = ("down", "offline", "unknown", "stale", "provisioning", "maintenance", "Stale", "sleep")
"""States of a node on which nothing starts now."""


def commands(user: str) -> tuple[Command, ...]:
    """Make the commands. The nodes are told one by one: some 600 bytes each."""
    return (
        command("qstat", "-Qf", "-F", "json", timeout=20.0),
        command("qstat", "-Bf", "-F", "json", timeout=20.0),
        command("pbsnodes", "-av", "-F", "json", timeout=60.0),
        Command(("id", user)),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    answers = dict(zip(_SUBJECTS, done, strict=False))
    tables: dict[str, Mapping[str, Row]] = {}
    unknown: list[str] = []
    for subject, key in (("queues", "Queue"), ("server", "Server"), ("nodes", "nodes")):
        if subject not in answers:
            continue
        if isinstance(found := table_of(answers[subject], key), str):
            unknown.append(f"{subject}: {found}")
        else:
            tables[subject] = found
    server = next(iter(tables.get("server", {}).values()), {})
    nodes = tables.get("nodes", {})
    user = _user(answers["groups"].stdout) if "groups" in answers and answers["groups"].ok else None
    queues = tables.get("queues", {})
    shown = {name: row for name, row in queues.items() if row.get("queue_type", "Execution") == "Execution"}
    unknown += [f"queue {name!r}: it routes jobs to others, whose limits hold" for name in queues.keys() - shown.keys()]
    return Limits(
        rules=PbsRules(),
        partitions=tuple(_partition(name, row, server, nodes) for name, row in shown.items()),
        max_array_size=_smallest([server, *shown.values()], "max_array_size"),
        confined=None,
        unconfined_words="no cpuset",
        user=user,
        unknown=tuple(unknown),
    )


def _users(row: Row) -> tuple[str, ...]:
    """Return who may use a queue; empty: everybody, or all but some (``-bob``), whom PBS refuses itself."""
    if not _is(row, "acl_user_enable"):
        return ()
    listed = [name.strip().removeprefix("+").partition("@")[0] for name in str(row.get("acl_users", "")).split(",")]
    named = tuple(name for name in listed if name and not name.startswith("-"))
    return () if "*" in named else named


def _partition(name: str, row: Row, server: Row, nodes: Mapping[str, Row]) -> Partition:
    most, least_given = _resources(row, "resources_max"), _resources(row, "resources_default")
    most = {**_resources(server, "resources_max"), **most}
    given = {**_resources(server, "resources_default"), **least_given}
    own = {host: node for host, node in nodes.items() if _serves(node, name, row)}
    here = {host: node for host, node in own.items() if not _is_away(node)}
    usable = sum(_count(node, "resources_available", "ncpus") for node in here.values())
    used = sum(_count(node, "resources_assigned", "ncpus") for node in here.values())
    groups = str(row.get("acl_groups", "")) if _is(row, "acl_group_enable") else ""
    return Partition(
        name=name,
        default=server.get("default_queue") == name,
        up=_is(row, "enabled") and _is(row, "started"),
        tier=1,
        max_time=_time(most.get("walltime")),
        default_time=_time(given.get("walltime")),
        max_cpus_per_node=_whole(most.get("ncpus")),
        max_memory_per_node=size(str(most.get("mem", ""))),
        default_memory_per_node=size(str(given.get("mem", ""))),
        allow_users=_users(row),
        allow_groups=tuple(group.strip().partition("@")[0] for group in groups.split(",") if group.strip()),
        needs_reservation=False,
        node_names=",".join(own),
        nodes=tuple(_shapes(own.values())),
        idle_cpus=max(0, usable - used) if nodes else None,
        usable_cpus=usable if nodes else None,
        whole_nodes=_whole_nodes(row, own.values()),
        waiting=_waiting(row),
    )


def _shapes(nodes: Any) -> Iterator[NodeShape]:
    """Count the nodes that are alike. How many hardware threads a core has PBS does not tell: ncpus are its cores."""
    kinds = Counter(
        (
            _count(node, "resources_available", "ncpus"),
            int(size(str(_resources(node, "resources_available").get("mem", ""))) or 0),
            max(_count(node, "resources_available", name) for name in _GPUS),
            tuple(sorted(_features(_resources(node, "resources_available")))),
        )
        for node in nodes
    )
    for (cpus, memory, gpus, features), count in kinds.items():
        if cpus:
            yield NodeShape(
                count=count, cores=cpus, threads_per_core=1, memory=Memory(memory), gpus=gpus, features=features
            )


def _features(resources: Row) -> Iterator[str]:
    for name, value in resources.items():
        if name not in _BUILT_IN and not isinstance(value, int | float):
            yield from (f"{name}={part.strip()}" for part in str(value).split(","))


def _serves(node: Row, queue: str, row: Row) -> bool:
    """Say whether jobs of this queue may run on a node: some are kept for one queue, some by a resource (Qlist)."""
    own = node.get("queue")
    if own is not None:
        return bool(own == queue)
    listed = _resources(row, "default_chunk").get("Qlist")
    if listed is None:
        return not _is(row, "hasnodes")
    return str(listed) in str(_resources(node, "resources_available").get("Qlist", "")).split(",")


def _is_away(node: Row) -> bool:
    return any(word in str(node.get("state", "")) for word in _AWAY)


def _whole_nodes(row: Row, nodes: Any) -> str:
    place = str(_resources(row, "resources_default").get("place", ""))
    if "excl" in place.split(":") or "exclhost" in place.split(":"):
        return f"resources_default.place={place}"
    sharing = {str(node.get("sharing", "")) for node in nodes}
    forced = sharing and all(word in ("force_excl", "force_exclhost") for word in sharing)
    return f"sharing={sharing.pop()}" if forced else ""


def _waiting(row: Row) -> int | None:
    found = re.search(r"\bQueued:(\d{1,9})\b", str(row.get("state_count", "")))
    return int(found[1]) if found else None


def _user(text: str) -> User | None:
    """Read ``uid=1001(alice) gid=1001(alice) groups=1001(alice),20(bio)``."""
    found = re.match(r"uid=(\d+)\(([^)]+)\)", text)
    groups = re.findall(r"\d+\(([^)]+)\)", text.partition("groups=")[2])
    return None if found is None else User(name=found[2], groups=tuple(groups), privileged=found[1] == "0")


def _smallest(rows: Sequence[Row], key: str) -> int | None:
    """Return the smallest of these limits: which queue a submission goes to is not known here."""
    return min((found for row in rows if (found := _whole(row.get(key))) is not None), default=None)


def _resources(row: Row, key: str) -> Mapping[str, Any]:
    found = row.get(key, {})
    return found if isinstance(found, Mapping) else {}


def _count(row: Row, key: str, name: str) -> int:
    return _whole(_resources(row, key).get(name)) or 0


def _whole(value: object) -> int | None:
    return int(str(value)) if re.fullmatch(r"\d{1,12}", str(value)) else None


def _is(row: Row, key: str) -> bool:
    return str(row.get(key, "False")) == "True"


def _time(value: object) -> Duration | None:
    """Read ``00:10:00``, ``10:00``, or seconds. None: there is none."""
    if not re.fullmatch(r"\d{1,9}(:\d{1,2}){0,2}", str(value)):
        return None
    seconds = 0
    for part in str(value).split(":"):
        seconds = seconds * 60 + int(part)
    return Duration(seconds) if seconds else None
