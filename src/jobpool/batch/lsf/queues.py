"""Queues as ``bqueues -l`` prints them: paragraphs for people, with tables of limits in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from jobpool.batch.lsf.endings import size
from jobpool.model.units import Duration, Memory

__all__ = ["Queue", "parse_queues"]

_TIMES = ("CPULIMIT", "RUNLIMIT", "PROCLIMIT", "TASKLIMIT", "ESTIMATED_RUNTIME")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue. None: no limit."""

    name: str
    default: bool = False
    open: bool = True
    status: str = ""
    pending: int | None = None
    max_time: Duration | None = None
    default_time: Duration | None = None
    max_slots: int | None = None
    min_slots: int | None = None
    max_memory: Memory | None = None
    users: tuple[str, ...] = ()
    """Empty: all. Groups end with ``/``."""
    hosts: tuple[str, ...] = field(default=("all",))
    policies: tuple[str, ...] = ()


def parse_queues(text: str) -> Iterator[Queue]:
    """Read ``bqueues -l``."""
    for paragraph in re.split(r"^-{20,}\s*$", text, flags=re.MULTILINE):
        if match := re.search(r"^QUEUE: *(\S+)", paragraph, re.MULTILINE):
            yield _queue(match[1], paragraph)


def _queue(name: str, text: str) -> Queue:
    columns = _columns(text)
    head, _, behind = text.partition("DEFAULT LIMITS:")
    default, _, maximum = behind.partition("MAXIMUM LIMITS:") if behind else ("", "", head)
    limits, defaults = _limits(maximum), _limits(default)
    slots = [
        int(word) for word in (limits.get("PROCLIMIT") or limits.get("TASKLIMIT") or "").split() if word.isdecimal()
    ]
    users = _words(text, "USERS")
    return Queue(
        name=name,
        default=re.search(r"This is (the|one of the) default queue", text) is not None,
        open=columns.get("STATUS", "Open").startswith("Open"),
        status=columns.get("STATUS", ""),
        pending=int(columns["PEND"]) if columns.get("PEND", "").isdecimal() else None,
        max_time=_minutes(limits.get("RUNLIMIT", "")),
        default_time=_minutes(defaults.get("RUNLIMIT", "")),
        max_slots=slots[-1] if slots else None,
        min_slots=slots[0] if len(slots) > 1 else None,
        max_memory=size(limits.get("MEMLIMIT", "")),
        users=() if users == ("all",) else users,
        hosts=_words(text, "HOSTS") or ("all",),
        policies=_words(text, "SCHEDULING POLICIES"),
    )


def _columns(text: str) -> Mapping[str, str]:
    """Read the line below ``PRIO NICE STATUS MAX ...``."""
    match = re.search(r"^PRIO .*\bSTATUS\b.*\n(.+)$", text, re.MULTILINE)
    if match is None:
        return {}
    names, values = match[0].splitlines()[0].split(), match[1].split()
    return dict(zip(names, values, strict=False))


def _words(text: str, name: str) -> tuple[str, ...]:
    match = re.search(rf"^{name}: *(.*)$", text, re.MULTILINE)
    return () if match is None else tuple(match[1].split())


def _limits(text: str) -> Mapping[str, str]:
    """Read the tables of limits: names in one line, and values with their units in the next, in the same order."""
    found: dict[str, str] = {}
    lines = text.partition("SCHEDULING PARAMETERS")[0].splitlines()
    for names_line, values_line in pairwise(lines):
        names = names_line.split()
        if not names or not all(re.fullmatch(r"[A-Z_]+LIMIT|ESTIMATED_RUNTIME", name) for name in names):
            continue
        values = _times(values_line) if names[0] in _TIMES else _sizes(values_line)
        found.update(zip(names, values, strict=False))
    return found


def _times(line: str) -> list[str]:
    """Split `` 20.0 min of node1   342800.0 min of node1  1 2 4``: times, and the rest."""
    times = re.findall(r"[0-9.]+ min(?: of \S+)?", line)
    rest = re.sub(r"[0-9.]+ min(?: of \S+)?", " ", line).strip()
    return [*times, rest] if rest else times


def _sizes(line: str) -> list[str]:
    """Split ``20000 K   5 G   100``."""
    return [" ".join(pair).strip() for pair in re.findall(r"([0-9.]+)(?:\s?([KMGT])\b)?", line)]


def _minutes(text: str) -> Duration | None:
    match = re.match(r"([0-9]{1,9}(?:\.[0-9]+)?) min", text)
    return None if match is None else Duration(float(match[1]) * 60)
