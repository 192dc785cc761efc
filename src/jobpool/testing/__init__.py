"""What tests need, ours and users': practice batch systems that are real."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobpool.testing.fake import FakeCluster
    from jobpool.testing.lab import SlurmLab
    from jobpool.testing.lab_daemon import LabFailed, wait_until
    from jobpool.testing.lab_kinds import export_line, lab_down, lab_up, unset_line
    from jobpool.testing.lab_machine import lab_missing

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
    "FakeCluster": "fake",
    "LabFailed": "lab_daemon",
    "SlurmLab": "lab",
    "export_line": "lab_kinds",
    "lab_down": "lab_kinds",
    "lab_missing": "lab_machine",
    "lab_up": "lab_kinds",
    "unset_line": "lab_kinds",
    "wait_until": "lab_daemon",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
