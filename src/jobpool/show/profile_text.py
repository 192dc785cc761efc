"""A profile as text: figures, and pictures made of blocks, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from jobpool.model.units import Duration, Memory
from jobpool.show.view import plain_table
from jobpool.sizing.measurements import Measurements
from jobpool.sizing.sizing import Look, Measured, Spread

__all__ = ["as_text", "blocks"]

WIDTH = 60
"""Characters of a picture."""

_BLOCKS = " ▁▂▃▄▅▆▇█"


def as_text(profile: Measurements) -> str:
    """Write the figures and the picture."""
    samples = len({call.sample for call in profile.calls})
    head = (
        f"{profile.function}: {len(profile.calls)} call(s) with {samples} sample(s), one at a time, on {profile.node}"
    )
    head += f" with {profile.tried.threads} CPU(s) to use"
    lines = [head, "", *plain_table(("", "least", "median", "most"), _rows(profile)).splitlines(), "", _growth(profile)]
    for entry in profile.failed:
        lines.append(f"sample {entry.sample + 1} failed: {entry.error!r}")
    return "\n".join([*lines, "", *_picture(profile.calls)])


def _rows(profile: Measurements) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("time", *_each(profile.wall, _time)),
        ("CPU time", *_each(profile.cpu, _time)),
        ("CPUs, mean", *_each(profile.cpus, _number)),
        ("CPUs, busiest", *_each(profile.peak_cpus, _number)),
        ("memory, peak", *_each(profile.memory, _size)),
        ("threads", *_each(profile.threads, _number)),
    ]
    for name, spread in (("read", profile.read), ("written", profile.written)):
        if spread is not None:
            rows.append((name, *_each(spread, _size)))
    return rows


def _growth(profile: Measurements) -> str:
    grows = profile.growth
    if not grows.known:
        return "too few calls in one worker to see whether memory grows"
    if grows.leaks:
        return f"memory grows by {grows.each} with each call, seen in {grows.steps} steps: a leak"
    return f"memory does not grow from call to call, seen in {grows.steps} steps"


def _picture(calls: Sequence[Measured]) -> list[str]:
    """Draw CPUs and memory over time, all calls one after the other."""
    looks, ends, begin = [], [], 0.0
    for call in calls:
        looks += [Look(begin + look.at, look.cpus, look.memory, look.threads) for look in call.looks]
        begin += call.wall
        ends.append(begin)
    if not looks or begin <= 0:
        return []
    cpus = _columns(looks, [look.cpus for look in looks], begin)
    memory = _columns(looks, [look.memory for look in looks], begin)
    marks = [" "] * WIDTH
    for end in ends[:-1]:
        marks[min(WIDTH - 1, int(end / begin * WIDTH))] = "│"
    return [
        f"CPUs    {blocks(cpus)}  {max(cpus):.2g}",
        f"memory  {blocks(memory)}  {Memory(int(max(memory)))}",
        f"        {''.join(marks)}  {_time(begin)}" + ("  │ next call" if len(calls) > 1 else ""),
    ]


def _columns(looks: Sequence[Look], values: Sequence[float], total: float) -> list[float]:
    """Return the largest value in each of the picture's columns; where nobody looked, the one before."""
    columns: list[float | None] = [None] * WIDTH
    for look, value in zip(looks, values, strict=True):
        place = min(WIDTH - 1, int(look.at / total * WIDTH))
        columns[place] = max(value, columns[place] or 0.0)
    last = next(value for value in columns if value is not None)
    filled = []
    for column in columns:
        last = last if column is None else column
        filled.append(last)
    return filled


def blocks(values: Sequence[float]) -> str:
    """Draw values as blocks of a height from 0 to the largest one's."""
    most = max(values, default=0)
    return "".join(_BLOCKS[round(value / most * (len(_BLOCKS) - 1)) if most > 0 else 0] for value in values)


def _each(spread: Spread, written: object) -> tuple[str, str, str]:
    assert callable(written)
    return written(spread.least), written(spread.median), written(spread.most)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else str(Duration(seconds))


def _size(count: float) -> str:
    return str(Memory(int(count)))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
