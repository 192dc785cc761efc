"""What a Grid Engine site allows: queues, the shapes of their nodes, what it calls things, and how full it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from jobpool.batch.sge.environment import command
from jobpool.batch.sge.fields import Fields, blocks, by_host, count, fields_of, names, size, time
from jobpool.batch.sge.rules import GridEngineRules, Resource
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition, User
from jobpool.model.units import Memory

__all__ = ["commands", "parse"]

_SUBJECTS = (
    "queues", "nodes", "parallel environments", "resources", "configuration", "scheduler", "user lists",
    "slots in use", "groups",
)  # fmt: skip

_PATIENCE = 20.0
"""Seconds. What a master that hangs would say is then unknown."""


def commands(user: str) -> tuple[Command, ...]:
    """Make the commands.

    Some objects can be shown one at a time only: a shell asks for each. Its text is the same for everybody, so that
    nothing in it need be quoted.
    """
    each_of = 'for name in $({list}); do {show} "$name" && echo; done'
    return (
        command("qconf", "-sq", "*", timeout=_PATIENCE),
        command("qhost", "-q", "-F", "-xml", timeout=_PATIENCE),
        command("sh", "-c", each_of.format(list="qconf -spl", show="qconf -sp"), timeout=_PATIENCE),
        command("qconf", "-sc", timeout=_PATIENCE),
        command("qconf", "-sconf", timeout=_PATIENCE),
        command("qconf", "-ssconf", timeout=_PATIENCE),
        command("sh", "-c", each_of.format(list="qconf -sul", show="qconf -su"), timeout=_PATIENCE),
        command("qstat", "-g", "c", "-xml", timeout=_PATIENCE),
        command("id", user, timeout=_PATIENCE),
    )


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    answers = dict(zip(_SUBJECTS, done, strict=False))
    texts = {subject: answer.stdout for subject, answer in answers.items() if answer.ok}
    rules = _rules(texts)
    user = _user(texts.get("groups", ""))
    configuration = fields_of(texts.get("configuration", ""))
    queues = list(blocks(texts.get("queues", ""), "qname"))
    hosts, unread = _hosts(texts.get("nodes", ""))
    site = _Site(rules, user, hosts, dict(_lists(texts.get("user lists", ""))), _slots(texts.get("slots in use", "")))
    notify = [seconds for queue in queues if (seconds := time(by_host(queue.get("notify", ""))[0])) is not None]
    missing = [subject for subject in answers if subject not in texts]
    return Limits(
        rules=rules,
        partitions=tuple(_partition(queue, site) for queue in queues if _runs_batch_jobs(queue)),
        max_array_size=count(configuration.get("max_aj_tasks", "")) or None,
        max_jobs=count(configuration.get("max_u_jobs", "")) or count(configuration.get("max_jobs", "")) or None,
        # A job may come to any queue that takes it: the shortest notice is what all of them give.
        kill_wait=min(notify, default=None),
        user=user,
        confined=False,
        unconfined_words="slots are counted, and not bound",
        unknown=(
            *(f"{subject}: {answers[subject].words or 'no answer'}" for subject in missing),
            *unread,
            *_rules_of_verifiers(configuration),
        ),
    )


def _rules(texts: Mapping[str, str]) -> GridEngineRules:
    environments = None
    if "parallel environments" in texts:
        found = blocks(texts["parallel environments"], "pe_name")
        environments = tuple(each["pe_name"] for each in found if each.get("allocation_rule") == "$pe_slots")
    of_queues = tuple(
        (queue["qname"], tuple(name for name in names(by_host(queue.get("pe_list", ""))[0]) if name in environments))
        for queue in blocks(texts.get("queues", ""), "qname")
        if environments is not None
    )
    resources = tuple(_resources(texts["resources"])) if "resources" in texts else None
    return GridEngineRules(environments=environments, of_queues=of_queues, resources=resources)


def _resources(text: str) -> Iterator[Resource]:
    """Read ``name shortcut type relop requestable consumable default urgency``, those that jobs may ask for."""
    for line in text.splitlines():
        cells = line.split()
        if len(cells) == 8 and not line.startswith("#") and cells[4] in ("YES", "FORCED"):
            name, shortcut, kind, relation, _, consumable, default, _ = cells
            yield Resource(
                name=name,
                shortcut=shortcut,
                type=kind,
                consumable=consumable,
                exclusive=relation == "EXCL",
                default=default,
            )


def _user(text: str) -> User | None:
    """Read ``uid=1(ann) gid=1(ann) groups=1(ann),2(bio)``: a list of users names people, and groups with an ``@``."""
    match = re.match(r"uid=\d+\(([^)]*)\)", text)
    if not match:
        return None
    groups = re.findall(r"\(([^)]*)\)", text.partition("groups=")[2])
    return User(name=match[1], groups=(match[1], *(f"@{group}" for group in groups)))


def _lists(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for each in blocks(text, "name"):
        yield each["name"], names(each.get("entries", ""))


def _slots(text: str) -> dict[str, tuple[int, int]]:
    """Read, by queue, the slots that are free, and those in service."""
    found = {}
    for row in _elements(text, "cluster_queue_summary"):
        free, total = count(row.findtext("available", "")), count(row.findtext("total", ""))
        off = (count(row.findtext(name, "")) or 0 for name in ("temp_disabled", "manual_intervention"))
        if free is not None and total is not None:
            found[row.findtext("name", "")] = free, max(0, total - sum(off))
    return found


@dataclass(frozen=True, slots=True)
class _Host:
    name: str
    cores: int
    threads: int
    memory: Memory
    resources: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Slots and state, by queue."""


def _hosts(text: str) -> tuple[tuple[_Host, ...], tuple[str, ...]]:
    """Read all nodes; and say which are left out, since the master has heard nothing of them."""
    found, silent = [], []
    for host in _elements(text, "host"):
        values = {each.get("name", ""): each.text or "" for each in host.iterfind("hostvalue")}
        name, memory = host.get("name", ""), size(values.get("mem_total", ""))
        if name == "global":
            continue
        cores, threads = count(values.get("m_core", "")), count(values.get("m_thread", ""))
        processors = count(values.get("num_proc", ""))
        if memory is None or not (cores or processors):
            silent.append(name)
            continue
        found.append(
            _Host(
                name=name,
                cores=cores or processors or 1,
                threads=threads or processors or 1,
                memory=memory,
                resources={each.get("name", ""): each.text or "" for each in host.iterfind("resourcevalue")},
                queues=dict(map(_queue_on_host, host.iterfind("queue"))),
            )
        )
    words = (
        f"nodes {', '.join(silent[:5])}{' and more' if len(silent) > 5 else ''}: they tell no size" if silent else ""
    )
    return tuple(found), (words,) if words else ()


def _queue_on_host(queue: ElementTree.Element) -> tuple[str, tuple[int, str]]:
    values = {each.get("name", ""): each.text or "" for each in queue.iterfind("queuevalue")}
    return queue.get("name", ""), (count(values.get("slots", "")) or 0, values.get("state_string", ""))


def _elements(text: str, name: str) -> Iterator[ElementTree.Element]:
    try:
        yield from ElementTree.fromstring(text).iter(name) if text else ()
    except ElementTree.ParseError:
        return


@dataclass(frozen=True, slots=True)
class _Site:
    rules: GridEngineRules
    user: User | None
    hosts: tuple[_Host, ...]
    lists: Mapping[str, tuple[str, ...]]
    slots: Mapping[str, tuple[int, int]]


def _runs_batch_jobs(queue: Fields) -> bool:
    """Say whether jobs may run in a queue: parallel ones also where it is for no others."""
    return "BATCH" in queue.get("qtype", "BATCH") or bool(names(by_host(queue.get("pe_list", ""))[0]))


def _partition(queue: Fields, site: _Site) -> Partition:
    name = queue["qname"]
    hosts = [host for host in site.hosts if name in host.queues]
    idle, usable = site.slots.get(name, (None, None))
    lists = names(by_host(queue.get("user_lists", ""))[0])
    allowed = tuple(entry for each in lists for entry in site.lists.get(each, (each,)))
    mine = not allowed or site.user is None or bool({*allowed} & {*site.user.groups})
    longest = time(by_host(queue.get("h_rt", ""))[0])
    default = site.rules.default_memory()
    return Partition(
        name=name,
        # A job that asks for no queue may come to any that takes it.
        default=mine,
        up=not hosts or any(_works(host.queues[name][1]) for host in hosts),
        max_time=longest,
        default_time=longest,
        default_memory_per_cpu=default,
        allow_groups=allowed,
        node_names=",".join(host.name for host in hosts),
        nodes=tuple(_shapes(hosts, name, site.rules)),
        idle_cpus=idle,
        usable_cpus=usable,
    )


def _works(state: str) -> bool:
    """Say whether a queue takes jobs on a host, now or when it has room: neither disabled, unknown nor in error."""
    return not any(letter in state for letter in "dDuEC")


def _shapes(hosts: Sequence[_Host], queue: str, rules: GridEngineRules) -> Iterator[NodeShape]:
    shapes = Counter(_shape(host, queue, rules) for host in hosts if host.queues[queue][0])
    for shape, number in shapes.items():
        yield replace(shape, count=number)


def _shape(host: _Host, queue: str, rules: GridEngineRules) -> NodeShape:
    """Return a node as a queue has it: its slots are its cores, or the hardware threads of these."""
    slots = host.queues[queue][0]
    threads = host.threads // host.cores if slots == host.threads > host.cores else 1
    memory = host.memory
    if (resource := rules.memory_resource()) is not None:
        # What is left of it now, which may be less than there is; but no node has less than its own memory.
        memory = max(memory, size(host.resources.get(resource, "")) or Memory(0))
    gpus = count(host.resources.get(rules.gpu_resource() or "", "")) or 0
    return NodeShape(count=1, cores=slots // threads, threads_per_core=threads, memory=memory, gpus=gpus)


def _rules_of_verifiers(configuration: Fields) -> Iterator[str]:
    if configuration.get("jsv_url", "none").lower() != "none":
        yield f"rules for submitting: the site's own verifier ({configuration['jsv_url']}) may refuse or change jobs"
    if configuration.get("enforce_project", "false").lower() == "true":
        yield "projects: this site takes only jobs with one; give account="
