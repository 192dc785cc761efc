"""Names of nodes in SLURM's short form: ``n[1-3,07],gpu1``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import product

__all__ = ["expand"]

LARGEST = 100_000
"""Names in one word at most: a typing error must not fill the memory."""


def expand(text: str) -> frozenset[str]:
    """List the names. What cannot be read is left as it is."""
    words = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text)
    return frozenset(name for word in words for name in _names(word))


def _names(word: str) -> Iterator[str]:
    parts = re.split(r"\[([^\]]*)\]", word)
    # Every second part stood in brackets.
    choices = [list(_range(part)) if place % 2 else [part] for place, part in enumerate(parts)]
    many = math.prod(map(len, choices)) > LARGEST
    return iter([word]) if many else map("".join, product(*choices))


def _range(text: str) -> Iterator[str]:
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", part)
        if match is None or int(match[2]) - int(match[1]) > LARGEST:
            yield part
            continue
        for number in range(int(match[1]), int(match[2]) + 1):
            yield str(number).zfill(len(match[1]))
