"""Run CPython's tests against jobpool; a program, since each test gets a process of its own.

python drive.py list                    all tests, as JSON: {suite: [name, ...]}
python drive.py run SUITE CASE.TEST     exit code 0: passed, 1: failed, 77: skipped, and why
python drive.py serve SUITE             one test after the other, each in a fork of this process

What is loaded costs as much as a pool. "serve" loads it once: it reads lines of JSON, {"test": name, "environment":
{...}, "output": file}, and answers each with two lines: the process id of the test, and its exit code.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import suites
from stand_ins import Context, Event

SKIPPED = 77
"""The exit code by which test programs say so (automake's)."""

COLD = ("ExecutorShutdownTest", "ProcessPoolShutdownTest", "ExecutorDeadlockTest", "InitializerTest")
"""Cases that make pools of their own, or are about a pool's first moments. Others count seconds, and must not count
those in which jobs start: there it takes milliseconds."""

FEW_PROCESSES = (
    "test_saturation", "test_idle_process_reuse_one", "test_idle_process_reuse_multiple", "test_processes_terminate",
)  # fmt: skip
"""Tests that count the processes. They are as many as calls need when each has its own job."""


def executor_cases() -> dict[str, type[unittest.TestCase]]:
    """Return what CPython runs on process pools, for the executor under test."""
    modules = suites.executor_modules()
    return {name: _case(name, case, mixin) for name, case, mixin in suites.process_pool_cases(modules)}


def _case(name: str, case: type[unittest.TestCase], mixin: Any) -> type[unittest.TestCase]:
    class UnderTestMixin(mixin.__base__):  # type: ignore[misc]
        ctx = ""  # what threads have: then the scripts in the tests ask for no context

        @property
        def executor_type(self) -> Any:
            from under_test import ExecutorUnderTest

            return ExecutorUnderTest

        def get_context(self) -> Context:
            return Context()

        def create_event(self) -> Event:
            return Event()

        def setUp(self) -> None:
            if self._testMethodName in FEW_PROCESSES:
                self.executor_kwargs = {"workers_per_job": 1}
            super().setUp()
            if not name.startswith(COLD) and name != "FailingInitializerTest":
                self.executor.submit(int).result()

    bases = tuple(UnderTestMixin if base is mixin else base for base in case.__bases__)
    return type(name, bases, {"__module__": case.__module__})


def future_cases() -> dict[str, type[unittest.TestCase]]:
    """Return the tests of futures, for ours."""
    from jobpool.executor.future import JobFuture

    class Future(JobFuture[Any]):  # the tests read the class's name
        def __init__(self) -> None:
            super().__init__(1, lambda id: None)

    modules = suites.executor_modules()
    for module in modules:
        if hasattr(module, "Future"):
            module.Future = Future  # type: ignore[attr-defined]
    return {"FutureTests": next(vars(module)["FutureTests"] for module in modules if hasattr(module, "FutureTests"))}


def pool_cases() -> dict[str, type[unittest.TestCase]]:
    """Return what CPython runs on pools of processes, for ours."""
    import multiprocessing

    from under_test import PoolUnderTest

    module = suites.pool_module()
    multiprocessing.Pool = PoolUnderTest

    class Mixin:
        TYPE = "processes"
        Pool = PoolUnderTest

    return {
        name: type(name, (case, Mixin, unittest.TestCase), {"__module__": case.__module__})
        for name, case in suites.pool_cases(module)
    }


SUITES: dict[str, Callable[[], dict[str, type[unittest.TestCase]]]] = {
    "executor": executor_cases,
    "future": future_cases,
    "pool": pool_cases,
}


def load(suite: str) -> dict[str, type[unittest.TestCase]]:
    """Import all that the tests of a suite need, and return its cases."""
    from under_test import keep_stderr_empty

    keep_stderr_empty()
    cases = SUITES[suite]()
    _lead_scripts_here(suites.executor_modules())
    return cases


def serve(cases: Mapping[str, type[unittest.TestCase]]) -> int:
    """Run the tests that are asked for on stdin, each in a fork of this process, until there are no more.

    Returns in each of the forks, too: with the exit code of its test, and Python then ends as it does for any script.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        assert threading.active_count() == 1
        pid = os.fork()
        if pid == 0:
            os.setsid()
            nothing, output = (
                os.open(os.devnull, os.O_RDONLY),
                os.open(asked["output"], os.O_WRONLY | os.O_CREAT, 0o600),
            )
            for descriptor, source in enumerate((nothing, output, output)):
                os.dup2(source, descriptor)
            os.closerange(nothing, output + 1)
            os.environ.clear()
            os.environ.update(asked["environment"])
            return run(cases, asked["test"])
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def run(cases: Mapping[str, type[unittest.TestCase]], name: str) -> int:
    """Run one test and return the exit code."""
    faulthandler.dump_traceback_later(50, exit=False)
    case, _, method = name.partition(".")
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite([cases[case](method)]))
    from test import support

    if support.environment_altered:  # a thread or a process was left behind
        print("the test left something behind", file=sys.stderr)
        return 1
    if result.skipped:
        return SKIPPED
    return 0 if result.wasSuccessful() and result.testsRun else 1


def _lead_scripts_here(modules: list[Any]) -> None:
    """Let the scripts in the tests find the executor in ``concurrent.futures``, when they ask for it."""
    first = f"""\
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import in_script
"""
    for module in modules:
        if hasattr(module, "assert_python_ok"):
            original = module.assert_python_ok
            module.assert_python_ok = lambda option, code, original=original: original(option, first + code)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["list"]:
            found = {
                suite: [f"{name}.{test}" for name, case in cases().items() for test in suites.tests_of(case)]
                for suite, cases in SUITES.items()
            }
            print(json.dumps(found))
            return 0
        case ["run", suite, name]:
            return run(load(suite), name)
        case ["serve", suite]:
            return serve(load(suite))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
