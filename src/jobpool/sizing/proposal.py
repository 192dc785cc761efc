"""The request that follows from what a few calls used, each number with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobpool.model.request import AGENT_MEMORY, Request
from jobpool.model.units import Duration, Memory
from jobpool.sizing.sizing import (
    START,
    Growth,
    Measured,
    Spread,
    busy,
    cores_for,
    growth,
    headroom,
    job_seconds,
    round_memory,
    round_time,
    serving,
    slowdown,
)

__all__ = ["Proposal", "propose"]

FEW = 5
"""Samples. Of fewer nobody knows how much others will differ."""

AGENT_PART = 0.1
"""The agent's memory shall be no more than this part of its job's."""

LEAST = Memory(64 * 2**20)
"""No worker asks for less: it could not import much, and nothing would be saved."""

LEAK_ROOM = 0.25
"""A leak may take this part of the memory that is needed without it, before the worker is replaced."""

LEAK_ROOM_LEAST = 64 * 2**20
"""Bytes. A fresh worker costs milliseconds, but also the function's imports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to ask for. ``reasons`` and ``changes`` say why, and what it means for waiting and cost."""

    cores: int
    """Physical cores of one worker."""
    memory: Memory
    """Bytes of one worker; the job gets as much for each, and 256 MiB for the agent."""
    walltime: Duration
    """Seconds of one job."""
    workers_per_job: int
    max_tasks_per_child: int | None
    """Calls after which a worker is replaced. None: never."""
    threads_per_core: int = 1
    """Hardware threads of each core that a call uses."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(setting, why)."""
    changes: tuple[str, ...] = ()
    """Sentences: what is other than with the request of the pool."""

    def keywords(self) -> dict[str, Any]:
        """Return the keywords for :class:`JobPoolExecutor`: ``JobPoolExecutor(**proposal.keywords())``."""
        names = ("cores", "threads_per_core", "workers_per_job", "max_tasks_per_child")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "memory": int(self.memory), "walltime": float(self.walltime)}

    def __str__(self) -> str:
        values = {"cores": self.cores, "memory": f'"{self.memory}"', "walltime": f'"{self.walltime}"'}
        values |= {"workers_per_job": self.workers_per_job, "max_tasks_per_child": self.max_tasks_per_child}
        written = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        lines = [f"JobPoolExecutor({written})", *(f"  {name}: {why}" for name, why in self.reasons)]
        return "\n".join([*lines, *(f"  in waiting and cost: {change}" for change in self.changes)])


def propose(
    calls: Sequence[Measured], *, tried: Request, now: Request, total: int | None, max_workers: int
) -> Proposal:
    """Say what to ask for.

    Args:
        calls: What was measured; at least one call.
        tried: The request that they ran with.
        now: The pool's request, with which the proposal is compared.
        total: Calls that there will be. None: not known.
        max_workers: Calls that shall run at once, at most.
    """
    cores = cores_for(calls, tried.threads_per_core, tried.cores)
    grows = growth(calls)
    level = _each_sample(calls, _level(calls, grows))
    margin = headroom(level)
    need = max(level) * margin
    recycle = max(1, int(max(LEAK_ROOM * need, LEAK_ROOM_LEAST) // grows.each)) if grows.leaks else None
    memory = max(LEAST, round_memory(need + (recycle or 0) * grows.each))
    slower = max(slowdown(call, cores * tried.threads_per_core) for call in calls)
    walls = _each_sample(calls, [call.wall * slower for call in calls])
    walltime, why_walltime = _walltime(walls, total, max_workers)
    wanted = max_workers if total is None else min(max_workers, total)
    together = _together(cores, memory, tried, wanted)
    used = _each_sample(calls, [call.peak for call in calls])
    reasons = (
        ("cores", _why_cores(calls, cores, slower, tried)),
        ("memory", _why_memory(used, margin, grows, recycle)),
        ("walltime", why_walltime),
        ("workers_per_job", _why_together(together, memory)),
        ("max_tasks_per_child", _why_recycle(grows, recycle)),
    )
    made = Proposal(
        cores=cores,
        memory=memory,
        walltime=walltime,
        workers_per_job=together,
        max_tasks_per_child=recycle,
        threads_per_core=tried.threads_per_core,
        reasons=reasons,
    )
    return replace(made, changes=tuple(_changes(made, now, Spread.of(walls), total)))


def _each_sample(calls: Sequence[Measured], values: Sequence[float]) -> list[float]:
    """Return the largest value of each sample: the same sample again tells nothing about other ones."""
    found: dict[int, float] = {}
    for call, value in zip(calls, values, strict=True):
        found[call.sample] = max(value, found.get(call.sample, value))
    return list(found.values())


def _level(calls: Sequence[Measured], grows: Growth) -> list[float]:
    """Return the calls' peaks without what the calls before them had leaked."""
    if not grows.leaks:
        return [float(call.peak) for call in calls]
    earlier: dict[str, int] = {}
    level = []
    for call in calls:
        before = earlier.get(call.worker, 0)
        level.append(float(max(call.peak - before * grows.each, call.peak // 10)))
        earlier[call.worker] = before + 1
    return level


def _walltime(walls: Sequence[float], total: int | None, max_workers: int) -> tuple[Duration, str]:
    margin, mean, longest = headroom(walls), sum(walls) / len(walls), max(walls)
    begin = f"{_samples(len(walls))}: the longest took {_time(longest)}, the mean is {_time(mean)}"
    if total is None:
        return round_time(job_seconds(longest * margin, mean, None)), (
            f"{begin}; how many there will be was not said, so a job serves for {_time(serving(mean))}; an idle one "
            f"ends"
        )
    count = -(-total // max(1, max_workers))
    share = count * mean * margin
    walltime = round_time(job_seconds(longest * margin, mean, share))
    if share <= max(longest * margin, serving(mean)):
        return walltime, (
            f"{begin}; {total} on {max_workers} workers are {count} for each, times {margin:.2f}, "
            f"and {START:g} s for the start"
        )
    return walltime, (
        f"{begin}; {total} on {max_workers} workers would take {_time(share)}, but shorter jobs start sooner, and one "
        f"follows the other"
    )


def _together(cores: int, memory: Memory, tried: Request, wanted: int) -> int:
    """Say how many workers share a job, so that the agent's own memory is a small part of it.

    No more than fit into the job that ran: a larger one may be more than a node has, and would wait for longer.
    """
    enough = math.ceil(AGENT_MEMORY * (1 - AGENT_PART) / (AGENT_PART * memory))
    room = tried.job_cores // cores
    if tried.memory is not None:
        room = min(room, tried.memory * tried.workers_per_job // memory)
    return max(1, min(enough, room, wanted))


# ----------------------------------------------------------------------------------------------------------- sentences


def _why_cores(calls: Sequence[Measured], cores: int, slower: float, tried: Request) -> str:
    mean, peak = sum(call.cpu for call in calls) / sum(call.wall for call in calls), max(c.peak_cpus for c in calls)
    text = f"it used {mean:.2g} CPUs on average, {peak:.2g} at its busiest, and had {tried.threads} to use"
    if slower > 1.05:
        more = (cores + 1) * tried.threads_per_core
        text += f"; with {cores} core(s) it takes up to {slower:.2f} times as long, but of {cores + 1} it would keep "
        text += f"only {busy(calls, more):.0%} busy"
    if mean < 0.5:
        text += "; most of the time it waits (for files, a network, another program)"
    threads = max(call.threads for call in calls)
    if threads > max(2.0, 2 * peak):
        text += f"; most of its {threads} threads wait"
    if cores == tried.cores > 1:
        text += "; it may use more if it gets more: measure with cores= to see"
    return text


def _why_memory(used: Sequence[float], margin: float, grows: Growth, recycle: int | None) -> str:
    spread = Spread.of(used)
    least, most = Memory(int(spread.least)), Memory(int(spread.most))
    text = f"{_samples(len(used))}: {f'{least} to ' * (least < most)}{most} at the peak; the largest times {margin:.2f}"
    if len(used) < FEW:
        text += " (few samples: a wide margin)"
    if recycle:
        text += f", and {recycle} calls' leak of {grows.each} each"
    return text


def _why_together(together: int, memory: Memory) -> str:
    if together == 1:
        return "a job of its own for each worker finds a place soonest"
    return (
        f"{together} workers of {memory} share one agent, whose {AGENT_MEMORY} would be "
        f"{AGENT_MEMORY / (AGENT_MEMORY + memory):.0%} of the job's memory with one"
    )


def _why_recycle(grows: Growth, recycle: int | None) -> str:
    if recycle:
        return f"memory grows by {grows.each} with each call, seen in {grows.steps} steps: a leak"
    if not grows.known:
        return "too few calls in one worker to see a leak; measure with more samples"
    return f"no leak was seen in {grows.steps} steps from call to call"


def _changes(made: Proposal, now: Request, walls: Spread, total: int | None) -> Iterator[str]:
    """Say what the proposal changes in waiting and cost."""
    if now.memory is not None and abs(now.memory - made.memory) > 0.1 * now.memory:
        if (ratio := now.memory / made.memory) > 1:
            yield f"{made.memory} instead of {now.memory}: {ratio:.2g} times as many fit, and find a place sooner"
        else:
            yield f"{made.memory} instead of {now.memory}: with that a call would have been killed, or nearly"
    if now.walltime is not None and abs(now.walltime - made.walltime) > 0.1 * now.walltime:
        if made.walltime < now.walltime:
            yield f"{made.walltime} instead of {now.walltime}: a job fits into shorter gaps, and starts sooner"
        else:
            yield f"{made.walltime} instead of {now.walltime}: fewer jobs to wait for"
    if now.cores != made.cores:
        yield f"{made.cores} core(s) instead of {now.cores}: {made.cores / now.cores:.2g} times the core-hours per hour"
    count = total or 1000
    hours = count * walls.median / 3600
    gibibytes = made.memory / 2**30
    yield f"{count} calls cost {_amount(hours * made.cores)} core-hours, and {_amount(hours * gibibytes)} GiB-hours"


def _amount(number: float) -> str:
    return f"about {number:.3g}" if number >= 0.01 else "less than 0.01"


def _samples(count: int) -> str:
    return "one sample" if count == 1 else f"{count} samples"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else str(Duration(seconds if seconds < 60 else round(seconds)))
