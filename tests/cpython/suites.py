"""Where CPython's own tests are, and which of them apply to an executor in other processes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

EXECUTORS = "test_concurrent_futures"
"""One module until Python 3.11, a package of several from 3.12 on."""

PACKAGE = f"libpython{sys.version_info.major}.{sys.version_info.minor}-testsuite"
"""Debian's package with the tests, which it leaves out of the standard library."""


def directory() -> Path | None:
    """Return the directory of the ``test`` package to use: this Python's own, else Debian's of the same version."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for library in (Path(sysconfig.get_path("stdlib")), Path("/usr/lib", name)):
        if (library / "test" / f"{EXECUTORS}.py").is_file() or (library / "test" / EXECUTORS).is_dir():
            return library / "test"
    return None


def use() -> None:
    """Let ``import test`` find the tests. Raises ``ModuleNotFoundError`` where there are none."""
    found = directory()
    if found is None:
        raise ModuleNotFoundError(f"Python's own tests are not installed (on Debian: {PACKAGE})")
    import test

    if str(found) not in test.__path__:
        test.__path__.insert(0, str(found))


def executor_modules() -> list[ModuleType]:
    """Import what CPython tests executors with."""
    use()
    main = importlib.import_module(f"test.{EXECUTORS}")
    if not hasattr(main, "__path__"):
        return [main]
    names = sorted(file.stem for file in Path(main.__path__[0]).glob("*.py") if file.stem != "__init__")
    return [main, *(importlib.import_module(f"{main.__name__}.{name}") for name in names)]


def process_pool_cases(modules: list[ModuleType]) -> Iterator[tuple[str, type[unittest.TestCase], type]]:
    """Yield (name, test case, mixin that gives it its executor) for all that CPython runs on process pools.

    It makes each for three ways to start processes. One of them is enough to know them all.
    """
    for module in modules:
        for name, case in sorted(vars(module).items()):
            if isinstance(case, type) and issubclass(case, unittest.TestCase):
                for base in case.__bases__:
                    if base.__name__ == "ProcessPoolSpawnMixin":
                        yield name.removeprefix("ProcessPoolSpawn"), case, base


def pool_module() -> ModuleType:
    """Import what CPython tests ``multiprocessing.Pool`` with."""
    use()
    return importlib.import_module("test._test_multiprocessing")


def pool_cases(module: ModuleType) -> Iterator[tuple[str, type]]:
    """Yield (name, test case without its mixins) for all about ``multiprocessing.Pool``."""
    for name, case in sorted(vars(module).items()):
        if name.startswith("_TestPool") and "processes" in case.ALLOWED_TYPES:
            yield name.removeprefix("_"), case


def tests_of(case: type[unittest.TestCase]) -> list[str]:
    """Return the names of its tests."""
    return list(unittest.defaultTestLoader.getTestCaseNames(case))


if __name__ == "__main__":
    sys.exit(directory() is None)
