"""What an OAR site has: nodes, put together from their resources, of which each is a core with properties.

Queues, quotas and admission rules are for OAR's administrators to see: of them nothing is compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobpool.batch.oar.environment import command
from jobpool.batch.oar.rules import OarRules
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Memory

__all__ = ["commands", "parse"]

_CORES = ("core", "cpucore", "resource_id")
_GPUS = ("gpu", "gpudevice", "gpu_id", "gpunum")
_NODE_MEMORY = ("memnode", "mem_node", "memory", "mem", "ram")
_CORE_MEMORY = ("memcore", "mem_core")
"""What sites call these properties, the usual names first. A name counts where resources have values of it."""

_THREADS = ("thread",)

_USABLE = "Alive"
_GONE = "Dead"
"""Resources that were taken out of the cluster for good; Absent and Suspected ones may come back."""

_Resource = Mapping[str, Any]


def commands() -> tuple[Command, ...]:
    """Make the commands: all resources with their properties, and the jobs of all users."""
    return command("oarnodes", "-J"), command("oarstat", "-J", timeout=20.0)


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    nodes, jobs = done
    rules_unknown = "queues, quotas and admission rules: OAR shows them to its administrators alone"
    resources = _resources(nodes)
    if resources is None:
        return Limits(rules=OarRules(), unknown=(f"nodes: {_why_not(nodes)}", rules_unknown))
    rules = _rules(resources)
    running, waiting = _jobs(jobs)
    places = [_partition("default", resources, rules, running, waiting, default=True)]
    if any(each.get("besteffort") == "YES" for each in resources):
        for_all = [each for each in resources if each.get("besteffort") == "YES"]
        places.append(_partition("besteffort", for_all, rules, running, waiting, default=False))
    return Limits(
        rules=rules,
        partitions=tuple(places),
        other_partitions=True,
        unknown=(
            *(() if running is not None else (f"jobs: {_why_not(jobs)}",)),
            rules_unknown,
        ),
    )


def _resources(done: Completed) -> list[_Resource] | None:
    """Return the resources that are cores. None: they could not be read."""
    if not done.ok:
        return None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return None
    rows = found.values() if isinstance(found, dict) else ()
    return [row for row in rows if isinstance(row, dict) and row.get("type") == "default" and row.get("state") != _GONE]


def _rules(resources: Iterable[_Resource]) -> OarRules:
    has = {name for row in resources for name, value in row.items() if value not in (None, "", 0)}
    memory = _first(_NODE_MEMORY, has)
    return OarRules(
        core=_first(_CORES, has) or "core",
        gpu=_first(_GPUS, has),
        memory=memory,
        core_memory="" if memory else _first(_CORE_MEMORY, has),
        known=True,
    )


def _first(names: Iterable[str], there: set[str]) -> str:
    return next((name for name in names if name in there), "")


def _jobs(done: Completed) -> tuple[set[int] | None, Counter[str]]:
    """Return the resources that jobs have now, and how many jobs wait in each queue. None: not known."""
    if not done.ok:
        return None, Counter()
    try:
        rows = json.loads(done.stdout or "{}")
    except ValueError:
        return None, Counter()
    jobs = [row for row in rows.values() if isinstance(row, dict)]
    taken = {
        id for row in jobs if row.get("state") not in ("Waiting", "Hold") for id in row.get("assigned_resources") or ()
    }
    return taken, Counter(str(row.get("queue")) for row in jobs if row.get("state") == "Waiting")


def _partition(
    name: str,
    resources: Sequence[_Resource],
    rules: OarRules,
    taken: set[int] | None,
    waiting: Counter[str],
    *,
    default: bool,
) -> Partition:
    nodes: dict[str, list[_Resource]] = {}
    for row in resources:
        nodes.setdefault(str(row.get("network_address")), []).append(row)
    shapes = Counter(_shape(rows, rules) for rows in nodes.values())
    usable = {row.get("resource_id") for row in resources if row.get("state") == _USABLE}
    return Partition(
        name=name,
        default=default,
        # What runs in it is killed when another queue's job needs the place.
        tier=1 if name != "besteffort" else 0,
        node_names=",".join(sorted(nodes)),
        nodes=tuple(
            NodeShape(count=count, cores=cores, threads_per_core=threads, memory=memory, gpus=gpus)
            for (cores, threads, memory, gpus), count in shapes.items()
        ),
        usable_cpus=len(usable),
        idle_cpus=None if taken is None else len(usable - taken),
        waiting=None if taken is None else waiting[name],
    )


def _shape(rows: Sequence[_Resource], rules: OarRules) -> tuple[int, int, Memory, int]:
    """Return cores, threads of a core, memory and GPUs of one node."""
    cores = len({row.get(rules.core) for row in rows})
    gpus = len({row[rules.gpu] for row in rows if row.get(rules.gpu) not in (None, "", 0)}) if rules.gpu else 0
    name, times = (rules.memory, 1) if rules.memory else (rules.core_memory, cores)
    sizes = [row[name] for row in rows if isinstance(row.get(name), int)] if name else []
    threads = len(rows) // cores if any(name in rows[0] for name in _THREADS) else 1
    return cores, max(1, threads), Memory(min(sizes, default=0) * times * 2**20), gpus


def _why_not(done: Completed) -> str:
    return done.words or f"the command ended with {done.returncode}"
