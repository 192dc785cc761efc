"""A node with a job drawn in: which cores and how much memory are each worker's. As text, and as SVG for a notebook.

::

    core       0 1 2 3 4 5 6 7 8 9
    thread 0   A A B B . . . . . .
    thread 1   a a b b . . . . . .
    memory     [AAAAAABBBBBB+..............................]

Large letters are hardware threads that calls use, small ones are the worker's too and stay idle; ``+`` is the job's and
no worker's, ``.`` is left for other jobs.
"""

from __future__ import annotations

import html
import string
from collections.abc import Iterator

from jobpool.site.explain import OnNode

__all__ = ["as_svg", "as_text_lines"]

WIDTH = 32
"""Cores in a line of text."""
BAR = 48
"""Characters of the bar of memory."""

_ROOM = 14
"""Pixels that a letter needs."""

FREE, EXTRA = ".", "+"

_LIGHT = (1, 3, 4)
"""Those of the colours below on which black is read more easily than white."""

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Paul Tol's bright scheme, which people with any kind of colour vision can tell apart."""


def as_text_lines(node: OnNode) -> list[str]:
    """Draw a node in characters."""
    cells = _cells(node)
    lines: list[str] = []
    for start in range(0, len(cells), WIDTH):
        part = cells[start : start + WIDTH]
        width = len(str(len(cells) - 1))
        if lines:
            lines.append("")
        lines.append("core       " + " ".join(str(start + i).rjust(width) for i in range(len(part))))
        for thread in range(node.shape.threads_per_core):
            row = " ".join(cell[thread].rjust(width) for cell in part)
            lines.append(f"thread {thread}   {row}")
    if bar := _bar(node):
        lines.append(f"memory     [{bar}]")
    return lines


def _cells(node: OnNode) -> list[str]:
    """Return a character for each hardware thread of each core."""
    threads, cells = node.shape.threads_per_core, []
    for core in range(node.shape.cores):
        worker = core // node.cores
        if worker < node.workers:
            letter = _letter(worker)
            cells.append(letter * node.used_threads + letter.lower() * (threads - node.used_threads))
        else:
            cells.append((EXTRA if core < node.job.cores else FREE) * threads)
    return cells


def _letter(worker: int) -> str:
    return string.ascii_uppercase[worker % 26]


def _bar(node: OnNode) -> str:
    if node.job.memory is None:
        return ""
    whole, text = node.shape.memory, ""
    for worker in range(node.workers if node.worker_memory else 0):
        end = round(BAR * (worker + 1) * int(node.worker_memory or 0) / whole)
        text = text.ljust(min(BAR, end), _letter(worker))
    return text.ljust(max(len(text), round(BAR * node.job.memory / whole)), EXTRA).ljust(BAR, FREE)


def as_svg(node: OnNode) -> str:
    """Draw a node as SVG: one box for each core, divided into its hardware threads, and a bar of memory below."""
    cells = _cells(node)
    columns = 16 if len(cells) > 8 else len(cells)
    size, gap, top = 30, 6, 26
    threads = node.shape.threads_per_core
    height = -(-len(cells) // columns) * (size + gap)
    width = max(columns * (size + gap), 420)
    parts = [_label(0, 14, _title(node))]
    for core, cell in enumerate(cells):
        x, y = core % columns * (size + gap), top + core // columns * (size + gap)
        for thread, mark in enumerate(cell):
            part = size / threads
            parts.append(_box(x, y + thread * part, size, part, mark))
        if cell[0] not in (FREE, EXTRA):
            # In the first thread's part, so that no line goes through it.
            parts.append(_letter_in(x + size / 2, y + size / threads / 2 + 4, cell[0]))
    parts += _memory_parts(node, top + height + 8, width)
    wide, total = width + 2, top + height + (50 if node.job.memory is not None else 8)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{total}" viewBox="-1 -1 {wide} {total}" '
        f'role="img" font-family="sans-serif" font-size="12">'
        f'<rect x="-1" y="-1" width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>"
    )


def _title(node: OnNode) -> str:
    threads = "" if node.shape.threads_per_core == 1 else f" with {node.shape.threads_per_core} hardware threads"
    return f"node of partition {node.partition}: {node.shape.cores} cores{threads}, {node.shape.memory}"


def _box(x: float, y: float, width: float, height: float, mark: str) -> str:
    if mark == FREE:
        fill, more = "#f2f2f2", ""
    elif mark == EXTRA:
        fill, more = "#bbbbbb", ""
    else:
        fill = _COLOURS[string.ascii_uppercase.index(mark.upper()) % len(_COLOURS)]
        more = "" if mark.isupper() else ' fill-opacity="0.3"'
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{more} stroke="#888"/>'


def _letter_in(x: float, y: float, letter: str) -> str:
    colour = string.ascii_uppercase.index(letter) % len(_COLOURS)
    return _label(x, y, letter, "middle", "#000" if colour in _LIGHT else "#fff")


def _label(x: float, y: float, text: str, anchor: str = "start", fill: str = "#000") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}">{html.escape(text)}</text>'


def _memory_parts(node: OnNode, y: float, width: float) -> Iterator[str]:
    if node.job.memory is None:
        return
    scale = (width - 1) / node.shape.memory
    yield _box(0, y, width - 1, 18, FREE)
    yield _box(0, y, min(width - 1, node.job.memory * scale), 18, EXTRA)
    for worker in range(node.workers if node.worker_memory else 0):
        part = int(node.worker_memory or 0) * scale
        yield _box(worker * part, y, part, 18, _letter(worker))
        if part >= _ROOM:
            yield _letter_in((worker + 0.5) * part, y + 13, _letter(worker))
    yield _label(0, y + 34, f"memory: {node.job.memory} of {node.shape.memory} for a job of {node.workers} worker(s)")
