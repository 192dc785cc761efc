"""The versions of Python and packages in this process, and whether those of client and jobs fit together."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["compare_versions", "python_path", "versions"]

_MUST_AGREE = ("python", "jobpool")
"""These must be equal: a function that is pickled by value is bytecode of one minor version of Python, and both sides
of the protocol must have the same version of jobpool."""

_COMPARED = (
    "jobpool",
    "cloudpickle",
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "opencv-python",
    "opencv-python-headless",
)
"""Packages whose objects are often pickled."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose objects are often pickled, in this process."""
    from importlib import metadata  # takes 15 ms, and the server has no use for it

    found = {"python": platform.python_version(), "executable": sys.executable, "prefix": sys.prefix}
    for package in _COMPARED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def compare_versions(client: Mapping[str, str], worker: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return two lists of sentences: differences that make calls impossible, and differences that need a warning.

    Python must agree in its minor version (3.11), jobpool wholly.
    """
    fatal: list[str] = []
    odd: list[str] = []
    for name in ("python", *_COMPARED):
        here, there = client.get(name), worker.get(name)
        if here == there or here is None:
            continue
        sentence = f"{name} is {here} here and {there or 'missing'} in the jobs"
        if name == "python" and there is not None and here.split(".")[:2] == there.split(".")[:2]:
            continue
        (fatal if name in _MUST_AGREE else odd).append(sentence)
    return fatal, odd


def python_path() -> dict[str, str]:
    """Return the environment variable with which another process imports this jobpool; empty if it is installed."""
    root = Path(__file__).resolve().parents[2]
    if root.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))}
