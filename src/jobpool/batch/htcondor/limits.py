"""What an HTCondor pool has and allows: the slots of its machines, and how many jobs a user may have.

There are no queues: all slots together are the one partition that settings can be compared with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from jobpool.batch.base import Unanswered
from jobpool.batch.htcondor.ads import Ad, number, read_ads, word
from jobpool.batch.htcondor.description import VACATE
from jobpool.batch.htcondor.environment import command
from jobpool.batch.htcondor.rules import HTCondorRules
from jobpool.model.command import Command, Completed
from jobpool.model.site import Limits, NodeShape, Partition
from jobpool.model.units import Duration, Memory

__all__ = ["POOL", "commands", "parse"]

POOL = "pool"
"""The name of the one partition."""

_SLOT = (
    "Machine", "SlotType", "State", "Cpus", "TotalSlotCpus", "Memory", "TotalSlotMemory", "GPUs", "TotalSlotGPUs",
)  # fmt: skip
_BOUNDS = ("MAX_JOBS_PER_OWNER", "MAX_JOBS_SUBMITTED", "MAX_JOBS_PER_SUBMISSION")


def commands() -> tuple[Command, ...]:
    """Make the commands. Dynamic slots are parts of the partitionable ones."""
    return (
        command(
            "condor_status", "-json", "-attributes", ",".join(_SLOT), "-constraint", 'SlotType =!= "Dynamic"',
            timeout=20.0,
        ),
        *(command("condor_config_val", "-schedd", bound, timeout=30.0) for bound in _BOUNDS),
        # The submit command's own setting: it fills in what a description leaves out.
        command("condor_config_val", "JOB_DEFAULT_REQUESTMEMORY", timeout=10.0),
    )  # fmt: skip


def parse(done: Sequence[Completed]) -> Limits:
    """Read their answers."""
    slots, *bounds, memory = done
    default = int(memory.stdout) if memory.ok and re.fullmatch(r"\d{1,9}", memory.stdout.strip()) else None
    ads = read_ads(slots)
    unknown = [f"slots: {ads.words}"] if isinstance(ads, Unanswered) else []
    if ads == []:
        unknown.append("slots: condor_status shows none")
    found: dict[str, int] = {}
    for name, answer in zip(_BOUNDS, bounds, strict=True):
        # A setting may be an expression; then it says nothing that can be compared.
        if answer.ok and re.fullmatch(r"\d{1,10}", answer.stdout.strip()):
            found[name] = int(answer.stdout)
        elif not answer.ok and "not defined" not in answer.stderr.lower():
            unknown.append(f"{name}: {answer.words or f'the command ended with {answer.returncode}'}")
    most = [found[name] for name in ("MAX_JOBS_PER_OWNER", "MAX_JOBS_SUBMITTED") if found.get(name)]
    return Limits(
        rules=HTCondorRules(has_default_memory=default is not None),
        partitions=(_partition(ads, default),) if not isinstance(ads, Unanswered) and ads else (),
        max_array_size=found.get("MAX_JOBS_PER_SUBMISSION") or None,
        max_jobs=min(most, default=None),
        confined=False,
        unconfined_words="unless it has ASSIGN_CPU_AFFINITY, which nobody but the machines can tell",
        kill_wait=Duration(VACATE),
        unknown=tuple(unknown),
    )


def _partition(ads: Sequence[Ad], default: int | None) -> Partition:
    return Partition(
        default_memory_per_node=None if default is None else Memory(default * 2**20),
        name=POOL,
        default=True,
        nodes=tuple(_shapes(ads)),
        idle_cpus=sum(_count(ad, "Cpus") for ad in ads if _is_idle(ad)),
        usable_cpus=sum(_cpus(ad) for ad in ads if word(ad, "State") != "Drained"),
    )


def _shapes(ads: Iterable[Ad]) -> Iterable[NodeShape]:
    """Make a shape of slots that are alike: a job runs in one slot, which is to it what a node is elsewhere."""
    alike = Counter(
        (
            _cpus(ad),
            _count(ad, "TotalSlotMemory") or _count(ad, "Memory"),
            _count(ad, "TotalSlotGPUs") or _count(ad, "GPUs"),
        )
        for ad in ads
    )
    for (cpus, memory, gpus), many in alike.items():
        yield NodeShape(count=many, cores=cpus, threads_per_core=1, memory=Memory(memory * 2**20), gpus=gpus)


def _cpus(ad: Ad) -> int:
    return _count(ad, "TotalSlotCpus") or _count(ad, "Cpus")


def _count(ad: Ad, name: str) -> int:
    return int(number(ad, name) or 0)


def _is_idle(ad: Ad) -> bool:
    # What a partitionable slot has left is in its own Cpus, whatever its state; another slot is given as a whole.
    return word(ad, "SlotType") == "Partitionable" or word(ad, "State") == "Unclaimed"
