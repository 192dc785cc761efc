"""Ids as PBS writes them: ``12.node1`` a job, ``13[].node1`` an array, ``13[4].node1`` an element of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from jobpool.model.job import JobId

__all__ = ["PbsId", "element", "parse", "ranges"]

_ID = re.compile(r"([0-9]+)(?:(\[)([0-9]*)\])?((?:\.[A-Za-z0-9_.-]+)?)")


@dataclass(frozen=True, slots=True)
class PbsId:
    """An id that was read."""

    number: str
    server: str
    """With its dot (``.node1``); empty where none is told."""
    is_array: bool = False
    index: int | None = None
    """Of an element."""

    @property
    def whole(self) -> str:
        """The id of all of the submission: the job's own, or the array's."""
        return f"{self.number}{'[]' if self.is_array or self.index is not None else ''}{self.server}"


def parse(text: str) -> PbsId | None:
    """Read an id. None: it is none."""
    if (found := _ID.fullmatch(text)) is None:
        return None
    number, bracket, index, server = found.groups()
    return PbsId(number, server, is_array=bool(bracket) and not index, index=int(index) if index else None)


def element(array: PbsId, index: int) -> JobId:
    """Return the id of an element of an array."""
    return JobId(f"{array.number}[{index}]{array.server}")


def ranges(ids: Iterable[JobId]) -> Iterator[str]:
    """Write ids as qdel takes them one by one: elements in a row are one range (``13[5-7].node1``, seen).

    Lists with commas in them are no ids (seen). What is no id at all names no job, and is left out.
    """
    arrays: dict[tuple[str, str], set[int]] = {}
    for id in dict.fromkeys(ids):
        found = parse(id)
        if found is not None and found.index is not None:
            arrays.setdefault((found.number, found.server), set()).add(found.index)
        elif found is not None:
            yield id
    for (number, server), indices in arrays.items():
        for _, group in groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0]):
            run = [index for _, index in group]
            yield f"{number}[{run[0]}{f'-{run[-1]}' if len(run) > 1 else ''}]{server}"
