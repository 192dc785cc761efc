"""HTCondor's answers in JSON: a list of ads, each with its attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobpool.batch.base import Unanswered
from jobpool.model.command import Completed

__all__ = ["Ad", "number", "read_ads", "read_all", "word"]

Ad = Mapping[str, Any]
"""Attributes that are not set are not there. One that is an expression is the text ``/Expr(...)/``."""


def read_ads(done: Completed) -> list[Ad] | Unanswered:
    """Read the answer of a command with ``-json``. Where nothing matches, condor_q prints nothing at all."""
    if not done.ok:
        return Unanswered(done.words or f"{done.command.argv[0]} ended with {done.returncode} and said nothing")
    if not done.stdout.strip():
        return []
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return Unanswered(f"{done.command.argv[0]}'s answer cannot be read: {done.stdout.strip()[:200]}")
    return [ad for ad in found if isinstance(ad, dict)] if isinstance(found, list) else []


def read_all(done: Sequence[Completed]) -> list[Ad] | Unanswered:
    """Read the answers of several commands; none where one has not answered."""
    ads: list[Ad] = []
    for each in done:
        if isinstance(found := read_ads(each), Unanswered):
            return found
        ads += found
    return ads


def number(ad: Ad, name: str) -> float | None:
    """Return an attribute that is a number. None: it is not there, or an expression."""
    value = ad.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def word(ad: Ad, name: str) -> str:
    """Return an attribute that is a text; empty where it is not there."""
    value = ad.get(name)
    return value.strip() if isinstance(value, str) else ""
