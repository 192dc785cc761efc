"""What a server is started with: written by the client into the pool's directory, read once."""

from __future__ import annotations

import os
import pickle
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jobpool.config import Settings
from jobpool.home import PoolDirectory

__all__ = ["Spec", "compare_versions", "python_path", "versions"]

_MUST_AGREE = ("python", "jobpool")
"""A function by value is bytecode, which holds for one minor version of Python; the two sides of a protocol are one."""

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
"""Packages whose objects often travel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a server must know."""

    settings: Settings
    system: str
    """Name of the batch system; never ``auto``."""
    initializer: bytes | None
    sys_path: tuple[str, ...]
    working_directory: str
    versions: Mapping[str, str]

    def save(self, directory: PoolDirectory) -> None:
        """Write it where only this user reads it."""
        directory.write("settings.pickle", pickle.dumps(self))

    @classmethod
    def load(cls, directory: PoolDirectory) -> Spec:
        """Read it back."""
        spec = pickle.loads((directory.path / "settings.pickle").read_bytes())
        assert isinstance(spec, cls)
        return spec


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose objects often travel, as they are in this process."""
    found = {"python": platform.python_version(), "executable": sys.executable, "prefix": sys.prefix}
    for package in _COMPARED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def compare_versions(client: Mapping[str, str], worker: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return two lists of sentences: differences that make work impossible, and those worth a warning.

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
    """Return the variable that lets another process import this very jobpool; none when it is installed."""
    root = Path(__file__).resolve().parents[2]
    if root.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))}
