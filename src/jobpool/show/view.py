"""Tables and data on a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

__all__ = ["as_text", "cpus_text", "plain_table", "show_json", "show_note", "show_table"]


def show_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, file: TextIO | None = None) -> None:
    """Print a table: drawn where a person looks, in plain columns that are never cut where a program reads."""
    file = file or sys.stdout
    cells = [[as_text(cell) for cell in row] for row in rows]
    if file.isatty():
        _draw(headers, cells, file)
    else:
        file.write(plain_table(headers, cells))


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write columns with two spaces between them."""
    lines = [list(headers), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text, not str: rich would take "[slurm]" in a value for a style.
        table.add_row(*(Text(cell) for cell in row))
    Console(file=file).print(table)


def as_text(value: object) -> str:
    """Write a value on one line, without characters that would move the cursor."""
    match value:
        case None:
            text = "none"
        case Mapping():
            text = ", ".join(f"{key}={entry}" for key, entry in value.items()) or "none"
        case list() | tuple():
            text = ", ".join(map(str, value)) or "none"
        case _:
            text = str(value)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def cpus_text(cpus: float) -> str:
    """Write how many CPUs were kept busy."""
    return f"{cpus:.2g}" if cpus >= 0.01 or not cpus else "below 0.01"


def show_json(data: Any) -> None:
    """Print data for a program. Sizes are bytes, times are seconds."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=_as_json))


def _as_json(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def show_note(text: str) -> None:
    """Print a sentence that a person should read on stderr, where it does not mix with data."""
    print(f"note: {text}", file=sys.stderr)
