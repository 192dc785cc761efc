"""Real batch systems other than SLURM, as sites of the behaviour suite. Each has a module of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sites import Site

REAL: Mapping[str, str] = {"sge": "site_sge", "htcondor": "site_htcondor", "oar": "site_oar"}
"""By the name of the system, the module that has ``site()``: a context manager that brings its lab up and yields the
:class:`~sites.Site`, and skips (on CI: fails) where the lab cannot be had."""


@contextmanager
def real_site(name: str) -> Iterator[Site]:
    with importlib.import_module(REAL[name]).site() as made:
        yield made
