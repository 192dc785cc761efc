"""What an LSF site allows: queues, the hosts behind them, sizes of arrays, and what memory is counted for.

The tables for people are read, and not JSON: all versions print them, and only they name users, hosts and limits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from jobpool.batch.lsf.environment import command
from jobpool.batch.lsf.hosts import Host, members_of, parse_gpus, parse_groups, parse_hosts
from jobpool.batch.lsf.queues import Queue, parse_queues
from jobpool.batch.lsf.rules import LsfRules
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition, User
from jobpool.model.units import Duration, Memory

__all__ = ["DEFAULT_ARRAY", "commands", "config_of", "parse"]

DEFAULT_ARRAY = 1000
"""MAX_JOB_ARRAY_SIZE where the site does not say: elements of an array."""

_SUBJECTS = (
    "queues", "queues of the user", "hosts", "shapes of hosts", "GPUs", "host groups", "parameters", "all parameters",
    "configuration",
)  # fmt: skip

_OPTIONAL = frozenset({"GPUs", "host groups", "parameters", "all parameters", "configuration"})
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
        command("lshosts", "-gpu", "-w", timeout=20.0),
        command("bmgroup", "-r", "-w", timeout=20.0),
        command("bparams", "-l", timeout=20.0),
        command("bparams", "-a", timeout=20.0),
        command(*READ_CONFIGURATION, timeout=20.0),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    answers = dict(zip(_SUBJECTS, done, strict=False))
    texts = {subject: answer.stdout if answer.ok else "" for subject, answer in answers.items()}
    parameters = {**config_of(texts.get("parameters", "")), **config_of(texts.get("all parameters", ""))}
    config = config_of(texts.get("configuration", ""))
    unknown = [f"{name}: {_why_not(answer)}" for name, answer in answers.items() if _is_missed(name, answer, texts)]
    hosts = parse_hosts(texts.get("hosts", ""), texts.get("shapes of hosts", ""), parse_gpus(texts.get("GPUs", "")))
    groups = parse_groups(texts.get("host groups", ""))
    usable = _usable(answers.get("queues of the user"))
    partitions = []
    for queue in parse_queues(texts.get("queues", "")):
        members = members_of(queue.hosts, hosts, groups)
        if members is None and hosts:
            unknown.append(f"nodes of queue {queue.name!r}: {' '.join(queue.hosts)} cannot be read")
        there = [hosts[name] for name in members or ()]
        partition = _partition(queue, there, closed=usable is not None and queue.name not in usable)
        if any(text.startswith("GPUs") for text in unknown):
            partition = replace(partition, nodes=())  # the one with the GPUs may be the one that fits
        partitions.append(partition)
    per_task = _says(parameters, "RESOURCE_RESERVE_PER_TASK", "RESOURCE_RESERVE_PER_SLOT")
    interval = _count(parameters.get("JOB_TERMINATE_INTERVAL", ""))
    return Limits(
        rules=LsfRules("task" if per_task else "host"),
        partitions=tuple(partitions),
        max_array_size=_count(parameters.get("MAX_JOB_ARRAY_SIZE", "")) or DEFAULT_ARRAY,
        confined=_confined(config),
        unconfined_words="LSB_RESOURCE_ENFORCE without cpu, and no affinity",
        kill_wait=Duration(2 * interval) if interval else None,
        user=_user(answers.get("queues of the user")),
        unknown=tuple(unknown),
    )


def _is_missed(subject: str, answer: Completed, texts: Mapping[str, str]) -> bool:
    """Say whether something is not known since this command has failed."""
    if subject == "GPUs" and not answer.ok:
        return "gpu" in f"{texts.get('shapes of hosts')} {texts.get('configuration')}".lower()
    return not answer.ok and subject not in _OPTIONAL


def _why_not(answer: Completed) -> str:
    return answer.words or f"the command ended with {answer.returncode}"


def config_of(text: str) -> Mapping[str, str]:
    """Read ``NAME = value  # remark`` and ``NAME=value (seconds)``, one in a line."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\s*([A-Z][A-Z0-9_]+)\s*=\s*([^#]*?)\s*(?:\(.*\)|#.*)?\s*", line):
            found[match[1]] = match[2].strip().strip('"')
    return found


def _says(config: Mapping[str, str], *names: str) -> bool:
    return any(config.get(name, "").upper().startswith("Y") for name in names)


def _count(text: str) -> int | None:
    match = re.match(r"[0-9]{1,9}\b", text)
    return int(match[0]) if match else None


def _confined(config: Mapping[str, str]) -> bool | None:
    """Say whether jobs are kept to their cores. Without the setting an affinity[] of the queue's may do so: unknown."""
    return True if "cpu" in config.get("LSB_RESOURCE_ENFORCE", "").lower().split() else None


def _user(asked: Completed | None) -> User | None:
    """Return the user that the command was about."""
    return None if asked is None else User(name=asked.command.argv[-1], privileged=asked.command.argv[-1] == "root")


def _usable(done: Completed | None) -> frozenset[str] | None:
    """Read the names of ``bqueues -w -u USER``. None: not known."""
    if done is None or not done.ok:
        return None
    return frozenset(line.split()[0] for line in done.stdout.splitlines()[1:] if line.split())


def _partition(queue: Queue, hosts: Sequence[Host], *, closed: bool) -> Partition:
    """``closed``: the user may not use it."""
    up = [host for host in hosts if host.up]
    return Partition(
        name=queue.name,
        default=queue.default,
        up=queue.open,
        max_time=queue.max_time,
        default_time=queue.default_time,
        max_cpus_per_node=queue.max_slots,
        max_memory_per_node=queue.max_memory,
        allow_groups=(queue.users or ("others",)) if closed else (),
        node_names=" ".join(host.name for host in hosts),
        nodes=tuple(_shapes(hosts)),
        idle_cpus=sum(host.slots - host.used for host in up) if hosts else None,
        usable_cpus=sum(host.slots for host in up) if hosts else None,
        waiting=queue.pending,
    )


def _shapes(hosts: Sequence[Host]) -> Iterator[NodeShape]:
    """Count hosts that are alike. A slot is taken as a core.

    Where the memory of one is not told (its daemon is down), none is compared: that one may be the one that fits.
    """
    kinds = Counter((host.slots, host.memory, host.gpus) for host in hosts)
    if all(memory is not None for _, memory, _ in kinds):
        for (slots, memory, gpus), count in kinds.items():
            yield NodeShape(count=count, cores=slots, threads_per_core=1, memory=Memory(memory or 0), gpus=gpus)
