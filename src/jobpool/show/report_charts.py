"""The pictures of a report, as SVG: they scale, and need no library where they are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from jobpool.model.run_record import RunFigures
from jobpool.model.units import Duration

__all__ = ["LEFT", "LETTER", "STYLE", "WIDTH", "box", "chart_of_calls", "key_of", "picture", "text"]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --pale: #48525f; --line: #d5dae1; --paper: #fff; --box: #f5f6f8;
  --bad: #b3321c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --pale: #a9b2bd; --line: #3a424c; --paper: #15191e;
  --box: #20262d; --bad: #ff8a73; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 1.8em; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; } .wide svg { display: block; width: 100%; min-width: 960px; height: auto; }
table { border-collapse: collapse; font-size: .88em; overflow-wrap: normal; }
th, td { text-align: left; padding: .25em .7em; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
th { white-space: normal; } td:last-child { white-space: normal; min-width: 12em; }
pre { white-space: pre-wrap; background: var(--box); padding: .6em; max-height: 20em; overflow: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--pale); }
svg text.bad { fill: var(--bad); } svg text.inside { fill: #fff; pointer-events: none; }
.key { margin: .3em 0; font-size: .88em; } .key span { white-space: nowrap; display: inline-block; margin-left: 1em; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; }
.dead { border-left: 4px solid var(--bad); padding-left: .8em; }
"""

DONE, FAILED, BUSY = "#33814f", "#c8432b", "#3f86d6"

WIDTH, LEFT = 1100, 150
_HEIGHT = 160
LETTER = 5.9
"""Pixels of a letter, about."""


def chart_of_calls(record: RunFigures) -> str:
    """Draw how many calls ended in each step, and how many workers were there and busy."""
    steps, width = record.series.steps, record.series.width
    if not steps:
        return "<p>None.</p>"
    shown = max(record.seconds, 0.001)
    most = max(1, *(step.done + step.failed for step in steps))
    means = [(step.busy / looks, step.workers / looks) if (looks := step.looks) else None for step in steps]
    workers = max([1.0, *(mean[1] for mean in means if mean)])
    parts, one = [], (WIDTH - LEFT) * width / shown
    for place, step in enumerate(steps):
        x, base = LEFT + place * one, float(_HEIGHT)
        for count, colour in ((step.done, DONE), (step.failed, FAILED)):
            if count:
                height = max(2.0, count / most * (_HEIGHT - 10))  # a single one must be seen beside thousands
                base -= height
                wide = min(one, WIDTH - x)  # the last step has not passed
                parts.append(box(x, base, max(wide - 0.5, 0.5), height, colour, f"{count} calls"))
    for which, dash in ((0, ""), (1, ' stroke-dasharray="4 3"')):
        points = " ".join(
            f"{min(LEFT + (place + 0.5) * one, WIDTH):.1f},{_HEIGHT - mean[which] / workers * (_HEIGHT - 10):.1f}"
            for place, mean in enumerate(means)
            if mean
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{BUSY}" stroke-width="1.5"{dash}/>')
    parts.append(text(0, 12, f"{most} calls in {Duration(width)}"))
    parts.append(text(0, 28, f"{workers:.3g} workers"))
    key = key_of({"calls done": DONE, "failed": FAILED, "workers busy (dashed: connected)": BUSY})
    return key + picture(_HEIGHT + 20, parts, shown, "calls over time")


def picture(height: float, parts: list[str], seconds: float, title: str) -> str:
    """Return a picture with an axis of time below. Where the window is narrow it keeps its size, and is scrolled."""
    for part in range(5):
        x = LEFT + (WIDTH - LEFT) * part / 4
        anchor = {0: "start", 4: "end"}.get(part, "middle")
        label = escape(str(Duration(round(seconds * part / 4, 1 if seconds < 60 else 0))))
        parts.append(f'<text x="{x:.0f}" y="{height - 4:.0f}" text-anchor="{anchor}">{label}</text>')
    inside = f"<title>{escape(title)}</title>{''.join(parts)}"
    return f'<div class="wide"><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{inside}</svg></div>'


def box(x: float, y: float, width: float, height: float, colour: str, told: str) -> str:
    """Return a box with a sentence for whoever points at it."""
    size = f'width="{max(width, 0.6):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"><title>{escape(told)}</title></rect>'


def text(x: float, y: float, said: str, *, most: float | None = None, told: str = "", style: str = "") -> str:
    """Return a line of text, cut to ``most`` pixels, with a sentence for whoever points at it."""
    letters = len(said) if most is None else int(most / LETTER)
    shown = said if len(said) <= letters else f"{said[: letters - 1]}…"
    title = f"<title>{escape(told)}</title>" if told else ""
    named = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{title}{escape(shown)}</text>'


def key_of(colours: Mapping[str, str], of: str = "") -> str:
    """Return what the colours mean."""
    entries = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items()
    )
    return f'<p class="key">{escape(of)}{entries}</p>'
