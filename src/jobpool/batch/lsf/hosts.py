"""Hosts as bhosts, lshosts and bmgroup print them: tables for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobpool.batch.lsf.endings import size
from jobpool.model.units import Memory

__all__ = ["Host", "members_of", "parse_gpus", "parse_groups", "parse_hosts"]

_IN_SERVICE = ("ok", "closed_Full", "closed_Busy", "closed_Excl", "closed_cu_Excl")
"""States of hosts that run jobs. ``closed_Full``: all its slots are in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host."""

    name: str
    slots: int
    memory: Memory | None
    up: bool
    used: int
    gpus: int = 0


def _table(text: str) -> Iterator[Mapping[str, str]]:
    """Read a table with a head, whose last column may hold blanks."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if line.startswith("HOST_NAME")), None)
    if start is None:
        return
    names = lines[start].split()
    for line in lines[start + 1 :]:
        cells = line.split(None, len(names) - 1)
        if len(cells) == len(names):
            yield dict(zip(names, cells, strict=True))


def parse_hosts(states: str, shapes: str, gpus: Mapping[str, int]) -> Mapping[str, Host]:
    """Put together what ``bhosts -w`` and ``lshosts -w`` say of the hosts that run jobs."""
    told = {row["HOST_NAME"]: row for row in _table(shapes)}
    found = {}
    for row in _table(states):
        shape = told.get(row["HOST_NAME"], {})
        slots = _number(row.get("MAX", "")) or _number(shape.get("ncpus", ""))
        if slots:
            found[row["HOST_NAME"]] = Host(
                name=row["HOST_NAME"],
                slots=slots,
                memory=size(shape.get("maxmem", "")),
                up=row.get("STATUS", "").startswith(_IN_SERVICE),
                used=_number(row.get("NJOBS", "")) or 0,
                gpus=gpus.get(row["HOST_NAME"], 0),
            )
    return found


def parse_groups(text: str) -> Mapping[str, tuple[str, ...]]:
    """Read ``bmgroup -r -w``: a group, and the names of its hosts."""
    groups = {}
    for line in text.splitlines():
        name, *members = line.split() or [""]
        if members and name != "GROUP_NAME":
            groups[name.rstrip("/")] = tuple(members)
    return groups


def members_of(
    words: Sequence[str], hosts: Mapping[str, Host], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """List the hosts of ``all``, ``node1+2 group/ ~node7``. None: a word of it is not known."""
    wanted: dict[str, None] = {}
    unwanted: set[str] = set()
    for word in words:
        name = re.sub(r"\+\d*$", "", word.lstrip("~")).rstrip("/")
        if name in ("all", "allremote", "others", "none"):
            members: tuple[str, ...] = () if name == "none" else tuple(hosts)
        elif name in groups:
            members = tuple(hosts) if groups[name] == ("all",) else groups[name]
        elif name in hosts:
            members = (name,)
        else:
            return None
        if word.startswith("~"):
            unwanted.update(members)
        else:
            wanted.update(dict.fromkeys(members))
    return tuple(name for name in wanted if name in hosts and name not in unwanted)


def parse_gpus(text: str) -> Mapping[str, int]:
    """Count the GPUs of each host in ``lshosts -gpu -w``: a line each, whose host stands before the first alone."""
    found: Counter[str] = Counter()
    host = ""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "HOST_NAME":
            continue
        if not line[0].isspace():
            host, *words = words
        if words and words[0].isdecimal() and host:
            found[host] += 1
    return found


def _number(text: str) -> int | None:
    match = re.match(r"[0-9]{1,9}\b", text)
    return int(match[0]) if match else None
