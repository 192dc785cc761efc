"""What tests need, ours and users': practice batch systems that are real."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobpool.testing.fake.cluster import FakeCluster
    from jobpool.testing.labs.daemon import LabFailed, wait_until
    from jobpool.testing.labs.machine import lab_missing
    from jobpool.testing.labs.registry import export_line, lab_down, lab_up, unset_line
    from jobpool.testing.labs.slurm import SlurmLab

__all__ = [
    "FakeCluster",
    "LabFailed",
    "SlurmLab",
    "export_line",
    "lab_down",
    "lab_missing",
    "lab_up",
    "unset_line",
    "wait_until",
]

# Loaded at first use: who needs one thing of these does not pay for the others.
_HOME = {
    "FakeCluster": "fake.cluster",
    "LabFailed": "labs.daemon",
    "SlurmLab": "labs.slurm",
    "export_line": "labs.registry",
    "lab_down": "labs.registry",
    "lab_missing": "labs.machine",
    "lab_up": "labs.registry",
    "unset_line": "labs.registry",
    "wait_until": "labs.daemon",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
