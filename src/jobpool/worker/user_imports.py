"""Modules of the user's that a call imports itself, from their files, are those that other calls bring by value.

An initializer may have ``import cfg`` in its body, where a function of the script has it at the top. In a process pool
both are one module. So what is imported here from a file of the user's lives here as if it had come by value; and where
its functions or variables have come already, it is that module which the import completes.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any

from jobpool.serialize.own_modules import is_own
from jobpool.worker.shared_objects import SharedObjects, here

__all__ = ["share_imports"]


def share_imports(living: SharedObjects | None = None) -> MetaPathFinder:
    """Let imports of the user's modules in this process be what lives here, from now on; return what sees to it."""
    _is_own("any", "/any.py")  # what this imports itself the first time must not ask itself
    finder = _Finder(living or here())
    usual = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(usual, finder)
    return finder


class _Finder(MetaPathFinder):
    def __init__(self, living: SharedObjects) -> None:
        self._living = living

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        loader = None if spec is None else spec.loader
        if type(loader) is SourceFileLoader and _is_own(name, loader.path):
            assert spec is not None
            spec.loader = _Loader(loader.name, loader.path, self._living)
        return spec


def _is_own(name: str, file: str) -> bool:
    # Most are installed; these need no question to the file system.
    return "site-packages" not in file and is_own(name, SimpleNamespace(__name__=name, __file__=file))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, living: SharedObjects) -> None:
        super().__init__(name, path)
        self._living = living

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._living.known_module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        before = dict(vars(module)) if self._living.living(module) is not None else {}
        super().exec_module(module)
        vars(module).update(before)
        self._living.adopt(module)
