"""Compare a request with what the site allows, before anything is queued.

A batch system may take a job that asks for more time than its partition gives, and let it wait for ever. So what the
limits say is told here, in sentences with the nearest value that fits. What the limits do not say is not guessed.

Whether one node can hold a job is in ``nodes``; who may use what, and how much of it, in ``rights``. How the batch
system reads a request, and what it gives for it, say ``Limits.rules``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from jobpool.model.request import Request
from jobpool.model.rules import Rules
from jobpool.model.site import Limits, Partition
from jobpool.model.units import Duration
from jobpool.site.nodes import check_nodes, cpus_taken, features_unknown, memory_notes, whole_node_notes
from jobpool.site.problem import Problem
from jobpool.site.rights import check_rights, check_site, job_times, jobs_at_once, reservation_notes

__all__ = [
    "AUTO",
    "Fit",
    "Problem",
    "Verdict",
    "check",
    "choose_partition",
    "fitting",
    "in_words",
    "judge",
    "partitions_of",
]

AUTO = "auto"
"""The word for ``partition=`` that means: the one where the request fits and starts first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A partition where the request as it is would fit."""

    partition: str
    """Its name."""
    room: bool
    """Whether as many CPUs as one job needs are idle in it now."""
    idle_cpus: int | None
    """CPUs that are idle in it now. None: not known."""
    waiting: int | None
    """Jobs that wait in it now, as far as they may be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of the comparison."""

    partition: str | None
    """Where the jobs would run: as asked, the site's default, or the best one for ``"auto"``. None: not known."""
    problems: tuple[Problem, ...] = ()
    """Why the request would be refused, or never start. Empty: nothing that is known speaks against it."""
    fits: tuple[Fit, ...] = ()
    """The partitions where it would fit, fastest start first."""
    notes: tuple[str, ...] = ()
    """What the request costs or how it is held back, without being refused."""
    unknown: tuple[str, ...] = ()
    """What could not be read, each with the batch system's words; nothing of it was compared."""
    starts_in: Duration | None = None
    """Seconds until one such job would start: the batch system's estimate. None: not asked, or not known."""

    @property
    def ok(self) -> bool:
        """Whether nothing that is known speaks against the request."""
        return not self.problems

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data: sizes in bytes, times in seconds."""
        return {
            "ok": self.ok,
            "partition": self.partition,
            "problems": [
                {"setting": each.setting, "text": each.text, "nearest": each.nearest} for each in self.problems
            ],
            "fits": [
                {"partition": fit.partition, "room": fit.room, "idle_cpus": fit.idle_cpus, "waiting": fit.waiting}
                for fit in self.fits
            ],
            "notes": list(self.notes),
            "unknown": list(self.unknown),
            "starts_in": self.starts_in,
        }

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if not self.ok:
            return "The batch system would refuse this request, or never start it:"
        return "The request fits" + (f" in partition {self.partition!r}." if self.partition else ".")

    @property
    def wait(self) -> str:
        """The estimate in one sentence; empty without one."""
        if self.starts_in is None:
            return ""
        return f"A job that is submitted now would start {in_words(self.starts_in)}, by the batch system's estimate."

    def __str__(self) -> str:
        lines = [self.headline, *(f"  - {problem}" for problem in self.problems)]
        if self.fits:
            lines.append("Where it fits as it is, fastest start first:")
            lines += [f"  {_told(fit)}" for fit in self.fits]
        lines += [self.wait] if self.wait else []
        lines += [f"Note: {note}" for note in self.notes]
        lines += [f"Not known: {text}" for text in self.unknown]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the sentences, and not the fields, as the result of a notebook's cell."""
        printer.text(str(self))


def in_words(time: Duration) -> str:
    """Say when it is: times below a minute are what the batch system needs to look at a job at all."""
    return "at once" if time < 60 else f"in about {Duration(round(time / 60) * 60)}"


def _told(fit: Fit) -> str:
    idle = "idle CPUs not known" if fit.idle_cpus is None else f"{fit.idle_cpus} CPUs idle"
    waiting = "" if fit.waiting is None else f", {fit.waiting} jobs waiting"
    return f"{fit.partition}: {idle}{waiting}"


def check(request: Request, limits: Limits) -> list[Problem]:
    """Return all problems of this request; none when the limits are not known."""
    if request.partition == AUTO:
        return _nowhere(request, limits)
    request = limits.rules.as_written(request)
    site = check_site(request, limits)
    if not limits.partitions:
        return site
    known = {partition.name for partition in limits.partitions}
    if unknown := [name for name in _names(request) if name not in known]:
        if limits.other_partitions:
            return site
        return site + [_unknown_partition(name, known) for name in unknown]
    found = [_check_partition(request, partition, limits) for partition in partitions_of(request, limits)]
    return site + min(found, key=len, default=[])


def judge(request: Request, limits: Limits, *, max_workers: int = 1) -> Verdict:
    """Compare the request with the limits: problems, where else it would fit, and what is worth knowing."""
    problems = check(request, limits)
    fits = fitting(request, limits)
    request = limits.rules.as_written(request)
    if request.partition == AUTO:
        places = [partition for partition in limits.partitions if fits and partition.name == fits[0].partition]
    else:
        places = partitions_of(request, limits)
    chosen = places[0] if places else None
    return Verdict(
        partition=None if chosen is None else ",".join(place.name for place in places),
        problems=tuple(problems),
        fits=tuple(fits),
        notes=() if chosen is None or problems else tuple(_notes(request, chosen, limits, max_workers)),
        unknown=(*limits.unknown, *(() if chosen is None else features_unknown(request, chosen, limits.rules))),
    )


def fitting(request: Request, limits: Limits) -> list[Fit]:
    """Return the partitions where the request as it is would fit, fastest start first."""
    request = limits.rules.as_written(request)
    if check_site(request, limits):
        return []
    places = [place for place in limits.partitions if not _check_partition(request, place, limits)]
    return [
        _fit(request, place, limits.rules)
        for place in sorted(places, key=lambda place: _slowness(request, place, limits.rules))
    ]


def choose_partition(request: Request, limits: Limits) -> Request:
    """Put the best partition in the place of ``"auto"``; call it when :func:`check` finds no problem."""
    if request.partition != AUTO:
        return request
    fits = fitting(request, limits)
    return replace(request, partition=fits[0].partition if fits else None)


def partitions_of(request: Request, limits: Limits) -> list[Partition]:
    """Return the partitions where a job for this request may run, as far as they are known."""
    if request.partition is None:
        return [partition for partition in limits.partitions if partition.default]
    names = _names(request)  # of several, the job runs in one
    return [partition for partition in limits.partitions if partition.name in names]


def _names(request: Request) -> list[str]:
    return [] if request.partition is None else [name.strip() for name in request.partition.split(",")]


def _unknown_partition(name: str, known: Iterable[str]) -> Problem:
    return Problem("partition", f"there is no partition {name!r}; there are: {', '.join(sorted(known))}")


def _nowhere(request: Request, limits: Limits) -> list[Problem]:
    """Say why no partition would do."""
    if not limits.partitions:
        why = "; ".join(limits.unknown)
        return [Problem("partition", f"partition='auto': the partitions could not be read ({why})")] if why else []
    if fitting(request, limits):
        return []
    request = limits.rules.as_written(request)
    site = check_site(request, limits)
    found = {place.name: _check_partition(request, place, limits) for place in limits.partitions}
    nearest = min(found, key=lambda name: len(found[name]))
    return site or [
        Problem(each.setting, f"it fits no partition; in the nearest: {each.text}", each.nearest)
        for each in found[nearest]
    ]


def _check_partition(request: Request, partition: Partition, limits: Limits) -> list[Problem]:
    problems = []
    if not partition.up:
        problems.append(Problem("partition", f"partition {partition.name!r} is down: jobs in it do not start"))
    if partition.max_time is not None and request.walltime is not None and request.walltime > partition.max_time:
        text = (
            f"walltime {request.walltime} is longer than partition {partition.name!r} allows; "
            f"at most {partition.max_time}"
        )
        problems.append(Problem("walltime", text, partition.max_time))
    return [
        *problems,
        *check_nodes(request, partition, limits.rules, _features(limits)),
        *check_rights(request, partition, limits),
    ]


def _features(limits: Limits) -> set[str]:
    return {name for partition in limits.partitions for shape in partition.nodes for name in shape.features}


def _fit(request: Request, partition: Partition, rules: Rules) -> Fit:
    return Fit(
        partition=partition.name,
        room=_has_room(request, partition, rules),
        idle_cpus=partition.idle_cpus,
        waiting=partition.waiting,
    )


def _has_room(request: Request, partition: Partition, rules: Rules) -> bool:
    return partition.idle_cpus is not None and partition.idle_cpus >= cpus_taken(request, partition, rules)


def _slowness(request: Request, partition: Partition, rules: Rules) -> tuple[bool, bool, int, float, int]:
    """Order partitions: room now, no GPUs or cores left unused, a high tier, few waiting for their size, idle CPUs.

    The tier comes early, since jobs of a lower one may be preempted by those of a higher.
    """
    wasteful = not request.gpus and any(shape.gpus for shape in partition.nodes)
    wasteful |= any(whole_node_notes(request, partition, rules, max_workers=1))
    per_cpu = (partition.waiting or 0) / max(1, partition.usable_cpus or 1)
    return not _has_room(request, partition, rules), wasteful, -partition.tier, per_cpu, -(partition.idle_cpus or 0)


def _notes(request: Request, partition: Partition, limits: Limits, max_workers: int) -> Iterable[str]:
    yield from memory_notes(request, partition, limits.rules)
    yield from whole_node_notes(request, partition, limits.rules, max_workers=max_workers)
    yield from job_times(request, partition, limits)
    yield from reservation_notes(request, limits)
    jobs = -(-max_workers // request.workers_per_job)
    most, why = jobs_at_once(request, partition, limits)
    if most is not None and most < jobs:
        yield (
            f"{why}: {most} of these jobs run at once, so {most * request.workers_per_job} of {max_workers} workers; "
            "the others wait"
        )
    if partition.usable_cpus == 0:
        yield f"all nodes of partition {partition.name!r} are down or drained now: its jobs wait until they are back"
