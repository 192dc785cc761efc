"""Imported first by the scripts inside CPython's tests."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import suites

suites.use()
_usual = concurrent.futures.__getattr__


def _offer(name: str) -> Any:
    # Not before it is asked for: a test is about what was registered at exit before.
    if name == "ExecutorUnderTest":
        from under_test import ExecutorUnderTest, keep_stderr_empty

        keep_stderr_empty()
        return ExecutorUnderTest
    return _usual(name)


concurrent.futures.__getattr__ = _offer  # type: ignore[method-assign]
