"""``pool.measure``: a few real inputs, one at a time, in one fresh worker that has more than it should need."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from jobpool.batch import registry
from jobpool.config.resolve import Settings, local_cores
from jobpool.core.scaling.auto_size import GENEROUS
from jobpool.model.errors import ConfigError, PoolBroken, RequestRefused
from jobpool.model.request import Retry
from jobpool.model.units import Memory
from jobpool.sizing.measurements import FailedSample
from jobpool.sizing.sizing import Measured
from jobpool.tools.maker import MakePool, ToolPool
from jobpool.tools.profile import Profile
from jobpool.tools.project_file import tell_what_runs
from jobpool.tools.sampler import measured

__all__ = ["measure"]

ENOUGH = 6
"""Calls. With fewer samples, some run more than once: a leak shows in steps from call to call."""

REPEAT_FOR = 30.0
"""Seconds that calls may take together and still run again."""


def measure(
    make_pool: MakePool,
    settings: Settings,
    function: Callable[[Any], Any],
    samples: Iterable[Any],
    *,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    cores: int | None = None,
    memory: str | int | None = None,
    walltime: Any = None,
    repeat: bool = True,
) -> Profile:
    """Run ``function`` with each sample in a pool of its own, which ends with it: ``pool.measure``."""
    tell_what_runs(settings)  # the pool below gets them as keywords
    inputs = list(samples)
    if not inputs:
        raise ConfigError("measure: there are no samples", advice="give a few real inputs, small and large ones")
    wishes = {name: value for name, value in (("cores", cores), ("memory", memory)) if value is not None}
    made = functools.partial(_pool, make_pool, settings, initializer=initializer, initargs=initargs, walltime=walltime)
    with _first_allowed(made, settings, wishes) as pool:
        calls, failed, node = _run(pool, function, inputs, repeat=repeat)
        tried = pool.settings.request
    if not calls:
        raise failed[0].error
    return Profile(
        function=getattr(function, "__qualname__", repr(function)),
        calls=tuple(calls),
        failed=tuple(failed),
        node=node,
        tried=tried,
        now=settings.request,
        max_workers=settings.max_workers,
    )


def _run(
    pool: ToolPool, function: Callable[[Any], Any], inputs: Sequence[Any], *, repeat: bool
) -> tuple[list[Measured], list[FailedSample], str]:
    run = functools.partial(measured, function)
    calls: list[Measured] = []
    failed: dict[int, FailedSample] = {}
    node = ""
    for number in itertools.count():
        sample = number % len(inputs)
        if number >= len(inputs) and not (repeat and len(calls) < ENOUGH and _little_time(calls)):
            break
        if sample in failed:
            continue
        future = pool.submit(run, inputs[sample])
        try:
            result = future.result()
        except PoolBroken:
            raise
        except Exception as error:  # noqa: BLE001 - the function's own: the other samples still tell something
            failed[sample] = FailedSample(sample, error)
            continue
        calls.append(replace(result, sample=sample))
        node = future.job.node if future.job else node
    return calls, list(failed.values()), node


def _little_time(calls: Sequence[Measured]) -> bool:
    return bool(calls) and sum(call.wall for call in calls) * (1 + 1 / len(calls)) < REPEAT_FOR


def _first_allowed(make: MakePool, settings: Settings, wishes: dict[str, Any]) -> ToolPool:
    """Make the pool with the most generous request that the site allows."""
    attempts = list(_attempts(settings, wishes))
    for attempt in attempts[:-1]:
        try:
            return make(attempt)
        except RequestRefused:
            continue
    return make(attempts[-1])


def _attempts(settings: Settings, wishes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    now = settings.request
    if registry.capabilities(settings.system).shares_machine:  # there memory need not be asked for
        yield {"cores": max(now.cores, min(GENEROUS[0][0], local_cores())), "memory": None, **wishes}
        return
    for cores, memory in GENEROUS:
        yield {"cores": max(cores, now.cores), "memory": Memory(max(memory, now.memory or 0)), **wishes}
    yield {"cores": now.cores, "memory": now.memory, **wishes}


def _pool(
    make_pool: MakePool,
    settings: Settings,
    request: dict[str, Any],
    *,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    walltime: Any,
) -> ToolPool:
    keywords = settings.values(auto=False)
    if keywords["walltime"] is not None:
        keywords["walltime"] = str(keywords["walltime"])
    if walltime is not None:
        keywords["walltime"] = walltime
    alone: dict[str, Any] = {"max_workers": 1, "workers_per_job": 1, "min_workers": 0, "name": None}
    alone |= {"max_tasks_per_child": None, "max_memory_growth": None}
    return make_pool(
        **{**keywords, **alone, **request, "scheduler": settings.system},
        initializer=initializer,
        initargs=initargs,
        retry=Retry(crashed=0, memory_growth=2),
    )
