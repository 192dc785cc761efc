"""What an LSF site allows: queues, the hosts behind them, sizes of arrays, and what memory is counted for.

The tables for people are read, and not JSON: all versions print them, and only they name users, hosts and limits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobpool.batch.lsf.endings import size
from jobpool.batch.lsf.environment import command
from jobpool.batch.lsf.queues import Queue, parse_queues
from jobpool.batch.lsf.rules import LsfRules
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition, User
from jobpool.model.units import Duration, Memory

__all__ = ["DEFAULT_ARRAY", "commands", "config_of", "parse"]

DEFAULT_ARRAY = 1000
"""MAX_JOB_ARRAY_SIZE where the site does not say: elements of an array."""

_SUBJECTS = (
    "queues", "queues of the user", "hosts", "shapes of hosts", "host groups", "parameters", "all parameters",
    "configuration",
)  # fmt: skip

_OPTIONAL = frozenset({"host groups", "parameters", "all parameters", "configuration"})
"""What a site may not have, or not show, and a version not know: their defaults stand then."""

READ_CONFIGURATION = ("sh", "-c", 'cat "${LSF_ENVDIR:-/etc}/lsf.conf"')
"""All may read it: every command of LSF's does, as its user."""


def commands(user: str) -> tuple[Command, ...]:
    """Make the commands."""
    return (
        command("bqueues", "-l"),
        command("bqueues", "-w", "-u", user),
        command("bhosts", "-w"),
        command("lshosts", "-w"),
        command("bmgroup", "-r", "-w", timeout=20.0),
        command("bparams", "-l", timeout=20.0),
        command("bparams", "-a", timeout=20.0),
        command(*READ_CONFIGURATION, timeout=20.0),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    answers = dict(zip(_SUBJECTS, done, strict=False))
    texts = {subject: answer.stdout for subject, answer in answers.items() if answer.ok}
    parameters = {**config_of(texts.get("parameters", "")), **config_of(texts.get("all parameters", ""))}
    config = config_of(texts.get("configuration", ""))
    hosts = _hosts(texts.get("hosts", ""), texts.get("shapes of hosts", ""))
    groups = _groups(texts.get("host groups", ""))
    usable = _usable(texts["queues of the user"]) if "queues of the user" in texts else None
    queues = list(parse_queues(texts.get("queues", "")))
    failed = {name: answer for name, answer in answers.items() if not answer.ok and name not in _OPTIONAL}
    unknown = [
        f"{name}: {answer.words or f'the command ended with {answer.returncode}'}" for name, answer in failed.items()
    ]
    partitions = []
    for queue in queues:
        members = _members(queue.hosts, hosts, groups)
        if members is None and hosts:
            unknown.append(f"nodes of queue {queue.name!r}: {' '.join(queue.hosts)} cannot be read")
        partitions.append(_partition(queue, members, hosts, usable))
    return Limits(
        rules=LsfRules(
            "task" if _says(parameters, "RESOURCE_RESERVE_PER_TASK", "RESOURCE_RESERVE_PER_SLOT") else "host"
        ),
        partitions=tuple(partitions),
        max_array_size=_array(parameters),
        max_jobs=_count(parameters.get("MAX_PEND_JOBS", "")),
        confined=_confined(config),
        unconfined_words="LSB_RESOURCE_ENFORCE without cpu, and no affinity",
        kill_wait=Duration(2 * interval)
        if (interval := _count(parameters.get("JOB_TERMINATE_INTERVAL", "")))
        else None,
        user=_user(answers.get("queues of the user")),
        unknown=tuple(unknown),
    )


def config_of(text: str) -> Mapping[str, str]:
    """Read ``NAME = value  # remark`` and ``NAME=value (seconds)``, one in a line."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\s*([A-Z][A-Z0-9_]+)\s*=\s*([^#]*?)\s*(?:\(.*\)|#.*)?\s*", line):
            found[match[1]] = match[2].strip().strip('"')
    return found


def _says(config: Mapping[str, str], *names: str) -> bool:
    return any(config.get(name, "").upper().startswith("Y") for name in names)


def _array(parameters: Mapping[str, str]) -> int:
    return _count(parameters.get("MAX_JOB_ARRAY_SIZE", "")) or DEFAULT_ARRAY


def _count(text: str) -> int | None:
    match = re.match(r"[0-9]{1,9}\b", text)
    return int(match[0]) if match else None


def _confined(config: Mapping[str, str]) -> bool | None:
    """Say whether jobs are kept to their cores. Without the setting an affinity[] of the queue's may do so: unknown."""
    return True if "cpu" in config.get("LSB_RESOURCE_ENFORCE", "").lower().split() else None


def _user(asked: Completed | None) -> User | None:
    """Return the user that the command was about."""
    return None if asked is None else User(name=asked.command.argv[-1], privileged=asked.command.argv[-1] == "root")


def _usable(text: str) -> frozenset[str]:
    """Read the names of ``bqueues -w -u USER``."""
    return frozenset(line.split()[0] for line in text.splitlines()[1:] if line.split())


# ------------------------------------------------------------------------------------------------------------- hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host."""

    name: str
    slots: int
    memory: Memory | None
    up: bool
    used: int
    features: tuple[str, ...] = ()


def _table(text: str) -> Iterator[Mapping[str, str]]:
    """Read a table with a head, whose last column may hold blanks."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if line.startswith("HOST_NAME")), None)
    if start is None:
        return
    names = lines[start].split()
    for line in lines[start + 1 :]:
        cells = line.split(None, len(names) - 1)
        if len(cells) == len(names):
            yield dict(zip(names, cells, strict=True))


def _hosts(states: str, shapes: str) -> Mapping[str, Host]:
    """Put together what ``bhosts -w`` and ``lshosts -w`` say of the hosts that run jobs."""
    told = {row["HOST_NAME"]: row for row in _table(shapes)}
    found = {}
    for row in _table(states):
        shape = told.get(row["HOST_NAME"], {})
        slots = _count(row.get("MAX", "")) or _count(shape.get("ncpus", ""))
        if slots:
            found[row["HOST_NAME"]] = Host(
                name=row["HOST_NAME"],
                slots=slots,
                memory=size(shape.get("maxmem", "")),
                # closed_Full is a host whose slots are all in use: it is in service.
                up=row.get("STATUS", "").startswith(("ok", "closed_Full", "closed_Busy", "closed_Excl", "closed_cu")),
                used=_count(row.get("NJOBS", "")) or 0,
                features=tuple(shape.get("RESOURCES", "").strip("()").split()),
            )
    return found


def _groups(text: str) -> Mapping[str, tuple[str, ...]]:
    """Read ``bmgroup -r -w``: a group, and the names of its hosts."""
    groups = {}
    for line in text.splitlines():
        name, *members = line.split() or [""]
        if members and name != "GROUP_NAME":
            groups[name.rstrip("/")] = tuple(members)
    return groups


def _members(
    words: Sequence[str], hosts: Mapping[str, Host], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """List the hosts of ``all``, ``node1+2 group/ ~node7``. None: a word of it is not known."""
    wanted: dict[str, None] = {}
    unwanted: set[str] = set()
    for word in words:
        name = re.sub(r"\+\d*$", "", word.lstrip("~")).rstrip("/")
        if name in ("all", "allremote", "others", "none"):
            members: tuple[str, ...] = () if name == "none" else tuple(hosts)
        elif name in groups:
            members = tuple(hosts) if groups[name] == ("all",) else groups[name]
        elif name in hosts:
            members = (name,)
        else:
            return None
        if word.startswith("~"):
            unwanted.update(members)
        else:
            wanted.update(dict.fromkeys(members))
    return tuple(name for name in wanted if name in hosts and name not in unwanted)


def _partition(
    queue: Queue, members: Sequence[str] | None, hosts: Mapping[str, Host], usable: frozenset[str] | None
) -> Partition:
    there = [hosts[name] for name in members or ()]
    up = [host for host in there if host.up]
    closed = usable is not None and queue.name not in usable
    shapes = Counter((host.slots, host.memory, host.features) for host in there if host.memory is not None)
    return Partition(
        name=queue.name,
        default=queue.default,
        up=queue.open,
        max_time=queue.max_time,
        default_time=queue.default_time,
        max_cpus_per_node=queue.max_slots,
        max_memory_per_node=queue.max_memory,
        allow_groups=(queue.users or ("others",)) if closed else (),
        node_names=" ".join(members or ()),
        # Where the memory of a host is not told (its daemon is down), none is compared: it may be the one that fits.
        nodes=(
            tuple(
                NodeShape(count=count, cores=slots, threads_per_core=1, memory=memory, features=features)
                for (slots, memory, features), count in shapes.items()
                if memory is not None
            )
            if there and all(host.memory is not None for host in there)
            else ()
        ),
        idle_cpus=sum(host.slots - host.used for host in up) if there else None,
        usable_cpus=sum(host.slots for host in up) if there else None,
        waiting=queue.pending,
    )
