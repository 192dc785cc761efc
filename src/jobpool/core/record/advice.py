"""What to request the next time, in sentences, from the figures of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from jobpool.model.run_record import RunFigures, RunFunction, RunJob, RunRequest
from jobpool.model.units import Duration, Memory

__all__ = ["advise"]

ENOUGH = 10
"""Calls from which a quantile says something."""

_GRAIN = 256 * 2**20
"""Bytes to which advice is rounded up."""


def advise(record: RunFigures) -> list[str]:
    """Return sentences on what to request instead, and why; none if the request fits."""
    return [
        f"{sentence} (jobs of {_name(request)})" if key else sentence
        for key, request in record.requests.items()
        for sentence in _about(
            request,
            [entry for entry in record.functions if entry.request == key],
            [job for job in record.jobs if job.request == key],
        )
    ]


def _name(request: RunRequest) -> str:
    """Name a request that is not the pool's own by what it asks for."""
    memory, walltime = request.memory, request.walltime
    parts = (
        f"cores={request.cores}",
        f"memory={Memory(memory)}" if memory else "",
        f"walltime={Duration(walltime)}" if walltime else "",
    )
    return ", ".join(filter(None, parts))


def _about(request: RunRequest, functions: list[RunFunction], jobs: list[RunJob]) -> Iterator[str]:
    if not functions:
        return  # the jobs only measured what calls need ("auto"), or ran no call
    calls = sum(entry.done + entry.failed for entry in functions)
    if calls >= ENOUGH:
        yield from _memory(request, functions)
        yield from _cores(request, functions)
    yield from _time(request, jobs)
    yield from _workers(request, functions)


def _memory(request: RunRequest, functions: list[RunFunction]) -> Iterator[str]:
    asked = request.memory
    most = max((entry.memory.most or 0.0 for entry in functions), default=0.0)
    largest = max((entry.memory.largest or 0.0 for entry in functions), default=0.0)
    if not asked or not largest:
        return
    # A fifth above what nearly all calls need, and more than the largest call used.
    wanted = math.ceil(max(most * 1.2, largest * 1.05) / _GRAIN) * _GRAIN
    if wanted <= asked * 0.75:
        fit = int(asked / wanted)
        times = {2: "twice", 3: "three times"}.get(fit, f"{fit} times")
        more = f"; {times} as many workers would fit" if fit >= 2 else ""
        yield (
            f"memory: asked {Memory(asked)} for a worker, the 99th percentile of the calls used {Memory(int(most))}, "
            f"the largest {Memory(int(largest))}: ask {Memory(wanted)}{more}"
        )
    elif largest > asked * 0.95:
        yield (
            f"memory: a call used {Memory(int(largest))} of the {Memory(asked)} that were asked: ask "
            f"{Memory(math.ceil(largest * 1.25 / _GRAIN) * _GRAIN)} to be safe"
        )


def _cores(request: RunRequest, functions: list[RunFunction]) -> Iterator[str]:
    wall = sum(entry.wall.total for entry in functions)
    if wall <= 0 or request.cores < 2:
        return
    used = sum(entry.cpu for entry in functions) / wall
    wanted = max(1, math.ceil(used * 1.1))
    if wanted < request.cores:
        yield (
            f"cores: asked {request.cores} for a worker, a call kept {used:.2g} busy on average: ask {wanted}, "
            "unless a call needs them at its busiest moments"
        )


def _time(request: RunRequest, jobs: list[RunJob]) -> Iterator[str]:
    asked, longest = request.walltime, request.longest
    if ended := sum(job.ending == "timed out" for job in jobs):
        who = "1 job" if ended == 1 else f"{ended} jobs"
        yield f"walltime: {who} reached it; ask for a longer walltime, or make the calls shorter"
    elif asked and request.jobs and longest < asked / 4:
        minutes = max(10, math.ceil(longest * 1.5 / 600) * 10)
        if minutes * 60 < asked / 2:
            yield (
                f"walltime: asked {Duration(asked)}, no job needed more than {Duration(round(longest))}: "
                f"ask {Duration(minutes * 60)}; shorter jobs start earlier"
            )


def _workers(request: RunRequest, functions: list[RunFunction]) -> Iterator[str]:
    served = request.worker_seconds
    busy = sum(entry.wall.total for entry in functions)
    if served >= 600 and busy < served / 2:
        yield (
            f"workers: they were busy for {100 * busy / served:.0f} % of the {Duration(round(served))} that they were "
            "connected; ask for fewer workers, or a shorter idle_timeout"
        )
    if request.waiting > 600 and request.waiting > 2 * request.serving > 0:
        yield (
            f"waiting: the jobs waited {Duration(round(request.waiting))} in the queue and served "
            f"{Duration(round(request.serving))}; fewer jobs with a longer walltime wait less"
        )
