"""The pictures of a report, as SVG: they scale, and need no library where they are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from jobpool.units import Duration

__all__ = ["STYLE", "bars_of_jobs", "chart_of_calls"]

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #1c2430; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 1.8em; border-bottom: 1px solid #d5dae1; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .88em; }
th, td { text-align: left; padding: .25em .7em; border-bottom: 1px solid #e6e9ee; vertical-align: top; }
pre { white-space: pre-wrap; background: #f5f6f8; padding: .6em; max-height: 20em; overflow: auto; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #48525f; }
.key span { display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 1em; }
"""

COLOURS = {
    "submitting": "#e3d9a8",
    "pending": "#e9c46a",
    "starting": "#8ab6d6",
    "serving": "#3d8f5f",
    "draining": "#7fb893",
    "silent": "#a06cd5",
    "closing": "#b8bec7",
}
DONE, FAILED, BUSY = "#3d8f5f", "#c8452f", "#2f6db0"

_WIDTH, _LEFT = 1060, 150
_HEIGHT = 160
_LANE = 14
JOBS = 200
"""Lanes in the picture; the others are in the record."""


def chart_of_calls(record: Mapping[str, Any]) -> str:
    """Draw how many calls ended in each step, and how many workers were there and busy."""
    series = record["series"]
    steps, width = series["steps"], series["width"]
    if not steps:
        return "<p>None.</p>"
    shown = max(record["seconds"], width * len(steps))
    most = max(1, *(step["done"] + step["failed"] for step in steps))
    means = [(step["busy"] / looks, step["workers"] / looks) if (looks := step["looks"]) else None for step in steps]
    workers = max([1.0, *(mean[1] for mean in means if mean)])
    parts, one = [], (_WIDTH - _LEFT) * width / shown
    for place, step in enumerate(steps):
        x, base = _LEFT + place * one, float(_HEIGHT)
        for count, colour in ((step["done"], DONE), (step["failed"], FAILED)):
            if count:
                height = max(2.0, count / most * (_HEIGHT - 10))  # a single one must be seen beside thousands
                base -= height
                parts.append(_box(x, base, max(one - 0.5, 0.5), height, colour, f"{count} calls"))
    for which, dash in ((0, ""), (1, ' stroke-dasharray="4 3"')):
        points = " ".join(
            f"{_LEFT + (place + 0.5) * one:.1f},{_HEIGHT - mean[which] / workers * (_HEIGHT - 10):.1f}"
            for place, mean in enumerate(means)
            if mean
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{BUSY}" stroke-width="1.5"{dash}/>')
    parts.append(_text(0, 12, f"{most} calls in {Duration(width)}"))
    parts.append(_text(0, 28, f"{workers:.3g} workers"))
    key = _key({"calls done": DONE, "failed": FAILED, "workers busy (dashed: connected)": BUSY})
    return key + _svg(_HEIGHT + 20, parts, shown)


def bars_of_jobs(record: Mapping[str, Any]) -> str:
    """Draw each job's stations over time, with its ending."""
    jobs = record["jobs"][:JOBS]
    if not jobs:
        return "<p>None.</p>"
    seconds, parts = max(record["seconds"], 0.001), []
    scale = (_WIDTH - _LEFT) / seconds
    for lane, job in enumerate(jobs):
        y = lane * _LANE
        parts.append(_text(0, y + 11, f"{job['id'] or '?'} {job['node'] or ''}"[:24]))
        ends = [*(begin for _, begin in job["stations"][1:]), seconds]
        for (state, begin), end in zip(job["stations"], ends, strict=True):
            if state in COLOURS:
                told = f"{job['id']}: {state} for {Duration(round(end - begin, 1))}"
                parts.append(_box(_LEFT + begin * scale, y + 2, (end - begin) * scale, _LANE - 4, COLOURS[state], told))
        if job["ending"] and not job["ours"]:
            x = min(_LEFT + job["stations"][-1][1] * scale, _WIDTH - 160)
            parts.append(_text(x + 4, y + 11, f"{job['ending']}: {job['words']}"[:60]))
    left = len(record["jobs"]) - len(jobs) + record["left_out"]
    more = f"<p>{left} more jobs are not drawn.</p>" if left else ""
    return _key(COLOURS) + _svg(len(jobs) * _LANE + 20, parts, seconds) + more


def _svg(height: int, parts: list[str], seconds: float) -> str:
    for part in range(5):
        x = _LEFT + (_WIDTH - _LEFT) * part / 4
        anchor = {0: "start", 4: "end"}.get(part, "middle")
        label = escape(str(Duration(round(seconds * part / 4))))
        parts.append(f'<text x="{x:.0f}" y="{height - 4}" text-anchor="{anchor}">{label}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _box(x: float, y: float, width: float, height: float, colour: str, told: str) -> str:
    size = f'width="{max(width, 0.6):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"><title>{escape(told)}</title></rect>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _key(colours: Mapping[str, str]) -> str:
    entries = "".join(f'<span style="background:{colour}"></span>{escape(name)}' for name, colour in colours.items())
    return f'<p class="key">{entries}</p>'
