"""Which nodes a ``constraint`` allows for a job of one node, as SLURM 22.05 was seen to read it.

- ``fast&ib`` and ``fast,ib``: both; ``fast|slow``: one of them; strictly from left to right, so that ``a|b&c`` is
  ``(a|b)&c``. Parentheses group.
- ``fast*2``: two nodes with it. A job here is one node, which sbatch refuses then.
- ``[rack1|rack2]``: all nodes of the job alike, which one node is. ``[a*1&b*1]``: one node of each, so two.
- A name that no node of the cluster has: sbatch refuses all of it, also behind ``|``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from jobpool.model.rules import Constraint

__all__ = ["read_constraint"]

Holds = Callable[[frozenset[str]], bool]

_MOST = 500
"""Names and signs that are read: groups in groups without end would exhaust the stack."""


def read_constraint(text: str) -> Constraint | None:
    """Read a constraint. None: it is written in a way that nobody here has seen SLURM take."""
    tokens = re.findall(r"[\w.:=+-]+|\*\d{1,9}|[()\[\]&|,]", text)
    if "".join(tokens) != text or len(tokens) > _MOST:
        return None
    words = iter([*tokens, ""])
    names: dict[str, None] = {}
    try:
        holds, end = _sequence(words, names)
    except _Unreadable:
        return None
    return Constraint(tuple(names), holds) if end == "" and names else None


class _Unreadable(Exception):
    pass


def _sequence(words: Iterator[str], names: dict[str, None], *, alike: bool = False) -> tuple[Holds, str]:
    """Read terms up to a closing bracket or the end, and return with it what they mean. ``alike``: in ``[ ]``."""
    terms: list[tuple[str, Holds]] = []
    operator = "&"
    while True:
        holds, after = _term(words, names)
        terms.append((operator, holds))
        if after in ("", ")", "]"):
            break
        operator = "&" if after == "," else after
    if alike and any(operator == "&" for operator, _ in terms[1:]):
        return _nowhere, after  # counted groups of nodes, each of at least one
    return lambda features: _from_left(terms, features), after


def _from_left(terms: list[tuple[str, Holds]], features: frozenset[str]) -> bool:
    found = True
    for operator, holds in terms:
        found = (found and holds(features)) if operator == "&" else (found or holds(features))
    return found


def _nowhere(_features: frozenset[str]) -> bool:
    return False


def _term(words: Iterator[str], names: dict[str, None]) -> tuple[Holds, str]:
    """Read a name or a group, with the count behind it, and return with its meaning the token that follows."""
    word = next(words)
    if word in ("(", "["):
        holds, end = _sequence(words, names, alike=word == "[")
        if end != {"(": ")", "[": "]"}[word]:
            raise _Unreadable
    elif word and word[0] not in ")]&|,*":
        names[word] = None
        holds = _having(word)
    else:
        raise _Unreadable
    after = next(words)
    if after.startswith("*"):
        if int(after[1:]) != 1:
            holds = _nowhere
        after = next(words)
    if after not in ("", ")", "]", "&", "|", ","):
        raise _Unreadable
    return holds, after


def _having(name: str) -> Holds:
    return lambda features: name in features
