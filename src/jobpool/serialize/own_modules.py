"""Tells which modules are the user's own: those outside of the Python installation and its site-packages."""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

__all__ = ["is_own"]


def is_own(name: str, module: Any) -> bool:
    """Return whether a module is the user's own, by its file: neither installed nor built in."""
    if name.partition(".")[0] == "jobpool" or getattr(module, "__name__", None) != name:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return False  # built in, or an extension, which cannot be pickled by value
    if not file.startswith("/") or os.path.islink(file):  # noqa: PTH114 - a process has many modules
        file = os.path.realpath(file)
    place, base = os.path.split(file)
    directory = _own_directory(place)
    if directory is None:
        return False
    path = directory / base
    levels = name.count(".") + (base == "__init__.py")
    return len(path.parents) <= levels or not _holds_packages(path.parents[levels])


@functools.cache
def _own_directory(name: str) -> Path | None:
    """Return where a directory really is; None when what it holds is installed."""
    path = Path(os.path.realpath(name))
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return None if installed or any(path.is_relative_to(root) for root in _installation()) else path


@functools.cache
def _holds_packages(directory: Path) -> bool:
    """Return whether pip has installed packages there (``pip install --target``, modules of the site on PYTHONPATH)."""
    return next(directory.glob("*.dist-info"), None) is not None


@functools.cache
def _installation() -> tuple[str, ...]:
    """Return the directories of the Python installation and its packages."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, site.getusersitepackages()}
    paths |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    # realpath: a virtual environment's prefix may be a link. A prefix "/" would claim all files.
    return tuple(path for path in map(os.path.realpath, sorted(paths)) if path != "/")
