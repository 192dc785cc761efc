"""CPU of what travels by value: pickling a call in the client, and making its arguments again in a worker.

A function that uses constants alone, one that uses a class and a dictionary of the script's, and an argument of a class
of the script's. No pool, no network: each turn measures its process's own CPU. To see what a change costs, run it with
``--part submit`` in turns, with PYTHONPATH leading to the one and to the other version.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import _common

from jobpool.serialize import pickling

BEST_OF = 20
"""Rounds of which the quickest counts: what else the machine does can only add to it."""


class Settings:
    scale = 1

    def scaled(self, number: int) -> int:
        return number * self.scale

    @property
    def size(self) -> int:
        return len(CACHE)


CACHE = {str(number): number for number in range(50)}


def helper(number: int) -> int:
    return number + 1


def constants(number: int) -> int:
    return helper(number)


def mutable(number: int) -> int:
    return Settings().scaled(number) + len(CACHE) + helper(number)


def argument(settings: Settings, number: int) -> int:
    return settings.scaled(number)


def microseconds(calls: int, act: Callable[[], object]) -> float:
    """Return the CPU of one call, in the quickest of some rounds."""
    rounds = []
    for _ in range(BEST_OF):
        begin = time.process_time()
        for _ in range(calls):
            act()
        rounds.append((time.process_time() - begin) / calls * 1e6)
    return min(rounds)


def submits(options: argparse.Namespace) -> dict[str, float]:
    def submit(function: Callable[..., object], *args: object) -> Callable[[], object]:
        return lambda: (pickling.dumps_function(function), pickling.dumps_arguments(args, {}))

    settings = Settings()
    return {
        "constants": microseconds(options.calls, submit(constants, 1)),
        "class and dictionary": microseconds(options.calls, submit(mutable, 1)),
        "argument of a class": microseconds(options.calls, submit(argument, settings, 1)),
    }


def loads(options: argparse.Namespace) -> dict[str, float]:
    from jobpool.worker.shared_objects import SharedObjects

    shared = SharedObjects()
    plain = pickling.dumps_arguments((1,), {})
    instance = pickling.dumps_arguments((Settings(), 1), {})
    return {
        "constants": microseconds(options.calls, lambda: shared.load(plain)),
        "argument of a class": microseconds(options.calls, lambda: shared.load(instance)),
    }


PARTS = {"submit": submits, "load in the worker": loads}


def main(argv: list[str] | None = None) -> int:
    options = _common.arguments(__doc__, PARTS, argv, quick={"repeats": 1, "calls": 20}, repeats=10, calls=100)
    print(f"{_common.machine()}\n\nmicroseconds of CPU")
    with _common.home() as env:
        runs = _common.in_turns(list(PARTS), repeats=options.repeats, env=env, options=["--calls", options.calls])
    _common.show(runs, {"constants": ".1f", "class and dictionary": ".1f", "argument of a class": ".1f"})
    return _common.finish(options)


if __name__ == "__main__":
    sys.exit(main())
