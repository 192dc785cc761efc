"""Lets a module that a call imports from its file be the same module as the one that came by value.

An initializer may have ``import cfg`` in its body, while the script imports ``cfg`` at the top. In a process pool both
are one module. So a module that is imported here from a file of the user's is shared as if it had come by value; and if
functions or variables of the module came before, the import completes that module.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any

from jobpool.serialize.own_modules import is_own
from jobpool.worker.registry import Registry
from jobpool.worker.shared_objects import SharedObjects, here

__all__ = ["share_imports"]


def share_imports(shared: SharedObjects | None = None) -> MetaPathFinder:
    """Share the user's modules that this process imports from now on. Return the finder that does so."""
    _is_own("any", "/any.py")  # the first call imports modules itself, for which the finder must not be asked
    finder = _Finder((shared or here()).registry)
    usual = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(usual, finder)
    return finder


class _Finder(MetaPathFinder):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        loader = None if spec is None else spec.loader
        if type(loader) is SourceFileLoader and _is_own(name, loader.path):
            assert spec is not None
            spec.loader = _Loader(loader.name, loader.path, self._registry)
        return spec


def _is_own(name: str, file: str) -> bool:
    # Most modules are installed: no need to ask the file system.
    return "site-packages" not in file and is_own(name, SimpleNamespace(__name__=name, __file__=file))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, registry: Registry) -> None:
        super().__init__(name, path)
        self._registry = registry

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._registry.known_module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        before = dict(vars(module)) if self._registry.find(module) is not None else {}
        super().exec_module(module)
        vars(module).update(before)
        self._registry.adopt(module)
